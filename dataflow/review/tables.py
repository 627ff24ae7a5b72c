"""Tables of outputs, read from HTML that may be anything, and compared cell by cell.

The reader knows tables only, and takes time in proportion to the text, whatever it holds: Python's
own `html.parser` takes minutes for some megabytes of `<!`. Nothing of the HTML is ever shown as
HTML: a table is rebuilt from the text of its cells.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from dataflow.review.text import Comparer, number_in

MOST_CELLS = 20_000  # of a table
MOST_ROWS = 2_000  # on either side, of which the best match is looked for
SHOWN_ROWS = 60
SHOWN_COLUMNS = 30
SPAN = 100  # columns or rows that one cell may cover

_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]{0,20})((?:[\s/][^<>]{0,2000})?)>")
_COMMENT = re.compile(r"<!--")
_SPANS = re.compile(r"\b(col|row)span\s*=\s*[\"']?(\d{1,4})", re.IGNORECASE)
_BREAKS = {"br", "p", "div", "li", "tr", "h1", "h2", "h3", "h4", "ul", "ol", "pre", "hr", "summary"}
_SILENT = {"style", "script", "head", "title", "template", "noscript"}


@dataclass(frozen=True)
class Grid:
    """A table as its cells' texts.

    Args:
        columns: the names of the columns, unique.
        rows: a cell for each column.
        keys: how many columns at the left name the row.
        whole: the hash of it all, where there are more than `MOST_CELLS`; the rest is not in `rows`.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    keys: int = 0
    whole: str = ""


@dataclass(frozen=True)
class CellDiff:
    """One cell.

    Args:
        before: its text before; None where there was none.
        after: its text after.
        differs: whether the two differ by more than noise.
        change: for two numbers the difference, `+13 (+0.8 %)`.
    """

    before: str | None
    after: str | None
    differs: bool = False
    change: str = ""


@dataclass(frozen=True)
class RowDiff:
    """One row: `~` changed, `+` only after, `-` only before."""

    mark: str
    cells: tuple[CellDiff, ...]


@dataclass(frozen=True)
class TableDiff:
    """The rows of a table that differ.

    Args:
        columns: the columns to show, each with its mark: ` `, `+` or `-`.
        keys: how many of them name the row.
        rows: the rows to show.
        changed_cells: how many cells differ, in rows that are in both.
        added_rows: how many rows are only after.
        removed_rows: how many are only before.
        same_rows: how many are the same.
        same_columns: how many columns are left out here since no cell of theirs differs.
        more: how many rows that differ are not among `rows`.
    """

    columns: tuple[tuple[str, str], ...]
    keys: int
    rows: tuple[RowDiff, ...]
    changed_cells: int
    added_rows: int
    removed_rows: int
    same_rows: int
    same_columns: int = 0
    more: int = 0

    @property
    def summary(self) -> str:
        """What differs, in a few words."""
        marks = [mark for mark, _ in self.columns]
        counts = (
            (self.changed_cells, "cell", "changed"),
            (self.added_rows, "row", "added"),
            (self.removed_rows, "row", "removed"),
            (marks.count("+"), "column", "added"),
            (marks.count("-"), "column", "removed"),
        )
        return ", ".join(
            f"{number:,} {thing}{'' if number == 1 else 's'} {done}"
            for number, thing, done in counts
            if number
        )


def read_html(text: str) -> tuple[list[Grid], str]:
    """The tables in some HTML, and its text outside of them."""
    reader = _Reader(hashlib.sha256(text.encode("utf-8", "replace")).hexdigest())
    for kind, value, attributes in _tokens(text):
        reader.take(kind, value, attributes)
    reader.end_table()
    lines = (" ".join(line.split()) for line in "".join(reader.outside).split("\n"))
    return reader.grids, "\n".join(line for line in lines if line)


