"""Two texts compared line by line: without noise, and numbers within a tolerance."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher

from dataflow.base.words import shortened
from dataflow.review.noise import ANSI, Noise

TOLERANCE = 1e-9  # relative, between two numbers that count as the same
CONTEXT = 3  # lines that are the same, shown around a difference
MOST_LINES = 2_000  # that differ, on either side, of which the best match is looked for
SHOWN_LINES = 400  # of a difference
LINE_WIDTH = 1_000  # characters of a line
_NUMBER = re.compile(
    r"(?<![\w.])[-+−]?(?:(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Line:
    """A line of a difference.

    Args:
        mark: `-` only before, `+` only after, ` ` in both, `@` lines that are left out here.
        text: the line; of `@`, how many are left out.
        before: its number before, from 1; None for one that is only after.
        after: its number after.
    """

    mark: str
    text: str
    before: int | None = None
    after: int | None = None


@dataclass(frozen=True)
class TextDiff:
    """The difference of two texts, with some lines around each change.

    Args:
        lines: the lines to show.
        removed: how many there are only before.
        added: how many there are only after.
        more: how many lines of the difference are not among `lines`.
    """

    lines: tuple[Line, ...]
    removed: int
    added: int
    more: int = 0


@dataclass(frozen=True)
class Comparer:
    """How text is compared: what is noise, and from when on two numbers differ.

    Args:
        before: cleans the text of the earlier run.
        after: cleans that of the later one.
        tolerance: relative, of two numbers.
        left_out: counts the differences that were noise only, by what they were.
    """

    before: Noise
    after: Noise
    tolerance: float = TOLERANCE
    left_out: Counter[str] = field(default_factory=Counter)

    def same(self, before: str, after: str) -> bool:
        """Whether two lines, or cells of tables, are the same; counts those that noise made differ."""
        if before == after:
            return True
        one, first = self.before.clean(before)
        other, second = self.after.clean(after)
        if one == other:
            self.left_out.update(first | second)
            return True
        return close(one, other, self.tolerance)

    def text(self, before: str, after: str) -> TextDiff | None:
        """The difference of two outputs; None when there is none but noise."""
        return compare_lines(
            lines_of(before),
            lines_of(after),
            self.same,
            lambda line: self.before.clean(line)[0],
            lambda line: self.after.clean(line)[0],
        )


def compare_sources(before: str, after: str) -> TextDiff | None:
    """The difference of two cells' sources, in which nothing is noise; None when there is none."""
    return compare_lines(lines_of(before), lines_of(after), str.__eq__)


def one_sided(mark: str, text: str) -> TextDiff:
    """All of a text as lines that are only before (`-`) or only after (`+`)."""
    lines = lines_of(text)
    if mark == "-":
        return _shown([Line(mark, line, number) for number, line in enumerate(lines, 1)])
    return _shown([Line(mark, line, None, number) for number, line in enumerate(lines, 1)])


Key = Callable[[str], str]
Block = tuple[str, int, int, int, int]  # a tag, from and to before, from and to after


def compare_lines(
    before: Sequence[str],
    after: Sequence[str],
    same: Callable[[str, str], bool],
    old_key: Key = str,
    new_key: Key = str,
) -> TextDiff | None:
    """The difference of two lists of lines; None when all are the `same`.

    Args:
        before: the earlier lines.
        after: the later ones.
        same: whether two lines count as the same.
        old_key: what an earlier line is matched by, the same for lines that are the `same`.
        new_key: what a later line is matched by.
    """
    first = 0
    shortest = min(len(before), len(after))
    while first < shortest and same(before[first], after[first]):
        first += 1
    if first == len(before) == len(after):
        return None
    last = 0
    while last < shortest - first and same(before[-1 - last], after[-1 - last]):
        last += 1
    end = (len(before) - last, len(after) - last)
    old, new = before[first : end[0]], after[first : end[1]]
    blocks: list[Block] = [("equal", 0, first, 0, first)]
    if max(len(old), len(new)) > MOST_LINES:
        found = _side_by_side(old, new, same)
    else:
        found = _matched(old, new, same, (list(map(old_key, old)), list(map(new_key, new))))
    blocks += ((tag, a + first, b + first, c + first, d + first) for tag, a, b, c, d in found)
    blocks.append(("equal", end[0], len(before), end[1], len(after)))
    if all(tag == "equal" for tag, *_ in blocks):
        return None
    return _shown(list(_with_context(blocks, before, after)))


def _side_by_side(
    old: Sequence[str], new: Sequence[str], same: Callable[[str, str], bool]
) -> Iterator[Block]:
    """Lines with the same number; for very many, of which a best match would take minutes."""
    pairs = min(len(old), len(new))
    for at in range(pairs):
        tag = "equal" if same(old[at], new[at]) else "replace"
        yield tag, at, at + 1, at, at + 1
    if len(old) != len(new):
        yield "replace", pairs, len(old), pairs, len(new)


