"""The components of a page, and the columns of a query's result that they name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dataflow.base.words import nearest
from dataflow.dashboard.pages import Page, shown_text
from dataflow.errors import Problem

# Evidence's components, with the attributes that name columns of their `data`.
_CHART = ("x", "y", "y2", "series")
_NAMING = {
    **dict.fromkeys(("AreaChart", "BarChart", "Histogram", "LineChart", "ScatterPlot"), _CHART),
    "BubbleChart": (*_CHART, "size"),
    "Heatmap": ("x", "y", "value"),
    "CalendarHeatmap": ("date", "value"),
    "FunnelChart": ("nameCol", "valueCol"),
    "BigValue": ("value", "comparison", "sparkline"),
    "Value": ("column",),
    "Column": ("id",),  # of the table it stands in
}
_TAG = re.compile(r"<(/?[A-Z]\w*)")
_ATTRIBUTE = re.compile(r"\s*([\w:]+)\s*(=?)\s*")
_NAME = re.compile(r"[A-Za-z_]\w*")
_QUOTED = re.compile(r"""["']([^"']*)["']""")


@dataclass(frozen=True)
class _Component:
    name: str
    start: int
    attributes: Mapping[str, str]  # as written, with quotes or braces
    is_closed: bool


def column_problems(page: Page, columns: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    """The components of a page that name a column which the result of their query does not have.

    Args:
        page: the page.
        columns: the columns of its queries' results, by query; of others nothing is said.
    """
    table = ""
    for component in _components(shown_text(page.text)):
        data = component.attributes.get("data", "").strip("{} ")
        if component.name == "DataTable":
            table = "" if component.is_closed else data
        elif component.name == "/DataTable":
            table = ""
        query = table if component.name == "Column" else data
        if query not in columns:
            continue
        known = {column.lower() for column in columns[query]}
        for attribute in _NAMING.get(component.name, ()):
            for name in _names(component.attributes.get(attribute, "")):
                if name.lower() not in known:
                    yield Problem(
                        f"<{component.name}> names the column `{name}` as {attribute}, which the "
                        f"query {query} does not have",
                        page.path,
                        page.text.count("\n", 0, component.start) + 1,
                        nearest(name, columns[query]),
                    )


def _names(value: str) -> list[str]:
    """The columns that an attribute names; none where JavaScript works them out."""
    if value.startswith("{"):
        inner = value[1:-1].strip()
        is_list = inner.startswith("[") and inner.endswith("]")
        plain = re.fullmatch(r"""\[?[\s,]*(?:["'][^"']*["'][\s,]*)*\]?""", inner)
        names = _QUOTED.findall(inner) if plain and (is_list or inner[:1] in "\"'") else []
    else:
        names = [value.strip("\"'")]
    return [name for name in names if _NAME.fullmatch(name)]


def _components(text: str) -> Iterator[_Component]:
    for tag in _TAG.finditer(text):
        position = tag.end()
        attributes: dict[str, str] = {}
        while match := _ATTRIBUTE.match(text, position):
            position = match.end()
            if match[2]:
                end = _end_of_value(text, position)
                attributes[match[1]] = text[position:end]
                position = end
        closing = text[position:].lstrip()[:2] == "/>"
        yield _Component(tag[1], tag.start(), attributes, closing)


def _end_of_value(text: str, start: int) -> int:
    """Where a value ends that begins at `start`: quoted, in braces, or a word."""
    first = text[start : start + 1]
    if first in ("'", '"') and first:
        end = text.find(first, start + 1)
        return len(text) if end < 0 else end + 1
    if first == "{":
        depth = 0
        for position in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                return position + 1
        return len(text)
    word = re.compile(r"(?:[^\s>/]|/(?!>))+").match(text, start)
    return word.end() if word else start
