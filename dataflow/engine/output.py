"""What a cell prints and displays: kept within limits, and passed on while it runs.

A cell that prints 50 MB must not make a notebook of 50 MB that no one can open: the first
and last part are kept, with a note of how much is missing between them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataflow.engine.secrets import Scrubber

# What a notebook reports about itself: a kernel's message, its MIME type as a display, the variable that
# tells a kernel that the engine listens (a display can be cleared and captured), and the exception
# that ends the notebook early, as a success.
RESULT_MESSAGE = "dataflow_result"
RESULT = "application/vnd.dataflow.result+json"
LISTENS_VARIABLE = "DATAFLOW_ENGINE_LISTENS"
SKIPPED = "StageSkipped"

Listener = Callable[[str, str], None]

TEXT_LIMIT = 1_000_000  # characters kept of one cell's stdout, and as many of its stderr
DISPLAY_LIMIT = 10_000_000  # characters of one display: a table, a plot
ERROR_LIMIT = 100_000  # characters of an exception's message, and of each part of its traceback
CELL_LIMIT = 30_000_000  # characters of all of a cell's displays together


class Stream:
    """The text of one stream of one cell: its first half and its last half at most.

    Args:
        limit: characters to keep.
        margin: further characters to leave out at the cut; a secret that is cut in two
            would not be recognised any more.
    """

    def __init__(self, limit: int = TEXT_LIMIT, margin: int = 0) -> None:
        self._half = max(1, limit // 2)
        self._margin = margin
        self._head: list[str] = []
        self._head_size = 0
        self._tail: deque[str] = deque()
        self._tail_size = 0
        self._dropped = 0
        self._text: str | None = ""

    def write(self, text: str) -> None:
        """Add `text` at the end."""
        self._text = None
        if self._head_size < self._half:
            part = text[: self._half - self._head_size]
            self._head.append(part)
            self._head_size += len(part)
            text = text[len(part) :]
        if not text:
            return
        self._tail.append(text)
        self._tail_size += len(text)
        while self._tail_size - len(self._tail[0]) >= self._half:
            gone = self._tail.popleft()
            self._tail_size -= len(gone)
            self._dropped += len(gone)
        excess = self._tail_size - self._half
        if excess > self._half:  # one huge piece: cut it, but not for every small write
            self._tail[0] = self._tail[0][excess:]
            self._tail_size -= excess
            self._dropped += excess

    @property
    def text(self) -> str:
        """What is kept, with a note where something is missing."""
        if self._text is None:
            head, tail = "".join(self._head), "".join(self._tail)
            missing = self._dropped + max(0, len(tail) - self._half)
            if missing:
                tail = tail[-self._half :]
                head = head[: max(0, len(head) - self._margin)]
                tail = tail[self._margin :]
                note = note_of(missing + 2 * self._margin)
                self._text = f"{head}\n{note}\n{tail}"
            else:
                self._text = head + tail
            if "\r" in self._text:
                self._text = "\n".join(map(_overwritten, self._text.split("\n")))
        return self._text


def _overwritten(line: str) -> str:
    """What a terminal shows of a line that a progress bar overwrote many times."""
    end = "\r" if line.endswith("\r") else ""
    return line.rstrip("\r").rpartition("\r")[2] + end


def note_of(missing: int) -> str:
    """The line that stands for what is missing."""
    return f"[… {missing:,} characters are not kept: the output was longer than the limit …]"


def limit_error(content: dict[str, Any], margin: int = 0) -> None:
    """Cut an exception's message and traceback where they are too long, in place.

    Args:
        content: with `evalue` and `traceback`, as a kernel sends it.
        margin: as for `Stream`.
    """
    content["evalue"] = _cut(content["evalue"], margin)
    content["traceback"] = [_cut(part, margin) for part in content["traceback"]]


def _cut(text: str, margin: int) -> str:
    if len(text) <= ERROR_LIMIT:
        return text
    stream = Stream(ERROR_LIMIT, margin)
    stream.write(text)
    return stream.text


def limit_display(data: dict[str, Any], room: int) -> int:
    """Replace a display that is too large by a note, in place.

    Args:
        data: the display's representations by MIME type.
        room: characters that the cell may still show.

    Returns:
        How many characters of the room it takes; all of it when it does not fit.
    """
    size = sum(_size(value) for value in data.values())
    if size > min(DISPLAY_LIMIT, room):
        data.clear()
        data["text/plain"] = note_of(size)
        return room if size > room else len(data["text/plain"])
    return size


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(str(key)) + _size(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return sum(_size(item) for item in value)
    return 8


class LiveText:
    """Passes on what a running cell prints.

    Output comes in pieces, and a secret may begin in one and end in the next: what could be
    the beginning of one waits for the next piece, or for `flush`.

    Args:
        scrubber: takes the secrets out.
        listeners: called with ("stdout" | "stderr" | "display", text).
    """

    def __init__(self, scrubber: Scrubber, listeners: list[Listener]) -> None:
        self._scrubber = scrubber
        self._listeners = listeners
        self._waiting: dict[str, str] = {}

    def write(self, name: str, text: str) -> None:
        """Take a piece of a stream, or a whole display."""
        if not self._listeners:
            return
        if name != "display":
            text = self._waiting.pop(name, "") + text
            complete = self._scrubber.complete(text)
            if complete < len(text):
                self._waiting[name] = text[complete:]
                text = text[:complete]
        self._hand_on(name, text)

    def flush(self) -> None:
        """Pass on what waits; the cell has ended."""
        for name, text in self._waiting.items():
            self._hand_on(name, text)
        self._waiting = {}

    def _hand_on(self, name: str, text: str) -> None:
        if text:
            clean = self._scrubber.text(text)
            for listener in self._listeners:
                listener(name, clean)


def to_file(stream: str, file: Any) -> Listener:
    """A listener that writes one stream to `file`."""

    def write(name: str, text: str) -> None:
        if name == stream:
            file.write(text)
            file.flush()

    return write