def _tokens(text: str) -> Iterator[tuple[str, str, str]]:
    """Text and tags of HTML: ("text", its text, ""), ("open" | "close", the tag, attributes)."""
    at, silent, has_comments = 0, "", True
    while at < len(text):
        if has_comments and (start := _COMMENT.match(text, at)):
            end = text.find("-->", start.end())
            has_comments = end >= 0
            if has_comments:
                at = end + 3
                continue
        if text[at] == "<" and (tag := _TAG.match(text, at)):
            at = tag.end()
            name, closes = tag[2].lower(), bool(tag[1])
            if silent:
                silent = "" if closes and name == silent else silent
            elif name in _SILENT:
                silent = "" if closes else name
            else:
                yield ("close" if closes else "open"), name, tag[3]
            continue
        end = text.find("<", at + 1)
        end = len(text) if end < 0 else end
        if not silent:
            yield "text", html.unescape(text[at:end]), ""
        at = end


@dataclass
class _Cell:
    text: list[str]
    is_head: bool
    columns: int
    rows: int

    @property
    def value(self) -> str:
        return " ".join("".join(self.text).split())


@dataclass
class _Reader:
    """Collects the cells of tables; a table within a cell is part of its text."""

    whole: str
    grids: list[Grid] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    _depth: int = 0
    _rows: list[list[_Cell]] = field(default_factory=list)
    _heads: int = 0  # rows of the table's head
    _in_head: bool = False
    _cell: _Cell | None = None
    _count: int = 0

    def take(self, kind: str, name: str, attributes: str) -> None:
        """Take the next token."""
        if kind == "text":
            if self._depth == 0:
                self.outside.append(name)
            elif self._cell is not None:
                self._cell.text.append(name)
            return
        if name == "table":
            if kind == "open":
                self._depth += 1
                if self._depth == 1:
                    self.outside.append("\n")
            elif self._depth == 1:
                self.end_table()
            else:
                self._depth = max(0, self._depth - 1)
        if self._depth != 1 or name == "table":
            self._separate(name)
        elif name == "thead":
            self._in_head = kind == "open"
        elif name in ("tbody", "tfoot"):
            self._in_head = False
        elif name == "tr":
            self._cell = None
            if kind == "open":
                self._rows.append([])
                self._heads += self._in_head
        elif name in ("td", "th"):
            self._cell = None
            if kind == "open" and self._count < MOST_CELLS:
                self._count += 1
                self._rows = self._rows or [[]]
                spans = {side.lower(): int(size) for side, size in _SPANS.findall(attributes)}
                size = [min(SPAN, max(1, spans.get(side, 1))) for side in ("col", "row")]
                self._cell = _Cell([], name == "th", *size)
                self._rows[-1].append(self._cell)
        else:
            self._separate(name)

    def _separate(self, name: str) -> None:
        """What begins a line does so outside of tables, and parts words in a cell."""
        if name in _BREAKS or name in ("td", "th", "table"):
            if self._depth == 0:
                self.outside.append("\n")
            elif self._cell is not None:
                self._cell.text.append(" ")

    def end_table(self) -> None:
        """The outermost table ends here."""
        if any(self._rows):
            self.grids.append(_grid(self._rows, self._heads, self._count >= MOST_CELLS, self.whole))
        self._depth, self._rows, self._heads, self._cell, self._count = 0, [], 0, None, 0
        self._in_head = False


def _grid(rows: list[list[_Cell]], heads: int, is_cut: bool, whole: str) -> Grid:
    full = _spread(rows)
    whole = whole if is_cut or len(full) < len(rows) else ""
    if not heads:  # without <thead> the first rows of nothing but <th>
        for row in full[:-1]:
            if not row or not all(is_head for _, is_head in row):
                break
            heads += 1
    width = max(map(len, full), default=0)
    body = [row for row in full[heads:] if row]
    keys = 0
    if body:
        leading = []
        for row in body[:100]:
            flags = [is_head for _, is_head in row]
            leading.append(flags.index(False) if False in flags else 0)
        keys = max(leading)
    titles = []
    for column in range(width):
        parts = [row[column][0] for row in full[:heads] if column < len(row)]
        titles.append(" / ".join(dict.fromkeys(part for part in parts if part)))
    if not heads:
        titles = [str(number) for number in range(1, width + 1)]
    texts = [tuple(text for text, _ in row) + ("",) * (width - len(row)) for row in body]
    return Grid(_unique(titles), tuple(texts), keys, whole)


