"""YAML that keeps line numbers, so that every problem can name one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dataflow.base.words import meant
from dataflow.errors import Fix, Problem

Location = tuple[str | int, ...]


@dataclass
class YamlFile:
    """A parsed YAML file.

    Args:
        path: the file.
        text: what it holds; empty if it cannot be read.
        data: its content as plain Python values.
        lines: the line (from 1) of every key and list item, by its location, such as
            `("stages", 0, "notebook")`.
        problems: what is wrong with the YAML itself: syntax, keys given twice.
    """

    path: Path
    text: str = ""
    data: Any = None
    lines: dict[Location, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, location: Location) -> int | None:
        """The line of `location`, or of the nearest parent that has one."""
        for end in range(len(location), 0, -1):
            if location[:end] in self.lines:
                return self.lines[location[:end]]
        return 1 if self.lines else None

    def line_text(self, line: int) -> str:
        """What is in a line."""
        return "".join(self.text.split("\n")[line - 1 : line])

    def problem(
        self,
        message: str,
        location: Location,
        hint: str | None = None,
        wrong: str = "",
        right: Iterable[str] = (),
    ) -> Problem:
        """A problem at `location` in this file.

        Args:
            message: what is wrong.
            location: where.
            hint: what to do next.
            wrong: the name that is wrong, if it is one.
            right: the names that could stand there.
        """
        line = self.line(location)
        fix = Fix.replacing(wrong, meant(wrong, right), self.line_text(line)) if line else None
        return Problem(message, self.path, line, hint, fix=fix)


def read_yaml(path: Path, text: str | None = None) -> YamlFile:
    """Read `path`, or `text` as what it will be; errors are in the `problems`, never raised."""
    file = YamlFile(path)
    try:
        text = file.text = path.read_text(encoding="utf-8") if text is None else text
    except FileNotFoundError:
        file.problems.append(Problem("the file does not exist", path, hint="Create it."))
        return file
    except (OSError, UnicodeDecodeError) as error:
        hint = "Save it as UTF-8, readable by you."
        file.problems.append(Problem(f"the file cannot be read: {error}", path, hint=hint))
        return file
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is not None:
                _walk(node, (), file)
                file.data = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        file.problems.append(
            Problem(
                f"not valid YAML: {error.problem or error.context}",
                path,
                mark.line + 1 if mark else None,
                "Check the indentation and the quotes around this line.",
            )
        )
    except RecursionError:
        hint = "Write it flat; an alias (*name) cannot be inside the value that it stands for."
        file.problems.append(
            Problem("not valid YAML: nested too deeply, or in itself", path, 1, hint)
        )
    except (yaml.YAMLError, ValueError) as error:
        file.problems.append(Problem(f"not valid YAML: {error}", path))
    return file


def _walk(node: yaml.Node, location: Location, file: YamlFile) -> None:
    """Note the line of everything below `node`, and every key that is given twice."""
    if location:
        file.lines.setdefault(location, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = str(getattr(key_node, "value", key_node))
            line = key_node.start_mark.line + 1
            if key in seen:
                file.problems.append(
                    Problem(
                        f"`{key}` is given twice, first in line {seen[key]}",
                        file.path,
                        line,
                        "Keep one of the two.",
                    )
                )
            seen[key] = line
            file.lines[(*location, key)] = line
            _walk(value_node, (*location, key), file)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            file.lines[(*location, index)] = item.start_mark.line + 1
            _walk(item, (*location, index), file)
