"""What stands for `${inputs.…}` when a page's query is run without a reader choosing."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Value:
    """A value put into a query.

    Args:
        sql: the text.
        guessed: whether the page does not say it.
    """

    sql: str
    guessed: bool


_ATTRIBUTE = r"""\b{name}\s*=\s*(?:"([^"]*)"|'([^']*)'|\{{([^}}]*)\}}|([^\s>"'{{]+))"""


def placeholder_value(expression: str, page: str, before: str) -> Value:
    """A value for `${expression}`.

    Args:
        expression: `inputs.region.value`, `inputs.when.start`, `params.id`, any JavaScript.
        page: the page's text, whose components say the inputs' defaults.
        before: the query up to here: in quotes, after `in`, …
    """
    quoted = before.count("'") % 2 == 1
    match = re.match(r"inputs\s*\.\s*(\w+)(?:\s*\.\s*(\w+))?", expression)
    if match:
        component = _component(page, match[1])
        if component and (value := _default(component, match[2], quoted)) is not None:
            return Value(value, guessed=False)
        if match[2] in ("start", "end"):
            day = "2020-01-01" if match[2] == "start" else "2020-12-31"
            return Value(day if quoted else f"'{day}'", guessed=not quoted)
    if quoted:
        return Value("0", guessed=True)
    if re.search(r"\bin\s*$", before, re.IGNORECASE):
        return Value("(NULL)", guessed=False)
    return Value("NULL", guessed=True)


def _component(page: str, name: str) -> str | None:
    """The component that sets the input `name`, with all that is inside it."""
    tag = re.search(
        rf"<([A-Z]\w*)\b[^<]*?\bname\s*=\s*[\"'{{]*{re.escape(name)}\b", page, re.DOTALL
    )
    if not tag:
        return None
    rest = page[tag.start() :]
    ends = [rest.find(f"</{tag[1]}>"), rest.find("/>")]
    # Self-closing children come before the closing tag; a self-closing component has none.
    if ends[0] >= 0 and re.match(r"<[A-Z]\w*\b[^<]*?(?<!/)>", rest, re.DOTALL):
        return rest[: ends[0]]
    return rest[: ends[1]] if ends[1] >= 0 else rest


def _default(component: str, part: str | None, quoted: bool) -> str | None:
    """The input's first value as SQL text; None when only the data would tell."""
    kind = re.match(r"<(\w+)", component)
    kind_name = kind[1] if kind else ""
    head = component.split(">", 1)[0]
    if kind_name == "DateRange":
        return None
    if part == "search" or kind_name == "TextInput":
        return _attribute(head, "defaultValue") or ""
    value = _attribute(head, "defaultValue")
    if value is None:
        items = re.findall(r"<\w+(?:Item|Option)\b[^>]*>", component)
        chosen = next((item for item in items if re.search(r"\bdefault\b", item)), None)
        if chosen is None and items and kind_name == "Dropdown":
            chosen = items[0]
        value = _attribute(chosen, "value") if chosen else None
    if value is None and kind_name == "Slider":
        value = _attribute(head, "min") or "0"
    if value is None and kind_name == "Checkbox":
        value = "true" if re.search(r"\bchecked\b", head) else "false"
    if value is None:
        return None
    if re.search(r"\bmultiple\b", head):
        values = re.findall(r"[\"']([^\"']*)[\"']", value) or [value]
        return "(" + ", ".join("'" + one.replace("'", "''") + "'" for one in values) + ")"
    return value if not quoted else value.replace("'", "''")


def _attribute(tag: str, name: str) -> str | None:
    match = re.search(_ATTRIBUTE.format(name=name), tag)
    return next((group for group in match.groups() if group is not None), None) if match else None
