"""What in a workflow's own files follows from its name, and how it reads under another.

Only what means the workflow is rewritten: its schemas and tables, its dbt source, models that bear
its name as a prefix, the paths of its folders, its address, the calls that take its name. The word
alone stays as it is, in prose and in code: `sales` may be a column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dataflow.validation.reads import BEFORE_TABLE, LITERAL
from dataflow.workflows.ids import slug_of
from dataflow.workflows.yaml_file import read_yaml

TEXT = {".sql", ".yml", ".yaml", ".md", ".py", ".ipynb"}

_Rule = tuple[re.Pattern[str], str]


@dataclass(frozen=True)
class Change:
    """A line that reads differently afterwards: the file, the line, or the cell, and both texts."""

    path: Path
    place: str
    before: str
    after: str


class Renames:
    """The rules that make texts of one name those of another.

    Args:
        old: the name of now.
        new: the name to be.
        tables: the tables of its marts and its dashboard, which are found outside of SQL, too.
    """

    def __init__(self, old: str, new: str, tables: Iterable[str]) -> None:
        self.old = old
        self.new = new
        word, slug = re.escape(old), re.escape(f"/{slug_of(old)}")
        listed = "|".join(map(re.escape, sorted(tables))) or r"(?!)"

        def rule(pattern: str, replacement: str) -> _Rule:
            return re.compile(pattern, re.MULTILINE), replacement

        # In the place of a name they are nobody else's.
        self._models = rule(rf"(?<![A-Za-z0-9])((?:[a-z]+_|_)?){word}__(?=\w)", rf"\1{new}__")
        self._anywhere = [
            self._models,
            rule(rf"\b(load_config|run_stage)\((\s*[\"']){word}(?=[\"'])", rf"\1(\2{new}"),
            rule(rf"\b(register_workflow\(\s*(?:name\s*=\s*)?[\"']){word}(?=[\"'])", rf"\1{new}"),
            rule(rf"\b(workflow(?:_id)?\s*=\s*[\"']){word}(?=[\"'])", rf"\1{new}"),
            rule(
                rf"\b((?:notebooks|models|sources|workflows|tests)(?:/|[\"')]*\s*/\s*[\"'])){word}"
                r"(?![\w-])",
                rf"\1{new}",
            ),
        ]
        pair = rf"([\"']){word}\1(?=\s*,\s*[\"'](?:{listed})[\"'])"  # (schema, table)
        self._anywhere.append(rule(pair, rf"\1{new}\1"))
        self._sql = [
            rule(rf"(?<!\w)(\"?){word}(_raw|_staging)(?=\"?\s*\.\s*\"?\w)", rf"\1{new}\2"),
            rule(rf"\A{word}(_raw|_staging)\Z", rf"{new}\1"),
            rule(
                rf"\b((?i:schema\s+(?:if\s+(?:not\s+)?exists\s+)?)\"?){word}((?:_raw|_staging)?\b)",
                rf"\1{new}\2",
            ),
            rule(
                rf"((?i:{BEFORE_TABLE}|\bview\s+)(?:dataflow\.)?\"?){word}(?=\"?\s*\.\s*\"?\w)",
                rf"\1{new}",
            ),
            rule(rf"(?<![\w./-]){word}(?=\.(?:{listed})\b(?!\())", new),
            rule(rf"\b(source\(\s*[\"']){word}(?=[\"'])", rf"\1{new}"),
            rule(
                rf"\b((?:id|workflow|schema_name|table_schema)\s*=\s*'){word}"
                r"(?=(?:_raw|_staging)?')",
                rf"\1{new}",
            ),
            rule(rf"(/runs/){word}(?![\w-])", rf"\1{new}"),
            rule(rf"(?<![\w.]){slug}(?=[/?#\"'`)\s]|\Z)", f"/{slug_of(new)}"),
        ]

    def model(self, name: str) -> str:
        """The name of a model, a file of one, or its table."""
        return self._models[0].sub(self._models[1], name)

    def sql(self, text: str) -> str:
        """SQL, or a page, or a text in which some stands."""
        return _applied([*self._anywhere, *self._sql], text)

    def python(self, source: str) -> str:
        """Code: SQL is found in strings, comments and magics."""
        if source.startswith("%%"):
            return self.sql(source)
        source = _applied(self._anywhere, source)
        source = re.sub(
            rf"(?m)^(\s*(?:from|import)\s+(?:notebooks\.)?){re.escape(self.old)}(?=[\s.])",
            rf"\g<1>{self.new}",
            source,
        )

        def in_literal(match: re.Match[str]) -> str:
            if not match["quote"]:
                return self.sql(match[0])
            quote = match["quote"]
            return f"{quote}{self.sql(match['body'])}{quote}"

        return LITERAL.sub(in_literal, source)

    def mentions(self, text: str) -> list[int]:
        """The lines of rewritten code that have the old name as a text: it may mean the workflow."""
        word = re.compile(rf"([\"']){re.escape(self.old)}\1")
        return [n for n, line in enumerate(text.split("\n"), start=1) if word.search(line)]

    def file(self, path: Path) -> tuple[str | None, list[Change]]:
        """A file as it is to read: its text, None where that stays, and the lines that change."""
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return None, []
        if path.suffix == ".ipynb":
            return self._notebook(path, text)
        new = self.python(text) if path.suffix == ".py" else self.sql(text)
        if path.suffix in (".yml", ".yaml"):
            new = self._yaml(path, new)
        lines = zip(text.split("\n"), new.split("\n"), strict=True)
        changes = [
            Change(path, str(number), before, after)
            for number, (before, after) in enumerate(lines, start=1)
            if before != after
        ]
        return (new if changes else None), changes

    def _yaml(self, path: Path, text: str) -> str:
        """What is the workflow's by its place: a dbt source's name and schema, a connection's."""
        file = read_yaml(path)
        lines = text.split("\n")
        data = file.data if isinstance(file.data, dict) else {}
        places: list[tuple[str | int, ...]] = []
        if path.name.startswith("connection."):
            places.append(("name",))
        listed = data.get("sources")
        for index, _ in enumerate(listed if isinstance(listed, list) else []):
            places += [("sources", index, key) for key in ("name", "schema")]
        word = re.compile(
            rf"(:\s*[\"']?){re.escape(self.old)}(?=(?:_raw|_staging)?[\"']?\s*(?:[#,}}]|$))"
        )
        for place in places:
            if (number := file.lines.get(place)) is not None:
                lines[number - 1] = word.sub(rf"\g<1>{self.new}", lines[number - 1])
        return "\n".join(lines)

    def _notebook(self, path: Path, text: str) -> tuple[str | None, list[Change]]:
        try:
            notebook = json.loads(text)
            cells = list(notebook["cells"])
        except (ValueError, KeyError, TypeError):
            return None, []
        changes = []
        for number, cell in enumerate(cells, start=1):
            source = cell.get("source", "")
            before = "".join(source)
            rewrite: Callable[[str], str] = (
                self.python if cell.get("cell_type") == "code" else self.sql
            )
            after = rewrite(before)
            if after != before:
                is_list = isinstance(source, list)
                cell["source"] = after.splitlines(keepends=True) if is_list else after
                changes += [
                    Change(path, f"cell {number}", *pair)
                    for pair in zip(before.split("\n"), after.split("\n"), strict=True)
                    if pair[0] != pair[1]
                ]
        dumped = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        return (dumped if changes else None), changes


def _applied(rules: Iterable[_Rule], text: str) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text
