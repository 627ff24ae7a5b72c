"""Two executed notebooks compared: cells that belong together, their code, their outputs.

nbdime's engine decides which cells belong together: by their ids, by equal code, by code that is
much alike. Outputs are compared by what they show: text by lines, tables by cells, images by
pixels. A display of several kinds is compared by the one that a notebook shows.

What it costs is bounded: nbdime looks at each pair of cells (400 and 400 take seconds), and a
notebook of more than 50 MB is not read at all.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from dataflow.base.words import size_text
from dataflow.engine.output import RESULT
from dataflow.errors import ConfigurationError
from dataflow.review.noise import ANSI
from dataflow.review.tables import MOST_CELLS as MOST_TABLE_CELLS
from dataflow.review.tables import Grid, TableDiff, compare_grids, read_html
from dataflow.review.text import Comparer, TextDiff, compare_sources, one_sided
from dataflow.stages.execute import author_numbers
from dataflow.stages.notebook import read_notebook
from dataflow.stages.parameters import INJECTED_TAG

MOST_BYTES = 50_000_000  # of a notebook
MOST_CELLS = 400  # of which each is compared with each
ALIKE = 0.65  # the share of their words and signs that two cells have in common
LIKENESS_SIZE = 20_000  # characters of a source
MOST_OUTPUTS = 100  # displays of a cell
MOST_TEXT = 1_000_000  # characters of an output
MOST_PIXELS = 25_000_000
IMAGES = ("image/svg+xml", "image/png", "image/jpeg", "image/gif", "image/webp")
_TEXTS = ("text/markdown", "text/latex", "application/javascript", "text/plain")
_WORD = re.compile(r"\w+|[^\w\s]")
# matplotlib names the parts of an SVG by chance, and writes down when it was made.
_SVG_NOISE = re.compile(r"<dc:date>[^<]*</dc:date>|\b[mp][0-9a-f]{10}\b|\bglyph\w*")


@dataclass(frozen=True)
class Image:
    """An image.

    Args:
        kind: its MIME type.
        data: the file, in base64.
        size: its bytes.
        sha256: their hash.
    """

    kind: str
    data: str = field(repr=False)
    size: int
    sha256: str

    @property
    def uri(self) -> str:
        """The image as an address, for a page that loads nothing."""
        return f"data:{self.kind};base64,{self.data}"


@dataclass(frozen=True)
class OutputDiff:
    """An output that differs.

    Args:
        name: which it is: `printed`, `error`, `table 1`, `image 2`.
        state: `changed`, `added` or `removed`.
        text: the lines of what is text.
        tables: the rows of what is a table.
        before: the image before.
        after: the image after.
        note: what else there is to say.
    """

    name: str
    state: str
    text: TextDiff | None = None
    tables: tuple[TableDiff, ...] = ()
    before: Image | None = None
    after: Image | None = None
    note: str = ""


@dataclass(frozen=True)
class CellDiff:
    """A cell that differs.

    Args:
        before: its number in the earlier notebook, from 1; None for a cell that was added.
        after: its number in the later one; None for one that was removed.
        kind: `code`, `markdown` or `raw`.
        state: `changed`, `added`, `removed`, or `moved` for one that stands elsewhere.
        title: its first line.
        source: how its source differs.
        outputs: the outputs that differ.
        not_executed: `before` or `after` when it was executed in the other run only.
    """

    before: int | None
    after: int | None
    kind: str
    state: str
    title: str
    source: TextDiff | None = None
    outputs: tuple[OutputDiff, ...] = ()
    not_executed: str = ""

    @property
    def number(self) -> str:
        """The cell's number for people: `cell 3`, or `cell 3, before 2`."""
        if self.after is None:
            return f"cell {self.before} before"
        moved = self.before is not None and self.before != self.after
        return f"cell {self.after}{f', before cell {self.before}' if moved else ''}"


@dataclass(frozen=True)
class NotebookDiff:
    """Two executed notebooks.

    Args:
        cells: the cells that differ, in order.
        same_cells: how many do not.
        same_outputs: how many outputs do not.
        note: what was not compared, and why.
    """

    cells: tuple[CellDiff, ...] = ()
    same_cells: int = 0
    same_outputs: int = 0
    note: str = ""


