"""Changes of a YAML text that leave every other character of it as it is.

A YAML library that writes a file anew moves or loses comments: ruamel.yaml drops those that
follow a removed key, and indents lists, folds text and spaces flow mappings its own way. Here the
parser only says where a value stands. Each change is read back and compared with what was meant.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import yaml

from dataflow.workflows.yaml_file import Location

NO_LIMIT = 10**9  # columns
LOST = "there may be comments in it, which would be lost"


class CannotEdit(Exception):
    """The text is written in a way in which the change cannot be made safely.

    Args:
        reason: why, a part of a sentence.
        line: where, from 1.
    """

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


class _Loader(yaml.SafeLoader):
    """Leaves an alias where it stands, in place of what it stands for."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if not self.check_event(yaml.AliasEvent):
            node: yaml.Node | None = super().compose_node(parent, index)
            return node
        event = self.get_event()
        return yaml.ScalarNode("alias", f"*{event.anchor}", event.start_mark, event.end_mark, "*")


class YamlText:
    """A YAML document that can be changed value by value.

    Args:
        text: valid YAML whose top is a mapping.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._newline = "\r\n" if "\r\n" in text else "\n"

    @property
    def data(self) -> Any:
        """The content as plain Python values; what is an alias in the text is a copy."""
        return _copied(yaml.safe_load(self.text))

    def set(self, location: Location, value: Any, order: Sequence[str] = ()) -> None:
        """Give the value at `location`, whose parent is there, another value.

        Args:
            location: keys and numbers of list items, from the top.
            value: what to write. A list of mappings is written as a block, all else in one line.
            order: the usual order of the parent's keys; a new key is put in its place there.

        Raises:
            CannotEdit: it cannot be done without changing anything else.
        """
        parent, key, node = self._find(location)
        expected = self.data
        _parent(expected, location)[location[-1]] = _copied(value)
        if node is None:
            assert isinstance(parent, yaml.MappingNode)
            start, end, new = self._insertion(parent, str(location[-1]), value, order)
        else:
            start, end, new = self._replacement(key, node, value)
        self._splice(start, end, new, expected, (node or parent).start_mark.line + 1)

    def remove(self, location: Location) -> None:
        """Remove a key of a mapping with its value, and the comment behind it.

        Raises:
            CannotEdit: it cannot be done without changing anything else.
        """
        parent, key, node = self._find(location)
        assert isinstance(parent, yaml.MappingNode)
        assert key is not None
        assert node is not None
        expected = self.data
        del _parent(expected, location)[location[-1]]
        start, end, index = (
            key.start_mark.index,
            _end(node, self.text),
            parent.value.index((key, node)),
        )
        if not parent.flow_style:
            start = self.text.rfind("\n", 0, start) + 1
            if not self.text[start : key.start_mark.index].strip(" \ufeff"):
                end = self._line_end(end)
            else:  # the first one of a list's item, behind the dash
                start, behind = key.start_mark.index, end
                end = parent.value[index + 1][0].start_mark.index if parent.value[1:] else end
                if "#" in self.text[behind:end]:
                    raise CannotEdit(LOST, key.start_mark.line + 1)
        elif index:
            start = _end(parent.value[index - 1][1], self.text)
        elif len(parent.value) > 1:
            end = parent.value[1][0].start_mark.index
        self._splice(start, end, "", expected, key.start_mark.line + 1)

    def append(self, location: Location, item: dict[str, Any]) -> None:
        """Add a mapping at the end of the list at `location`.

        Raises:
            CannotEdit: it cannot be done without changing anything else.
        """
        _, key, node = self._find(location)
        assert node is not None
        expected = self.data
        _parent(expected, (*location, 0)).append(_copied(item))
        line = node.start_mark.line + 1
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            start, end, new = self._replacement(key, node, [item])
        elif node.flow_style:
            start = end = _end(node.value[-1], self.text)
            new = f", {_in_line(item)}"
        else:
            first, last = node.value[0], node.value[-1]
            start = end = self._line_end(_end(last, self.text))
            width = max(2, first.start_mark.column - node.start_mark.column)
            if first.start_mark.line != node.start_mark.line:
                width = 2  # the first item begins below its dash
            new = self._block([item], node.start_mark.column, width)
            if len(node.value) > 1:
                gap = self.text[_end(node.value[-2], self.text) : last.start_mark.index]
                if any(not text.strip() for text in gap.splitlines()[1:-1]):
                    new = self._newline + new  # an empty line between items
            new = self._as_lines(start, new)
        self._splice(start, end, new, expected, line)

    def _find(
        self, location: Location
    ) -> tuple[yaml.Node, yaml.ScalarNode | None, yaml.Node | None]:
        """The node around `location`, the key there if it is one, and the value if there is one."""
        node: yaml.Node | None = yaml.compose(self.text, Loader=_Loader)
        parent, key = node, None
        for part in location:
            assert node is not None
            parent, key = node, None
            if isinstance(node, yaml.SequenceNode):
                node = node.value[int(part)]
            elif isinstance(node, yaml.MappingNode):
                found = [pair for pair in node.value if pair[0].value == part]
                key, node = found[0] if found else (None, None)
            else:
                raise CannotEdit("it is not a mapping", node.start_mark.line + 1)
        assert parent is not None
        return parent, key, node

    def _insertion(
        self, parent: yaml.MappingNode, name: str, value: Any, order: Sequence[str]
    ) -> tuple[int, int, str]:
        """A new key of a mapping: behind the last of those that usually come before it."""
        earlier = [*order][: order.index(name)] if name in order else []
        before = [pair for pair in parent.value if pair[0].value in earlier] or parent.value
        if not before:  # an empty flow mapping
            at = parent.start_mark.index + 1
            return at, at, f"{name}: {_in_line(value)}"
        other = before[-1][1]
        style = other.style if isinstance(other, yaml.ScalarNode) else None
        if parent.flow_style:
            at = _end(other, self.text)
            return at, at, f", {name}: {_in_line(value, style)}"
        column = parent.value[0][0].start_mark.column
        at = self._line_end(_end(other, self.text))
        if _is_block(value):
            block = self._block(value, column + 2, 2)
            new = f"{' ' * column}{name}:{self._newline}{block}"
            if not column:
                new = self._newline + new
        else:
            new = f"{' ' * column}{name}: {_in_line(value, style)}{self._newline}"
        return at, at, self._as_lines(at, new)

    def _replacement(
        self, key: yaml.ScalarNode | None, node: yaml.Node, value: Any
    ) -> tuple[int, int, str]:
        start, end = node.start_mark.index, _end(node, self.text)
        if isinstance(node, yaml.ScalarNode) and start == end:  # nothing behind the colon
            if _is_block(value):
                at = self._line_end(start)
                column = key.start_mark.column + 2 if key is not None else 2
                return at, at, self._as_lines(at, self._block(value, column, 2))
            return start, end, f" {_in_line(value)}"
        if isinstance(node, yaml.ScalarNode):
            return start, end, _in_line(value, node.style)
        line = node.start_mark.line + 1
        if isinstance(node, yaml.SequenceNode) and isinstance(value, list) and value:
            if not node.flow_style:
                return self._items(node, value)
            if "#" not in self.text[start:end]:
                written = {
                    item.value: self.text[item.start_mark.index : item.end_mark.index]
                    for item in node.value
                    if isinstance(item, yaml.ScalarNode)
                }
                items = ", ".join(
                    written.get(one) or _in_line(one) if isinstance(one, str) else _in_line(one)
                    for one in value
                )
                return start, end, f"[{items}]"
        if "#" in self.text[start:end]:
            raise CannotEdit(LOST, line)
        if key is not None and key.start_mark.line != node.start_mark.line:
            start = self.text.index(":", key.end_mark.index) + 1
            if "#" in self.text[start : node.start_mark.index]:
                raise CannotEdit(LOST, line)
            return start, end, f" {_in_line(value)}"
        return start, end, _in_line(value)

    def _items(self, node: yaml.SequenceNode, value: list[Any]) -> tuple[int, int, str]:
        """The items of a list with one per line: those that stay keep their lines and comments."""
        column = node.start_mark.column
        begin = self.text.rfind("\n", 0, node.start_mark.index) + 1
        lines: dict[str, str] = {}
        at = begin
        for item in node.value:
            end = self._line_end(_end(item, self.text))
            if isinstance(item, yaml.ScalarNode):
                lines[item.value] = self.text[at:end]
            at = end
        new = ""
        for one in value:
            line = lines.get(one) if isinstance(one, str) else None
            if line is None:
                line = f"{' ' * column}- {_in_line(one)}"
            new += line.rstrip("\r\n") + self._newline
        if not self.text[begin:at].endswith("\n"):
            new = new.removesuffix(self._newline)
        return begin, at, new

    def _block(self, items: Sequence[dict[str, Any]], column: int, width: int) -> str:
        """Mappings as lines: the first key behind a dash, the others below it."""
        lines = []
        for item in items:
            for number, (name, value) in enumerate(item.items()):
                lead = "-".ljust(width) if not number else " " * width
                lines.append(f"{' ' * column}{lead}{name}: {_in_line(value)}{self._newline}")
        return "".join(lines)

    def _line_end(self, index: int) -> int:
        """Where the line after the one with `index` begins; the text's end when there is none."""
        end = self.text.find("\n", index)
        return len(self.text) if end < 0 else end + 1

    def _as_lines(self, at: int, new: str) -> str:
        """Whole lines to be inserted at `at`, also behind a last line without an end."""
        if at and self.text[at - 1] != "\n":
            return self._newline + new.removesuffix(self._newline)
        return new

    def _splice(self, start: int, end: int, new: str, expected: Any, line: int) -> None:
        """Replace a part of the text, if it then says what was meant and nothing else."""
        changed = self.text[:start] + new + self.text[end:]
        try:
            is_right = yaml.safe_load(changed) == expected
        except (yaml.YAMLError, ValueError, RecursionError):
            is_right = False
        if not is_right:
            raise CannotEdit("anchors or an unusual layout are in the way", line)
        self.text = changed


def _is_block(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _in_line(value: Any, style: str | None = None) -> str:
    """A value in one line; a string in quotes of `style` if that is given."""
    text: str = yaml.safe_dump(
        [_copied(value)],
        default_flow_style=True,
        default_style=style if isinstance(value, str) and style in ("'", '"') else None,
        allow_unicode=True,
        sort_keys=False,
        width=NO_LIMIT,
    )
    return text.strip().removeprefix("[").removesuffix("]")


def _end(node: yaml.Node, text: str) -> int:
    """Where a value ends; the parser's mark of a block is behind the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last, text)
    end: int = node.end_mark.index
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        end = node.start_mark.index + len(text[node.start_mark.index : end].rstrip())
    return end


def _parent(data: Any, location: Location) -> Any:
    for part in location[:-1]:
        data = data[part]
    return data


def _copied(data: Any) -> Any:
    """A deep copy in which nothing is shared."""
    if isinstance(data, dict):
        return {key: _copied(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_copied(value) for value in data]
    return copy.copy(data)
