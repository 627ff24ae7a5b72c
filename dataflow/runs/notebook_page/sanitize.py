"""HTML from a notebook, reduced to what cannot harm: by an allowlist, as a browser would read it.

What is left goes into the page itself only if it is plain text with marks, and tables. It has no
class and no id of the page's own, and no style that could place it over something else.
"""

from __future__ import annotations

import re
from functools import cache
from html import escape
from typing import Any

_TEXT = {
    "a", "abbr", "b", "blockquote", "br", "caption", "center", "code", "col", "colgroup", "dd",
    "del", "details", "dfn", "div", "dl", "dt", "em", "figcaption", "figure", "h1", "h2", "h3", "h4",
    "h5", "h6", "hr", "i", "img", "ins", "kbd", "li", "mark", "ol", "p", "pre", "q", "s", "samp",
    "small", "span", "strike", "strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot",
    "th", "thead", "tr", "tt", "u", "ul", "var",
}  # fmt: skip
_LOOKS = {
    "background-color", "color", "font-style", "font-weight",
    "text-align", "text-decoration", "vertical-align", "white-space",
}  # fmt: skip
# In a frame of its own an output may look as it likes.
_DRAWN = _TEXT | {
    "article", "aside", "audio", "circle", "clipPath", "defs", "desc", "ellipse", "filter", "font",
    "footer", "g", "header", "image", "line", "linearGradient", "main", "marker", "mask", "meter",
    "nav", "path", "pattern", "picture", "polygon", "polyline", "progress", "radialGradient", "rect",
    "section", "source", "stop", "style", "svg", "symbol", "text", "time", "title", "tspan", "use",
    "video",
}  # fmt: skip
_EVERYWHERE = {"style", "title", "align", "valign", "dir", "lang"}
_ATTRIBUTES = {
    "*": _EVERYWHERE,
    "a": {"href", "id"},
    "col": {"span"},
    "details": {"open"},
    "img": {"src", "alt", "width", "height"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
}
_SVG = {
    "class", "id", "width", "height", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "rx", "ry",
    "d", "points", "viewBox", "preserveAspectRatio", "transform", "fill", "fill-opacity",
    "fill-rule", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin",
    "stroke-opacity", "opacity", "offset", "stop-color", "stop-opacity", "clip-path", "mask",
    "marker-end", "marker-start", "gradientUnits", "gradientTransform", "patternUnits", "dx", "dy",
    "text-anchor", "dominant-baseline", "font-family", "font-size", "font-weight", "xmlns", "href",
    "value", "max", "min", "low", "high", "optimum", "bgcolor", "border", "cellpadding",
    "cellspacing", "face", "size", "controls", "loop", "muted", "poster", "src", "type",
}  # fmt: skip
_SCHEMES = {"http", "https", "mailto", "data"}
_PICTURE = re.compile(
    r"data:(?:image/(?:png|jpeg|gif|webp|svg\+xml)|audio/\w+|video/\w+)[;,]", re.I
)
_PREFIX = "n-"  # begins the ids of the notebook's own anchors
_TAG = re.compile(r"<\s*([a-zA-Z][\w:-]*)")


def tags_of(html: str) -> set[str]:
    """The names of the tags in some HTML, in small letters."""
    return {name.lower() for name in set(_TAG.findall(html))}


def is_plain(html: str) -> bool:
    """Whether some HTML has nothing but what may stand in the page itself."""
    return tags_of(html) <= _TEXT


def plain(html: str) -> str:
    """`html` as it may stand in the page: text, marks, tables, pictures that it brings along."""
    return str(_plain().clean(html))


def drawn(html: str) -> str:
    """`html` for a frame of its own: with styles and drawings, and without what acts."""
    return str(_drawn().clean(html))


def anchor(words: str) -> str:
    """The id of a heading that says `words`, as an attribute's value."""
    return escape(_PREFIX + words.replace(" ", "-"), quote=True)


@cache
def _plain() -> Any:
    import nh3

    return nh3.Cleaner(
        tags=_TEXT,
        clean_content_tags={"script", "style", "title", "iframe", "object", "template", "noscript"},
        attributes=_ATTRIBUTES,
        attribute_filter=_own_only,
        url_schemes=_SCHEMES,
        filter_style_properties=_LOOKS,
        id_prefix=_PREFIX,
        # Code in markdown is coloured by classes of one or two letters, which the page has no other.
        allowed_classes={"span": _colours(), "div": {"highlight"}},
    )


@cache
def _drawn() -> Any:
    import nh3

    return nh3.Cleaner(
        tags=_DRAWN,
        clean_content_tags={"script", "iframe", "object", "template", "noscript"},
        attributes={
            tag: _EVERYWHERE | _SVG | _ATTRIBUTES.get(tag, set()) for tag in {"*", *_ATTRIBUTES}
        },
        attribute_filter=_out_only,
        url_schemes=_SCHEMES,
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )


def _colours() -> set[str]:
    from pygments.token import STANDARD_TYPES

    return {name for name in STANDARD_TYPES.values() if name}


def _own_only(tag: str, name: str, value: str) -> str | None:
    """An attribute's value; None for an address that leads anywhere but out, or within."""
    if name in ("src", "poster") or (name == "href" and tag in ("image", "use")):
        return value if _PICTURE.match(value.strip()) or _is_anchor(value) else None
    if name == "href":
        if _is_anchor(value):
            return f"#{_PREFIX}{value.strip()[1:]}"
        return value if value.strip().lower().startswith(("http:", "https:", "mailto:")) else None
    return value


def _out_only(tag: str, name: str, value: str) -> str | None:
    """As `_own_only`; in a frame a link within would lead to the page, which no frame may show."""
    return None if tag == "a" and _is_anchor(value) else _own_only(tag, name, value)


def _is_anchor(value: str) -> bool:
    return value.strip().startswith("#")