@dataclass(frozen=True)
class _Output:
    """What an output shows."""

    kind: str  # text, table, image, error
    name: str
    text: str = ""
    grids: tuple[Grid, ...] = ()
    image: Image | None = None

    @property
    def channel(self) -> tuple[str, str]:
        """What it can be compared with: its kind, and for text where it came from."""
        return self.kind, self.name.rstrip("0123456789 ")

    @property
    def content(self) -> tuple[Any, ...]:
        """What it shows, whatever it is called."""
        return self.text, self.grids, self.image and self.image.sha256


@dataclass(frozen=True)
class _Cell:
    number: int
    kind: str
    source: str
    key: dict[str, Any]  # as nbdime compares it
    outputs: tuple[_Output, ...]
    executed: bool


def read_executed(path: Path) -> list[Any]:
    """The cells of an executed notebook.

    Raises:
        ConfigurationError: it is not there, too large, or not a notebook.
    """
    try:
        size = path.stat().st_size
    except OSError:
        raise ConfigurationError("the executed notebook is gone", where=path.name) from None
    if size > MOST_BYTES:
        most = size_text(MOST_BYTES)
        raise ConfigurationError(
            f"the executed notebook has {size_text(size)}; it is compared up to {most}",
            where=path.name,
        )
    try:
        return list(read_notebook(path).cells)
    except RecursionError:
        raise ConfigurationError("not a valid notebook: nested too deep", where=path.name) from None


def compare_cells(
    before: list[Any], after: list[Any], comparer: Comparer, *, outputs: bool = True
) -> NotebookDiff:
    """Compare the cells of two executed notebooks.

    Args:
        before: the cells of the earlier one.
        after: those of the later one.
        comparer: how text is compared.
        outputs: whether outputs are compared, too, and which cells were executed.
    """
    old, new = list(_cells(before, outputs)), list(_cells(after, outputs))
    pairs, note = _pairs(old, new)
    cells = []
    same_cells = same_outputs = 0
    for one, other, moved in pairs:
        cell, same = _compare(one, other, moved, comparer)
        same_outputs += same
        if cell is None:
            same_cells += 1
        else:
            cells.append(cell)
    return NotebookDiff(tuple(cells), same_cells, same_outputs, note)


def _cells(cells: list[Any], with_outputs: bool) -> Iterator[_Cell]:
    """The author's cells: without the one that holds a run's parameters."""
    for number, cell in author_numbers(cells):
        metadata = cell.get("metadata", {})
        if INJECTED_TAG in metadata.get("tags", []):
            continue
        source = str(cell.get("source", ""))
        status = (metadata.get("papermill") or {}).get("status")
        key = {"cell_type": cell.cell_type, "source": source, "outputs": []}
        if cell.get("id"):
            key["id"] = cell["id"]
        # An empty cell is not executed; one after a failed cell is pending.
        executed = cell.cell_type != "code" or not source.strip() or status not in (None, "pending")
        executed = executed or cell.get("execution_count") is not None
        outputs = tuple(_outputs(cell.get("outputs", []))) if with_outputs else ()
        executed = executed or bool(outputs) or not with_outputs
        yield _Cell(number, cell.cell_type, source, key, outputs, executed)


Pair = tuple[_Cell | None, _Cell | None, bool]  # before, after, whether it moved


