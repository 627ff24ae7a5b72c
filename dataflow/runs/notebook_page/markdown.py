"""Markdown as HTML that may stand in the page, and its headings."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from dataflow.runs.notebook_page import sanitize

_HEADING = re.compile(r"<h([1-6])>(.*?)</h\1>", re.DOTALL)
_MARKED = re.compile(r'<h([1-4]) id="([^"]*)">(.*?)</h\1>', re.DOTALL)
_MARKUP = re.compile(r"<[^>]*>")


@dataclass(frozen=True)
class Heading:
    """A heading of a notebook.

    Args:
        level: from 1.
        text: what it says.
        id: where it is on the page.
    """

    level: int
    text: str
    id: str


def to_html(source: str, attachments: Mapping[str, Any] | None = None) -> Markup:
    """`source` as HTML without anything that acts; as it is where it cannot be read."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    try:
        renderer = IPythonRenderer(
            escape=False, attachments=dict(attachments or {}), exclude_anchor_links=True
        )
        made = sanitize.plain(MarkdownWithMath(renderer=renderer).render(source))
        return Markup(_HEADING.sub(_with_id, made))
    except Exception:  # a picture that is not attached, nesting without end
        return Markup("<pre>{}</pre>").format(source)


def _with_id(heading: re.Match[str]) -> str:
    """A heading with the id that links within the notebook use: its words with dashes."""
    level, inner = heading.groups()
    return f'<h{level} id="{sanitize.anchor(_words(inner))}">{inner}</h{level}>'


def _words(inner: str) -> str:
    return html.unescape(_MARKUP.sub("", inner)).strip()


def headings(text: str) -> list[Heading]:
    """The headings in what `to_html` made."""
    found = []
    for level, identifier, inner in _MARKED.findall(text):
        if words := _words(inner):
            found.append(Heading(int(level), words[:120], html.unescape(identifier)))
    return found
