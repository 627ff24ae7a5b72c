"""Markdown as HTML that is safe whatever it says: no tags of its own, no scripts, no requests."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from markupsafe import Markup, escape

LINKS = ("http", "https", "mailto")  # where a link may lead


def to_html(text: str, images: Mapping[str, str] | None = None, lower: int = 0) -> Markup:
    """Markdown as HTML.

    Tags in it are shown as text. A picture shows if it is attached to the cell or written out in
    the address (`data:`); of any other its words do, since nothing is to be loaded. Links to other
    places than web and mail addresses are text.

    Args:
        text: the Markdown.
        images: attached pictures, as `data:` addresses by name.
        lower: how much lower its headings are than they say.
    """
    return _rendered(text, tuple(sorted((images or {}).items())), lower)


@lru_cache(maxsize=2000)
def _rendered(text: str, images: tuple[tuple[str, str], ...], lower: int) -> Markup:
    try:
        return Markup(_renderer(dict(images), lower)(text))
    except RecursionError:  # nested too deeply
        return Markup("<pre>{}</pre>").format(text)


def _renderer(images: Mapping[str, str], lower: int) -> Any:
    import mistune

    class Safe(mistune.HTMLRenderer):
        def heading(self, text: str, level: int, **attrs: Any) -> str:
            return super().heading(text, min(level + lower, 6))

        def link(self, text: str, url: str, title: str | None = None) -> str:
            if _scheme(url) not in LINKS:
                return text
            return f'<a href="{escape(url)}" rel="noopener noreferrer">{text}</a>'

        def image(self, text: str, url: str, title: str | None = None) -> str:
            address = images.get(url.removeprefix("attachment:"), url)
            if not address.lower().startswith(
                ("data:image/png", "data:image/jpeg", "data:image/gif", "data:image/webp")
            ):
                return f"[{escape(Markup(text).striptags())}]"
            words = escape(Markup(text).striptags())
            return f'<img src="{escape(address)}" alt="{words}">'

    plugins = ["table", "strikethrough", "task_lists", "url"]
    return mistune.create_markdown(renderer=Safe(escape=True), plugins=plugins)


def _scheme(url: str) -> str:
    """The scheme of an address, as a browser sees it: without what it skips."""
    try:
        return urlsplit("".join(c for c in url if c.isprintable() and c != " ")).scheme.lower()
    except ValueError:
        return ""