def _matched(
    old: Sequence[str],
    new: Sequence[str],
    same: Callable[[str, str], bool],
    keys: tuple[Sequence[str], Sequence[str]],
) -> Iterator[Block]:
    """What became of which lines."""
    # Lines that come very often would make it slow, and say little about what belongs together.
    matcher = SequenceMatcher(None, *keys, autojunk=True)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            for step in range(b - a):
                same(old[a + step], new[c + step])  # counts what was noise
            yield tag, a, b, c, d
        elif tag != "replace":
            yield "replace", a, b, c, d
        elif b - a == d - c:
            yield from (
                (kind, a + one, a + other, c + three, c + four)
                for kind, one, other, three, four in _side_by_side(old[a:b], new[c:d], same)
            )
        else:
            yield from _uneven(old, new, (a, b, c, d), same)


def _uneven(
    old: Sequence[str],
    new: Sequence[str],
    span: tuple[int, int, int, int],
    same: Callable[[str, str], bool],
) -> Iterator[Block]:
    """The lines of a block of which one side has more: each finds the next one that is the same."""
    a, b, c, d = span
    while a < b and c < d:
        reach = range(c, min(d, c + 20))
        found = next((at for at in reach if same(old[a], new[at])), None)
        if found is None:
            yield "replace", a, a + 1, c, c
            a += 1
            continue
        if found > c:
            yield "replace", a, a, c, found
        yield "equal", a, a + 1, found, found + 1
        a, c = a + 1, found + 1
    if a < b or c < d:
        yield "replace", a, b, c, d


def _with_context(
    blocks: Sequence[Block], before: Sequence[str], after: Sequence[str]
) -> Iterator[Line]:
    """The lines that differ and some around them; runs of changes before those that follow."""
    merged: list[Block] = []
    for kind, a, b, c, d in blocks:
        if merged and merged[-1][0] == kind:
            merged[-1] = (kind, merged[-1][1], b, merged[-1][3], d)
        elif b > a or d > c:
            merged.append((kind, a, b, c, d))
    for number, (kind, a, b, c, d) in enumerate(merged):
        if kind == "replace":
            yield from (Line("-", before[at], at + 1) for at in range(a, b))
            yield from (Line("+", after[at], None, at + 1) for at in range(c, d))
            continue
        head = 0 if number == 0 else CONTEXT
        tail = 0 if number == len(merged) - 1 else CONTEXT
        hidden = b - a - head - tail
        for at in range(b - a):
            if hidden > 1 and head <= at < head + hidden:
                if at == head:
                    yield Line("@", str(hidden))
                continue
            yield Line(" ", after[c + at], a + at + 1, c + at + 1)


def _shown(lines: list[Line]) -> TextDiff:
    removed = sum(line.mark == "-" for line in lines)
    added = sum(line.mark == "+" for line in lines)
    shown = lines[:SHOWN_LINES]
    # Both sides are seen, also of one long change.
    if len(lines) > SHOWN_LINES and {line.mark for line in shown} & {"-", "+"} == {"-"} and added:
        first = next(at for at, line in enumerate(lines) if line.mark == "+")
        half = SHOWN_LINES // 2
        shown = lines[:half] + lines[first : first + half]
    cut = (replace(line, text=shortened(line.text, LINE_WIDTH)) for line in shown)
    return TextDiff(tuple(cut), removed, added, len(lines) - len(shown))


def lines_of(text: str) -> list[str]:
    """The lines of a text as people see them: without colours, and without blanks at their ends."""
    lines = [line.rstrip() for line in ANSI.sub("", text).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def close(before: str, after: str, tolerance: float) -> bool:
    """Whether two texts have the same words and, within `tolerance`, the same numbers."""
    if len(before) > LINE_WIDTH * 10 or len(after) > LINE_WIDTH * 10:
        return before == after
    numbers = _NUMBER.findall(before), _NUMBER.findall(after)
    if not numbers[0] or len(numbers[0]) != len(numbers[1]):
        return False
    words = (" ".join(_NUMBER.sub("#", text).split()) for text in (before, after))
    if next(words) != next(words):
        return False
    return all(
        one == other
        or (
            math.isfinite(_value(one))
            and math.isclose(_value(one), _value(other), rel_tol=tolerance)
        )
        for one, other in zip(*numbers, strict=True)
    )


def _value(number: str) -> float:
    return float(number.replace(",", "").replace("−", "-"))  # of very many digits: infinite


def number_in(text: str) -> float | None:
    """The number that a text is, thousands separated or not, with or without a per cent sign."""
    text = text.strip()
    if not _NUMBER.fullmatch(text.removesuffix("%").strip()):
        return None
    return _value(text.removesuffix("%").strip())
