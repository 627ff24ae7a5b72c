"""Secrets and the machine's paths taken out of whatever is written to disk.

A secret is the value of a `${VAR}` that the workflow's configuration or a parameter names.
It is looked for as it is and in the forms in which it turns up in outputs: JSON- and
Python-escaped, HTML-escaped, URL-encoded, base64 (also in the middle of something longer,
as in a basic-auth header), and cut short, as pandas shows long text. Line breaks, colours and
tags may stand between its characters: a console wraps long values, and rich colours parts of them.
"""

from __future__ import annotations

import base64
import html
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus

from dataflow.engine.output import RESULT

# Replacing shorter values would damage every number and word that contains them.
SHORTEST = 4
# Values shorter than this count only as whole words: `dev` is no part of `device`.
WORDS_BELOW = 8
NO_SECRETS = {"true", "false", "none", "null", "localhost", "127.0.0.1"}
# Text cut by a display (pandas: 47 characters and "...") still gives most of a secret away:
# this much of its beginning or end counts as the whole, and less of it beside the dots.
PART = 16
PART_BY_DOTS = 8
DOTS = ("...", "…")
# What may stand between the characters of a secret: breaks of lines with indentation and the
# frame of a box, colours, tags; also escaped, as in JSON. Each alternative begins with a character
# of its own, which makes it fast, nothing can be tried in two ways, and what comes before the end
# of a line is limited: the time is linear.
_BLANKS = " \t│┃║"
_MARKUPS = (
    r"\x1b(?:\[[0-9;:?]*+[ -/]*+[@-~]|\][^\x07\x1b]*+(?:\x07|\x1b\\))",
    r"\\(?:(?:x1b|u001b|033|e)\[[0-9;:]*+[A-Za-z]|u25(?:0[23]|51))",
    r"</?(?:span|a|b|i|u|s|em|strong|code|font|mark|small|wbr|br|tt|div|p|li|pre|td|tr)"
    r"(?:\s[^<>]*+|/)?>",
)
_MARKUP = "|".join(_MARKUPS)
_BREAKS = (rf"{end}(?:[{_BLANKS}\r\n]|\\n|{_MARKUP})*+" for end in (r"\n", r"\r\n", r"\\(?:r\\)?n"))
_BREAK = "|".join(_BREAKS)
_TO_BREAK = rf"(?:[{_BLANKS}]++|{_MARKUP}){{,30}}+(?:{_BREAK})"
BETWEEN = "|".join(
    [
        _BREAK,
        *(rf"{blank}(?<![{_BLANKS}]{blank}){_TO_BREAK}" for blank in _BLANKS),
        *(f"{markup}(?:{_TO_BREAK})?+" for markup in _MARKUPS),
    ]
)
# A part of that at the end of a text that is to be continued.
BEGUN = re.compile(
    r"(?:\x1b(?:[\[\]][^A-Za-z\x07]*)?|</?(?:[a-z]+(?:\s[^<>]*)?)?|\\[a-z0-9\[;]*)\Z"
)