def _pairs(old: list[_Cell], new: list[_Cell]) -> tuple[list[Pair], str]:
    """Cells that belong together, in the order of the later notebook; and what was not tried."""
    from nbdime.diffing.notebooks import compare_cell_by_ids
    from nbdime.diffing.snakes import compute_snakes_multilevel

    words = lru_cache(maxsize=4 * MOST_CELLS)(_words)

    def alike(one: Any, other: Any) -> bool:
        # nbdime's own measure, by characters, takes milliseconds for a pair: minutes for 400 cells.
        if one["cell_type"] != other["cell_type"]:
            return False
        return _likeness(words(one["source"]), words(other["source"])) >= ALIKE

    def equal(one: Any, other: Any) -> bool:
        return (one["cell_type"], one["source"]) == (other["cell_type"], other["source"])

    note = ""
    if max(len(old), len(new)) > MOST_CELLS:
        snakes = _exact_snakes(old, new)
        note = (
            f"more than {MOST_CELLS} cells: they are matched by their ids or equal code only, "
            "not by code that is alike"
        )
    else:
        keys = [cell.key for cell in old], [cell.key for cell in new]
        snakes = compute_snakes_multilevel(*keys, [alike, equal, compare_cell_by_ids])
    matched = {j + step: i + step for i, j, n in snakes for step in range(n)}
    moved = _moved(old, new, matched)
    gone = [at for at in range(len(old)) if at not in {*matched.values(), *moved.values()}]
    pairs: list[Pair] = []
    for j, cell in enumerate(new):
        i = matched.get(j)
        # What is gone stands before the cell that came after it.
        while i is not None and gone and gone[0] < i:
            pairs.append((old[gone.pop(0)], None, False))
        if i is None and j in moved:
            pairs.append((old[moved[j]], cell, True))
        else:
            pairs.append((old[i] if i is not None else None, cell, False))
    pairs += [(old[at], None, False) for at in gone]
    return pairs, note


def _words(source: str) -> Counter[str]:
    return Counter(_WORD.findall(source[:LIKENESS_SIZE]))


def _likeness(one: Counter[str], other: Counter[str]) -> float:
    """The share of the words and signs of two sources that both have."""
    sizes = one.total(), other.total()
    if not all(sizes):
        return float(sizes[0] == sizes[1])
    if 2 * min(sizes) / sum(sizes) < ALIKE:
        return 0.0
    few, many = sorted((one, other), key=len)
    common = sum(min(count, many[word]) for word, count in few.items() if word in many)
    return 2 * common / sum(sizes)


def _exact_snakes(old: list[_Cell], new: list[_Cell]) -> list[tuple[int, int, int]]:
    from difflib import SequenceMatcher

    def key(cell: _Cell) -> tuple[str, str]:
        return cell.kind, str(cell.key.get("id") or cell.source)

    matcher = SequenceMatcher(None, [*map(key, old)], [*map(key, new)], autojunk=True)
    return [(a, b, n) for a, b, n in matcher.get_matching_blocks() if n]


def _moved(old: list[_Cell], new: list[_Cell], matched: dict[int, int]) -> dict[int, int]:
    """Cells with the same id, or the same code, at another place: by the later index."""
    rest = [at for at in range(len(old)) if at not in set(matched.values())]
    places: dict[tuple[str, str], int] = {}
    for at in reversed(rest):
        if old[at].source.strip():
            places[(old[at].kind, old[at].source)] = at
        if "id" in old[at].key:
            places[("id", str(old[at].key["id"]))] = at
    found: dict[int, int] = {}
    for at, cell in enumerate(new):
        if at in matched:
            continue
        for key in (("id", str(cell.key.get("id"))), (cell.kind, cell.source)):
            place = places.get(key)
            if place is not None and place not in found.values() and old[place].kind == cell.kind:
                found[at] = place
                break
    return found


def _compare(
    old: _Cell | None, new: _Cell | None, moved: bool, comparer: Comparer
) -> tuple[CellDiff | None, int]:
    """How a cell differs, and how many of its outputs do not."""
    cell = new or old
    assert cell is not None
    title = next((line.strip() for line in cell.source.split("\n") if line.strip()), "")[:80]
    if old is None or new is None:
        mark = "+" if old is None else "-"
        state = "added" if old is None else "removed"
        outputs = tuple(_one_sided(output, state) for output in cell.outputs)
        return CellDiff(
            old.number if old else None, new.number if new else None, cell.kind, state, title,
            one_sided(mark, cell.source), outputs,
        ), 0  # fmt: skip
    source = compare_sources(old.source, new.source)
    not_executed = ""
    outputs, same = (), 0
    if old.executed != new.executed:
        not_executed = "after" if old.executed else "before"
    else:
        outputs, same = _compare_outputs(old.outputs, new.outputs, comparer)
    if not (source or outputs or moved or not_executed):
        return None, same
    state = "moved" if moved else "changed"
    return CellDiff(
        old.number, new.number, new.kind, state, title, source, outputs, not_executed
    ), same  # fmt: skip