def _spread(rows: list[list[_Cell]]) -> list[list[tuple[str, bool]]]:
    """The rows with a cell for each column; one that covers several is in each of them."""
    full: list[list[tuple[str, bool]]] = []
    below: dict[int, tuple[int, str, bool]] = {}  # by column: rows still covered from above
    room = MOST_CELLS
    for row in rows:
        line: list[tuple[str, bool]] = []

        def from_above(line: list[tuple[str, bool]] = line) -> None:
            while (covered := below.get(len(line))) is not None:
                left, text, is_head = covered
                if left > 1:
                    below[len(line)] = (left - 1, text, is_head)
                else:
                    del below[len(line)]
                line.append((text, is_head))

        for cell in row:
            from_above()
            for _ in range(cell.columns):
                if cell.rows > 1:
                    below[len(line)] = (cell.rows - 1, cell.value, cell.is_head)
                line.append((cell.value, cell.is_head))
        from_above()
        room -= len(line)
        if room < 0:
            break
        full.append(line)
    return full


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(found)


def compare_grids(before: Grid, after: Grid, comparer: Comparer) -> TableDiff | None:
    """The difference of two tables; None when there is none but noise.

    Columns belong together by name, rows by what names them, or else by what they hold.
    """
    columns = _columns(before, after)
    keys = before.keys if before.keys == after.keys else 0
    marks = [mark for mark, *_ in columns]
    counted = keys == 1 and _is_count(before.rows) and _is_count(after.rows)
    rows: list[RowDiff] = []
    same = changed = 0
    for old, new in _row_pairs(before, after, columns, 0 if counted else keys, comparer):
        row = _row(old, new, columns, comparer, ignored=1 if counted else 0)
        if row.mark == " ":
            same += 1
            continue
        changed += sum(cell.differs for cell in row.cells) if row.mark == "~" else 0
        rows.append(row)
    if not rows and not {"+", "-"} & {*marks}:
        return None
    shown = rows[:SHOWN_ROWS]
    wanted = _wanted(columns, keys, rows)
    return TableDiff(
        columns=tuple((columns[at][0], columns[at][1]) for at in wanted),
        keys=keys,
        rows=tuple(RowDiff(row.mark, tuple(row.cells[at] for at in wanted)) for row in shown),
        changed_cells=changed,
        added_rows=sum(row.mark == "+" for row in rows),
        removed_rows=sum(row.mark == "-" for row in rows),
        same_rows=same,
        same_columns=len(columns) - len(wanted),
        more=len(rows) - len(shown),
    )


Column = tuple[str, str, int | None, int | None]  # mark, name, its place before, and after


def _columns(before: Grid, after: Grid) -> list[Column]:
    """The columns of both, in order."""
    found: list[Column] = []
    matcher = SequenceMatcher(None, before.columns, after.columns, autojunk=False)
    places = {name: at for at, name in enumerate(after.columns)}
    moved = set(before.columns) & set(after.columns)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            found += [(" ", before.columns[a + at], a + at, c + at) for at in range(b - a)]
            continue
        for at in range(a, b):
            name = before.columns[at]
            # One that stands elsewhere now is still the same column.
            found.append((" ", name, at, places[name]) if name in moved else ("-", name, at, None))
        found += [
            ("+", after.columns[at], None, at)
            for at in range(c, d)
            if after.columns[at] not in moved
        ]
    return found


