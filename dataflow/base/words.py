"""Small texts for people: how long something took, and what was probably meant."""

from __future__ import annotations

import datetime
import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import takewhile


def nearest(wrong: str, right: Iterable[str]) -> str | None:
    """A hint that names what was probably meant by `wrong`, or lists what is allowed."""
    choices = sorted(right)
    close = difflib.get_close_matches(wrong, choices, n=1, cutoff=0.6)
    if close:
        return f"Did you mean `{close[0]}`?"
    if not choices:
        return None
    return "Use one of: " + ", ".join(f"`{choice}`" for choice in choices) + "."


def meant(wrong: str, right: Iterable[str]) -> str | None:
    """The only one of `right` from which `wrong` is one slip of the fingers away, if there is one.

    A slip is a letter too much, missing, or wrong, two that changed places, or upper and lower
    case. Names that differ in a digit or a word of a letter or two (`events_a`) differ on purpose.
    """
    found = [one for one in right if _is_slip(wrong, one)]
    return found[0] if len(found) == 1 else None


def _is_slip(wrong: str, right: str) -> bool:
    one, other = wrong.lower(), right.lower()
    if one == other:
        return wrong != right
    start = _common(one, other)
    end = _common(one[start:][::-1], other[start:][::-1])
    was, is_now = one[start : len(one) - end], other[start : len(other) - end]
    word = re.split(r"[\W_]", other[:start])[-1] + re.split(r"[\W_]", other[start:])[0]
    if not (was + is_now).isalpha() and "_" not in was + is_now:
        return False
    if len(was) == len(is_now) == 2:
        return was == is_now[::-1]
    return len(was) <= 1 and len(is_now) <= 1 and len(word) >= (4 if was and is_now else 3)


def _common(one: str, other: str) -> int:
    """How many characters both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def counted(number: int, thing: str, things: str | None = None) -> str:
    """`1 problem`, `3 problems`; `things` is a plural that does not just end in an s."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def cells_text(numbers: Sequence[int]) -> str:
    """Cells by their numbers: `cell 4`, `cells 4 and 6`; empty without any."""
    if not numbers:
        return ""
    return f"cell{'s' * (len(numbers) > 1)} {listed([str(number) for number in numbers])}"


def listed(words: Sequence[str]) -> str:
    """What belongs together, in words: `a`, `a and b`, `a, b and c`; empty without any."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def seconds_text(seconds: float | None) -> str:
    """A duration as people read it: `3.2 s`, `4 min 10 s`."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def span_text(seconds: float) -> str:
    """About how long, in one unit: `40 s`, `12 min`, `3 h`, `5 days`."""
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= (2 * size if unit == "days" else size):
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def ago(moment: datetime.datetime) -> str:
    """How long ago `moment` was, or in how long it will be."""
    seconds = (datetime.datetime.now(datetime.UTC) - moment).total_seconds()
    return f"in {span_text(-seconds)}" if seconds < 0 else f"{span_text(seconds)} ago"


def size_text(size: int | None) -> str:
    """A size on disk as people read it: `1.2 GB`, or `< 1 MB`.

    Less says nothing about a table: DuckDB stores each in blocks of 256 KiB.
    """
    if size is None:
        return ""
    if size < 1_000_000:
        return "< 1 MB"
    number, units = size / 1e6, ["TB", "GB", "MB"]
    while number >= 1000 and len(units) > 1:
        number /= 1000
        units.pop()
    return f"{number:.1f} {units[-1]}"


def printable(text: str) -> str:
    """A text without what would move a terminal's cursor, or hide part of it, where it is shown."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )


def first_line(text: object) -> str:
    """The first line of a text, or of what an error says; empty where it says nothing."""
    return next(iter(str(text).strip().splitlines()), "")


def shortened(text: str, most: int) -> str:
    """A text of at most `most` characters; three dots as one stand for what is cut."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def numbered_lines(source: str, most: int = 40) -> str:
    """The first lines of some code, each with its number."""
    lines = source.split("\n")
    shown = [f"  {number:>3} │ {line}" for number, line in enumerate(lines[:most], start=1)]
    if len(lines) > most:
        shown.append(f"      │ … {counted(len(lines) - most, 'more line')}")
    return "\n".join(shown)


def indented(text: str, most: int = 15) -> str:
    """The first lines of a text, indented."""
    return "\n".join(f"  {line}" for line in text.split("\n")[:most])