@dataclass(frozen=True)
class _Form:
    """One way in which a secret turns up in text."""

    text: str
    name: str

    @property
    def is_word(self) -> bool:
        return len(self.text) < WORDS_BELOW

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where it is in `text`, whole or cut."""
        beginning, end = self.text[:PART_BY_DOTS], self.text[-PART_BY_DOTS:]
        for at in _places(beginning, text):
            size = _common(self.text, text[at : at + len(self.text)])
            if size == len(self.text):
                if not self.is_word or _is_word(text, at, at + size):
                    yield at, at + size
            elif self._is_part(size) or text.startswith(DOTS, at + size):
                yield at, at + size
        if len(self.text) > PART_BY_DOTS:
            for at in _places(end, text):
                stop = at + len(end)
                before = text[max(0, stop - len(self.text)) : stop]
                size = _common(self.text[::-1], before[::-1])
                if size < len(self.text) and (
                    self._is_part(size) or text.endswith(DOTS, 0, stop - size)
                ):
                    yield stop - size, stop

    def _is_part(self, size: int) -> bool:
        return size >= PART and len(self.text) >= 2 * PART


class Scrubber:
    """Takes secrets out of text and of anything made of text.

    Args:
        secrets: values by the name of the variable they came from.
        paths: folders of this machine, with what is written in their place.
    """

    def __init__(
        self, secrets: Mapping[str, str] | None = None, paths: Mapping[str, str] | None = None
    ) -> None:
        self._secrets = dict(secrets or {})
        # The longest first: the project may lie in the home folder.
        self._paths = [
            # Whole, not as a part of another: `s3://bucket/root`. A colour may stand before it.
            (
                path,
                re.compile(r"(?:(?<![\w.-])|(?<=[\d\[]m))" + re.escape(path) + r"(?![\w.-])"),
                shown,
            )
            for path, shown in sorted((paths or {}).items(), key=lambda item: -len(item[0]))
            if len(path) > 1
        ]
        names: dict[str, str] = {}
        for name, value in self._secrets.items():
            if is_secret(value):
                for form in _forms(value):
                    names.setdefault(form, name)
        self._forms = [_Form(text, name) for text, name in names.items()]
        # In a secret of several words a console breaks lines at a space, which is then gone.
        words = any(" " in text for text in names)
        self._between = re.compile(BETWEEN + (r"|[ \t]" if words else ""))
        joined = {self._between.sub("", text): name for text, name in names.items()}
        self._joined = [
            _Form(text, name) for text, name in joined.items() if len(text) >= WORDS_BELOW
        ]
        # How far a secret may reach, with what stands between its characters.
        self.longest = 4 * max(map(len, names), default=0)

    def __bool__(self) -> bool:
        return bool(self._forms or self._paths)

    def with_paths(self, paths: Mapping[str, str]) -> Scrubber:
        """The same, taking the machine's paths out too."""
        return Scrubber(self._secrets, paths)

    def text(self, text: str) -> str:
        """`text` with `${NAME}` in place of every secret, and without the machine's paths."""
        parts, at = [], 0
        for start, stop, name in self._found(text):
            parts += [text[at:start], "${", name, "}"]
            at = stop
        text = "".join([*parts, text[at:]]) if parts else text
        for path, pattern, shown in self._paths:
            if path in text:  # the pattern takes hundreds of times as long to find nothing
                text = pattern.sub(shown.replace("\\", r"\\"), text)
        return text

    def _found(self, text: str) -> list[tuple[int, int, str]]:
        """Where secrets are in `text`, without overlaps: start, stop and the variable's name."""
        spans = [*_spans(self._forms, text), *self._split(text)]
        spans.sort(key=lambda span: (span[0], -span[1]))
        merged: list[tuple[int, int, str]] = []
        for start, stop, name in spans:
            if merged and start < merged[-1][1]:
                first, last, shown = merged[-1]
                merged[-1] = (first, max(last, stop), shown)
            else:
                merged.append((start, stop, name))
        return merged

    def _split(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Where secrets are in `text` that something interrupts."""
        joined = self._between.sub("", text) if self._joined else text
        if len(joined) == len(text):
            return
        if found := list(_spans(self._joined, joined)):
            place = self._places(text)
            for start, stop, name in found:
                yield place(start), place(stop - 1) + 1, name

    def _places(self, text: str) -> Callable[[int], int]:
        """The place in `text` of a character, by its place without what is between."""
        at, gone = [0], [0]
        for match in self._between.finditer(text):
            at.append(match.start() - gone[-1])
            gone.append(gone[-1] + match.end() - match.start())
        return lambda place: place + gone[bisect_right(at, place) - 1]

    def _begun(self, text: str) -> int:
        """Where an interrupted secret begins that may go on.

        The length of `text` when there is none.
        """
        before = max(0, len(text) - self.longest - 1000)
        tail = text[before:]
        piece = BEGUN.search(tail, max(0, len(tail) - 200))
        whole = tail[: piece.start()] if piece else tail
        joined = self._between.sub("", whole).rstrip(" ")
        if len(joined) == len(tail):
            return len(text)
        held = len(joined)
        for form in self._joined:
            size = min(len(form.text) - 1, len(joined))
            while size >= SHORTEST and not joined.endswith(form.text[:size]):
                size -= 1
            if size >= SHORTEST:
                held = min(held, len(joined) - size)
        return before + self._places(whole)(held) if held < len(joined) else len(text)

    def complete(self, text: str) -> int:
        """How much of `text`, which is to be continued, can be shown already.

        The rest may be the beginning of a secret.
        """
        held = self._begun(text)
        for form in self._forms:
            at = text.find(form.text[0], max(0, len(text) - len(form.text) + 1))
            while at >= 0 and not form.text.startswith(text[at:]):
                at = text.find(form.text[0], at + 1)
            if at >= 0:
                held = min(held, at)
        if held < len(text):
            for start, stop, _ in self._found(text):
                if start < held < stop:
                    held = stop
        return held

    def tree(self, value: Any) -> Any:
        """`value` with every string inside scrubbed, long ones in keys of mappings too.

        Mappings and lists are changed in place where they can be, so that notebook nodes
        stay notebook nodes.
        """
        if not self:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            for key in list(value):
                item = self.tree(value[key])
                # A short word in a key is more likely structure than secret.
                long = isinstance(key, str) and len(key) >= WORDS_BELOW
                clean = self.text(key) if long else key
                if clean != key:
                    del value[key]
                value[clean] = item
            return value
        if isinstance(value, list):
            value[:] = [self.tree(item) for item in value]
            return value
        if isinstance(value, tuple):
            return tuple(self.tree(item) for item in value)
        return value

    def notebook(self, nb: Any) -> Any:
        """The notebook `nb`, scrubbed in place where its content is.

        What makes it a notebook (types, tags, MIME types, times) stays as it is, whatever
        a variable's value happens to be.
        """
        if not self:
            return nb
        for key in nb.metadata:
            if key == "dataflow":
                for result in nb.metadata[key].get("results", []):
                    self._result(result)
            elif key not in ("kernelspec", "language_info"):
                nb.metadata[key] = self._contents(nb.metadata[key])
        for cell in nb.cells:
            cell.source = self.text(cell.source)
            for key in cell.metadata:
                if key not in ("tags", "papermill", "dataflow", "execution"):
                    cell.metadata[key] = self._contents(cell.metadata[key])
            self._contents(cell.get("attachments"))
            for output in cell.get("outputs", []):
                self._output(output)
        return nb

    def _result(self, data: dict[str, Any]) -> None:
        for key in ("name", "table", "metadata"):
            if key in data:
                data[key] = self.tree(data[key])

    def _output(self, output: Any) -> None:
        for key in ("text", "ename", "evalue", "traceback"):
            if key in output:
                output[key] = self.tree(output[key])
        self._contents(output.get("metadata"))
        for kind, data in output.get("data", {}).items():
            if kind == RESULT and isinstance(data, dict):
                self._result(data)
            else:
                output.data[kind] = self.tree(data)

    def _contents(self, value: Any) -> Any:
        """`value` scrubbed; of a mapping, the first level of keys stays."""
        if isinstance(value, dict):
            for key in value:
                value[key] = self.tree(value[key])
            return value
        return self.tree(value)


def _spans(forms: list[_Form], text: str) -> Iterator[tuple[int, int, str]]:
    """Where any of `forms` is in `text`: start, stop and the variable's name."""
    return ((start, stop, form.name) for form in forms for start, stop in form.spans(text))


def is_secret(value: str) -> bool:
    """Whether a variable's value is taken out where it turns up; a too common one is not."""
    return (
        len(value) >= SHORTEST
        and value.lower() not in NO_SECRETS
        and not (value.isdigit() and len(value) < 6)
    )


def _places(part: str, text: str) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


def _common(one: str, other: str) -> int:
    """How many characters both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _is_word(text: str, start: int, stop: int) -> bool:
    def joins(a: int, b: int) -> bool:
        return 0 < b < len(text) and text[a].isalnum() and text[b].isalnum()

    coloured = re.search(r"\[[\d;]*m\Z", text[max(0, start - 20) : start])
    return (coloured is not None or not joins(start - 1, start)) and not joins(stop - 1, stop)


def _forms(secret: str) -> Iterator[str]:
    """The texts in which `secret` turns up."""
    # A value from a file ends in a newline that its use strips; a key of several lines is
    # also shown line by line.
    lines = [line for line in secret.splitlines() if len(line) >= PART]
    for value in dict.fromkeys([secret, secret.strip(), *lines]):
        if len(value) >= SHORTEST:
            yield from _escaped(value)
            yield from _encoded(value.encode(errors="surrogateescape"))


def _escaped(value: str) -> Iterator[str]:
    as_json = json.dumps(value)[1:-1]
    for text in (
        value,
        as_json,
        json.dumps(as_json)[1:-1],  # JSON as text within JSON
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
    ):
        yield text
        as_html = html.escape(text)
        yield as_html
        yield html.escape(text, quote=False)  # pandas
        yield as_html.replace("&quot;", "&#34;").replace("&#x27;", "&#39;")  # Jinja
    for quoted in (quote(value, safe=""), quote(value), quote_plus(value)):
        yield quoted
        yield re.sub("%..", lambda match: match[0].lower(), quoted)


def _encoded(raw: bytes) -> Iterator[str]:
    yield repr(raw)[2:-1]
    if len(raw) < 6:
        return
    yield raw.hex()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            # The first and last characters depend on the neighbours; the middle does not.
            text = encode(b"\0" * offset + raw).decode().rstrip("=")
            start = (0, 2, 3)[offset]
            end = len(text) - ((len(raw) + offset) % 3 != 0)
            if end - start >= 6:
                yield text[start:end]