def _compare_outputs(
    old: Sequence[_Output], new: Sequence[_Output], comparer: Comparer
) -> tuple[tuple[OutputDiff, ...], int]:
    """The outputs of a cell that differ, and how many do not."""
    from nbdime.diffing.snakes import compute_snakes_multilevel

    def same_kind(one: _Output, other: _Output) -> bool:
        return one.channel == other.channel

    def equal(one: _Output, other: _Output) -> bool:
        return one.channel == other.channel and one.content == other.content

    found: list[OutputDiff] = []
    same = i0 = j0 = 0
    snakes = compute_snakes_multilevel(list(old), list(new), [same_kind, equal])
    for i, j, n in [*snakes, (len(old), len(new), 0)]:
        found += [_one_sided(output, "removed") for output in old[i0:i]]
        found += [_one_sided(output, "added") for output in new[j0:j]]
        for step in range(n):
            difference = _compare_output(old[i + step], new[j + step], comparer)
            found += [difference] if difference else []
            same += difference is None
        i0, j0 = i + n, j + n
    return tuple(found), same


def _one_sided(output: _Output, state: str) -> OutputDiff:
    mark = "+" if state == "added" else "-"
    if output.image:
        before, after = (None, output.image) if mark == "+" else (output.image, None)
        return OutputDiff(output.name, state, before=before, after=after)
    text = output.text
    for grid in output.grids:
        rows = [grid.columns, *grid.rows] if any(grid.columns) else list(grid.rows)
        text += "\n".join(["", *(" | ".join(row) for row in rows)])
    return OutputDiff(output.name, state, one_sided(mark, text.strip("\n")))


def _compare_output(old: _Output, new: _Output, comparer: Comparer) -> OutputDiff | None:
    """The difference of two outputs of one kind; None when there is none but noise."""
    if old.content == new.content:
        return None
    name = new.name
    if old.image and new.image:
        note = _compare_images(old.image, new.image)
        return None if note is None else OutputDiff(
            name, "changed", before=old.image, after=new.image, note=note
        )  # fmt: skip
    texts = old.text[:MOST_TEXT], new.text[:MOST_TEXT]
    text = comparer.text(*texts)
    tables: list[TableDiff] = []
    note = ""
    if max(len(old.text), len(new.text)) > MOST_TEXT and old.text != new.text:
        note = f"only the first {MOST_TEXT:,} characters are compared"
    if any(grid.whole for grid in (*old.grids, *new.grids)):
        note = f"only the first {MOST_TABLE_CELLS:,} cells of a table are compared"
    if len(old.grids) == len(new.grids):
        for one, other in zip(old.grids, new.grids, strict=True):
            difference = compare_grids(one, other, comparer)
            tables += [difference] if difference else []
    else:
        note = f"{len(old.grids)} tables before, {len(new.grids)} after"
    if not (text or tables or note):
        return None
    return OutputDiff(name, "changed", text, tuple(tables), note=note)


def _compare_images(old: Image, new: Image) -> str | None:
    """How two images differ, in words; None when every pixel is the same."""
    if old.sha256 == new.sha256:
        return None
    if old.kind != new.kind:
        return f"{old.kind} before, {new.kind} after"
    if old.kind == "image/svg+xml":
        texts = [base64.b64decode(one.data).decode("utf-8", "replace") for one in (old, new)]
        return None if _svg_key(texts[0]) == _svg_key(texts[1]) else ""
    try:
        from PIL import Image as Pillow
        from PIL import ImageChops
    except ImportError:  # it comes with matplotlib
        return ""
    try:
        one, other = (Pillow.open(io.BytesIO(base64.b64decode(image.data))) for image in (old, new))
        if one.size != other.size:
            sizes = ["{} × {}".format(*image.size) for image in (one, other)]
            return f"{sizes[0]} pixels before, {sizes[1]} after"
        if one.size[0] * one.size[1] > MOST_PIXELS:
            return ""
        difference = ImageChops.difference(one.convert("RGBA"), other.convert("RGBA"))
        # The alpha of a difference is 0 where it is the same: each band is asked.
        changed = difference.getchannel(0).point(_any_value)
        for band in range(1, 4):
            changed = ImageChops.lighter(changed, difference.getchannel(band).point(_any_value))
        count = changed.histogram()[255]
    except Exception:  # whatever Pillow finds wrong with a file
        return ""
    if count == 0:
        return None
    share = 100 * count / (one.size[0] * one.size[1])
    return f"{share:.1f} % of the pixels differ" if share >= 0.1 else "a few pixels differ"


