"""The SQL of a workflow, checked without running it: dbt models, Evidence's source queries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from dataflow.base.sql import blank
from dataflow.base.words import nearest
from dataflow.dashboard.source_query import explain, without_semicolon
from dataflow.dbt.names import DbtNames, read_names, yaml_files
from dataflow.errors import Problem
from dataflow.project import Project
from dataflow.workflows.yaml_file import Location, YamlFile, read_yaml

EXPRESSION = re.compile(r"\{\{-?(.*?)-?\}\}", re.DOTALL)
COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
REF = re.compile(r"\bref\(\s*['\"](\w+)['\"]\s*\)")
SOURCE = re.compile(r"\bsource\(\s*['\"](\w+)['\"]\s*,\s*['\"](\w+)['\"]\s*\)")


def check_models(project: Project, workflow_id: str) -> list[Problem]:
    """Check the workflow's dbt files: YAML, SQL as far as possible, `ref` and `source`."""
    folder = project.dbt / "models" / workflow_id
    if not folder.is_dir():
        return []
    names = read_names(project)
    problems: list[Problem] = []
    for path in yaml_files(folder):
        file = read_yaml(path)
        problems += file.problems
        problems += _data_test_problems(file, file.data, (), names)
    tests = project.dbt / "tests" / workflow_id
    for path in sorted([*folder.rglob("*.sql"), *tests.rglob("*.sql")]):
        text = _text(path, problems)
        if text is None:
            continue
        problems += _reference_problems(path, text, names)
        plain = without_jinja(text)
        if plain is not None:
            problems += _statement_problems(path, plain, "the model")
    return problems


def check_sources(project: Project, workflow_id: str) -> list[Problem]:
    """Check the syntax of the queries that fill the workflow's dashboard."""
    problems: list[Problem] = []
    for path in sorted((project.evidence / "sources" / workflow_id).glob("*.sql")):
        text = _text(path, problems)
        if text is not None:
            problems += _statement_problems(path, text, "the source query", semicolon=True)
    return problems


def without_jinja(
    text: str, relation: Callable[[str], str] = lambda expression: "stand_in"
) -> str | None:
    """A model's SQL with stand-ins for `ref` and the like, line by line the same.

    None when it holds Jinja that needs dbt itself.

    Args:
        text: the model.
        relation: gives the table that stands for `ref(…)`, `source(…)` or `this`.
    """
    text = COMMENT.sub(blank, text)
    if "{%" in text:
        return None
    unknown = False

    def stand_in(match: re.Match[str]) -> str:
        nonlocal unknown
        expression = match[1].strip()
        lines = blank(match)
        if expression.startswith("config("):
            return lines
        if expression.startswith(("ref(", "source(")) or expression == "this":
            return f"{relation(expression)}{lines}"
        unknown = True
        return match[0]

    plain = EXPRESSION.sub(stand_in, text)
    return None if unknown else plain


def _data_test_problems(
    file: YamlFile, data: object, location: Location, names: DbtNames
) -> Iterator[Problem]:
    """Generic tests with unknown names: dbt itself only notices when it builds."""
    if isinstance(data, list):
        for index, item in enumerate(data):
            yield from _data_test_problems(file, item, (*location, index), names)
    if not isinstance(data, dict):
        return
    for key, value in data.items():
        here = (*location, str(key))
        if key not in ("data_tests", "tests") or not isinstance(value, list):
            yield from _data_test_problems(file, value, here, names)
            continue
        for index, item in enumerate(value):
            name = next(iter(item), None) if isinstance(item, dict) else item
            if name in ("name", "test_name") and isinstance(item, dict):
                name = item.get("test_name")
            # `package.test` comes from a package.
            if isinstance(name, str) and "." not in name and name not in names.tests:
                yield file.problem(
                    f"there is no data test `{name}`", (*here, index), nearest(name, names.tests)
                )


def _reference_problems(path: Path, text: str, names: DbtNames) -> Iterator[Problem]:
    text = COMMENT.sub(blank, text)
    for match in REF.finditer(text):
        if match[1] not in names.models:
            yield Problem(f"there is no model `{match[1]}`", path, _line(text, match),
                          nearest(match[1], names.models))  # fmt: skip
    for match in SOURCE.finditer(text):
        source, table = match.groups()
        if source not in names.sources:
            hint = (
                nearest(source, names.sources)
                or "Declare it: `sources:` in a file _…__sources.yml."
            )
            yield Problem(f"there is no source `{source}`", path, _line(text, match), hint)
        elif table not in names.sources[source]:
            yield Problem(f"source `{source}` has no table `{table}`", path, _line(text, match),
                          nearest(table, names.sources[source]))  # fmt: skip


def _statement_problems(
    path: Path, text: str, what: str, *, semicolon: bool = False
) -> Iterator[Problem]:
    import duckdb

    try:
        statements = duckdb.extract_statements(text)
    except duckdb.Error as error:
        message, line, hint = explain(error)
        yield Problem(
            f"not valid SQL: {message}", path, line, hint or "Fix the SQL; it is DuckDB's."
        )
        return
    kinds = [statement.type.name for statement in statements]
    if kinds != ["SELECT"]:
        yield Problem(f"{what} has to be one SELECT, and is {', '.join(kinds) or 'empty'}", path, 1,
                      "One file makes one table, named after the file.")  # fmt: skip
    elif not semicolon and without_semicolon(text) != text:
        line = without_semicolon(text).count("\n") + 1
        yield Problem("a model ends without a semicolon", path, line,
                      "Remove it: dbt puts the SELECT into a statement of its own.")  # fmt: skip


def _text(path: Path, problems: list[Problem]) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(
            Problem(f"the file cannot be read: {error}", path, hint="Save it as UTF-8.")
        )
        return None


def _line(text: str, match: re.Match[str]) -> int:
    return text.count("\n", 0, match.start()) + 1