def _row_pairs(
    before: Grid, after: Grid, columns: list[Column], keys: int, comparer: Comparer
) -> Iterator[tuple[tuple[str, ...] | None, tuple[str, ...] | None]]:
    """The rows that belong together; None stands for the row that the other table lacks."""
    old, new = before.rows, after.rows
    if keys:
        places = {row[:keys]: at for at, row in reversed(list(enumerate(new)))}
        if len({row[:keys] for row in old}) == len(old) and len(places) == len(new):
            known = {row[:keys] for row in old}
            added = [row for row in new if row[:keys] not in known]
            for row in old:
                at = places.get(row[:keys])
                yield row, None if at is None else new[at]
            yield from ((None, row) for row in added)
            return
    if max(len(old), len(new)) > MOST_ROWS:
        for at in range(max(len(old), len(new))):
            yield old[at] if at < len(old) else None, new[at] if at < len(new) else None
        return
    # What is only the rows' number says nothing about which belong together.
    both = [(a, b) for _, _, a, b in columns if a is not None and b is not None]
    both = [pair for pair in both if pair[0] >= before.keys] or both
    matcher = SequenceMatcher(
        None,
        [tuple(comparer.before.clean(row[a])[0] for a, _ in both) for row in old],
        [tuple(comparer.after.clean(row[b])[0] for _, b in both) for row in new],
        autojunk=True,
    )
    for _, a, b, c, d in matcher.get_opcodes():
        for at in range(max(b - a, d - c)):
            yield old[a + at] if a + at < b else None, new[c + at] if c + at < d else None


def _is_count(rows: Sequence[tuple[str, ...]]) -> bool:
    """Whether rows are named by their number only: 0, 1, 2, with a gap where some are not shown."""
    names = [row[0] for row in rows if row[0] not in ("...", "…")]
    if not all(name.isdecimal() and len(name) < 12 for name in names):
        return False
    numbers = list(map(int, names))
    first = numbers[: len(numbers) // 2 + 1]
    return numbers == sorted(set(numbers)) and first == list(range(len(first)))


def _row(
    old: tuple[str, ...] | None,
    new: tuple[str, ...] | None,
    columns: list[Column],
    comparer: Comparer,
    ignored: int,
) -> RowDiff:
    cells = []
    for number, (_, _, a, b) in enumerate(columns):
        before = old[a] if old is not None and a is not None else None
        after = new[b] if new is not None and b is not None else None
        one_only = before is None or after is None
        if one_only or number < ignored or comparer.same(str(before), str(after)):
            cells.append(CellDiff(before, after))
        else:
            cells.append(CellDiff(before, after, True, _change(str(before), str(after))))
    mark = "+" if old is None else "-" if new is None else " "
    if mark == " " and any(cell.differs for cell in cells):
        mark = "~"
    return RowDiff(mark, tuple(cells))


def _change(before: str, after: str) -> str:
    """By how much a number changed."""
    old, new = number_in(before), number_in(after)
    if old is None or new is None:
        return ""
    return change_text(old, new)


def change_text(old: float, new: float) -> str:
    """The difference of two numbers: `+13 (+0.8 %)`."""
    change = f"{new - old:+,.6g}"
    return f"{change} ({100 * (new - old) / abs(old):+,.1f} %)" if old else change


def _wanted(columns: list[Column], keys: int, rows: list[RowDiff]) -> list[int]:
    """The columns to show: all where rows came or went, else those in which something differs."""
    everything = [*range(len(columns))]
    if any(row.mark != "~" for row in rows):
        return everything[:SHOWN_COLUMNS]
    differing = {at for row in rows for at, cell in enumerate(row.cells) if cell.differs} | {
        at for at, column in enumerate(columns) if column[0] != " "
    }
    names = everything[: keys or 1]
    return [at for at in everything if at in differing or at in names][:SHOWN_COLUMNS]