def _any_value(value: int) -> int:
    return 255 if value else 0


def _svg_key(text: str) -> str:
    """An SVG without the names that matplotlib makes up; each becomes its place in the file."""
    seen: dict[str, str] = {}

    def name(match: re.Match[str]) -> str:
        if match[0].startswith("<"):
            return ""
        return seen.setdefault(match[0], f"#{len(seen)}")

    return _SVG_NOISE.sub(name, text)


def _outputs(outputs: Sequence[Any]) -> Iterator[_Output]:
    """What a cell's outputs show: what it printed first, then its displays in their order."""
    printed: dict[str, list[str]] = {}
    shown: list[tuple[str, _Output]] = []
    for output in outputs:
        if output.output_type == "stream":
            printed.setdefault(str(output.get("name")), []).append(str(output.get("text", "")))
        elif output.output_type == "error":
            shown.append(("error", _Output("error", "error", _error(output))))
        elif RESULT not in output.get("data", {}):
            one = _display(output.get("data", {}))
            shown.append((one.kind, one))
    for stream, parts in printed.items():
        name = "printed" if stream == "stdout" else "printed to stderr"
        yield _Output("text", name, _text("".join(parts)))
    counts: dict[str, int] = {}
    totals = [kind for kind, _ in shown]
    for kind, one in shown[:MOST_OUTPUTS]:
        counts[kind] = counts.get(kind, 0) + 1
        number = f" {counts[kind]}" if totals.count(kind) > 1 else ""
        yield _Output(one.kind, f"{one.name}{number}", one.text, one.grids, one.image)


def _error(output: Any) -> str:
    """An exception as its traceback, without the rule above it; or its message alone."""
    lines = _text("\n".join(map(str, output.get("traceback") or []))).split("\n")
    lines = lines[1:] if lines[0] and not lines[0].strip("-") else lines
    text = "\n".join(lines).strip("\n")
    return text or f"{output.get('ename')}: {output.get('evalue')}"


def _text(text: str) -> str:
    return ANSI.sub("", text)


def _display(data: Any) -> _Output:
    """The kind of a display that a notebook shows, of all it brought."""
    for kind in IMAGES:
        if kind in data and (image := _image(kind, data[kind])):
            return _Output("image", "image", image=image)
    if isinstance(data.get("text/html"), str):
        grids, text = read_html(data["text/html"])
        if grids:
            return _Output("table", "table", text, tuple(grids))
        if text:
            return _Output("text", "output", _text(text))
    for kind in sorted(data):
        if kind.endswith("json") and "widget" not in kind:
            shown = json.dumps(data[kind], indent=1, sort_keys=True, ensure_ascii=False)
            plot = kind.removeprefix("application/vnd.").split(".")[0].split("+")[0]
            return _Output("text", "plot" if kind.startswith("application/vnd") else "output",
                           f"{plot}\n{shown}")  # fmt: skip
    for kind in _TEXTS:
        if isinstance(data.get(kind), str):
            return _Output("text", "output", _text(data[kind]))
    return _Output("text", "output", " ".join(sorted(map(str, data))))


def _image(kind: str, data: Any) -> Image | None:
    """An image as it is safe to show; None when it is none."""
    if not isinstance(data, str):
        return None
    try:
        content = (
            data.encode() if kind == "image/svg+xml" else base64.b64decode(data, validate=False)
        )
    except (binascii.Error, ValueError):
        return None
    if not content:
        return None
    encoded = base64.b64encode(content).decode()
    return Image(kind, encoded, len(content), hashlib.sha256(content).hexdigest())
