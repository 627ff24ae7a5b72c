"""What a run prints, as text in files of bounded size, written and read at the same time.

`<run id>.log` has the first megabyte. What follows is in pieces that are named by the place where
they begin, `<run id>.log.1048576`: the last two are kept, so that a notebook which prints gigabytes
fills no disk, and its beginning and its end can be read.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from dataflow.base.words import printable, size_text

FIRST = 1 << 20  # bytes of the first file
PIECE = 1 << 19  # bytes of the others
KEPT = 2  # pieces after the first file
CHUNK = 1 << 16  # bytes that are taken at once; a longer line is cut
ANSWER = 1 << 18  # bytes that are read at once
DRAIN_SECONDS = 2.0  # for what is still in the pipe when a run has ended
# Colours and cursor movements of terminals.
_CODES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])"
)


class Log:
    """Writes the text of a run.

    Args:
        path: the first file, which must not exist. All are private to this user.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0  # of all that was written
        self._begins = 0  # where the current piece does
        self._file = _create(path)

    def write(self, text: str) -> None:
        """Add text."""
        data = text.encode("utf-8", "backslashreplace")
        if self._size - self._begins + len(data) > (PIECE if self._begins else FIRST):
            os.close(self._file)
            self._begins = self._size
            self._file = _create(self._path.with_name(f"{self._path.name}.{self._begins}"))
            for _, old in _pieces(self._path)[1:-KEPT]:
                old.unlink(missing_ok=True)
        os.write(self._file, data)
        self._size += len(data)


def read(path: Path, offset: int) -> tuple[str, int] | None:
    """What was written from `offset` on, up to `ANSWER` bytes, and the offset behind it.

    Where something is left out, the text says so. None when there is no such log.
    """
    pieces = _pieces(path)
    if not pieces:
        return None
    offset = max(0, offset)
    for begins, piece in pieces:
        left_out = max(0, begins - offset)
        try:
            with open(piece, "rb", opener=own) as file:
                file.seek(max(0, offset - begins))
                data = file.read(ANSWER)
        except FileNotFoundError:
            continue  # a piece that was just removed
        if data:
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            text = decoder.decode(data)  # without the part of a character at its end
            said = f"\n… {size_text(left_out)} left out; the executed notebook has more …\n\n"
            read_to = max(begins, offset) + len(data) - len(decoder.getstate()[0])
            return (said if left_out else "") + text, read_to
    return "", offset


def remove(path: Path) -> None:
    """Remove a run's text."""
    for _, piece in _pieces(path):
        piece.unlink(missing_ok=True)


@contextlib.contextmanager
def printed_to(log: Log, clean: Callable[[str], str]) -> Iterator[None]:
    """Have what this process and its children print go to `log`, in the block.

    Args:
        log: takes the text.
        clean: makes of each part what may be written down.
    """
    source, target = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    reader = threading.Thread(target=_pass_on, args=(source, log, clean), daemon=True)
    reader.start()
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        # Not for ever: what a notebook left running may hold the other end of the pipe.
        reader.join(DRAIN_SECONDS)


def _pass_on(source: int, log: Log, clean: Callable[[str], str]) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    waiting = ""  # a line that is not complete
    while data := os.read(source, CHUNK):
        waiting += decoder.decode(data)
        end = waiting.rfind("\n") + 1 or (len(waiting) if len(waiting) > CHUNK else 0)
        if end:
            _add(log, clean(_plain(waiting[:end])))
            waiting = waiting[end:]
    if waiting:
        _add(log, clean(_plain(waiting)))
    os.close(source)


def _add(log: Log, text: str) -> None:
    # A full disk must not end the run, which would wait for ever for somebody to read what it says.
    with contextlib.suppress(OSError):
        log.write(text)


def _plain(text: str) -> str:
    """Text without a terminal's codes; of a line that was written over, what is seen at its end."""
    text = _CODES.sub("", text).replace("\r\n", "\n")
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return printable(text)


def _pieces(path: Path) -> list[tuple[int, Path]]:
    """The files of a log, each with the place where it begins."""
    found = [(0, path)] if path.is_file() else []
    for piece in path.parent.glob(f"{path.name}.*"):
        with contextlib.suppress(ValueError):
            found.append((int(piece.suffix[1:]), piece))
    return sorted(found)


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)


def own(path: str, flags: int) -> int:
    """Opens a file for `open`, but no link that leads elsewhere."""
    return os.open(path, flags | os.O_NOFOLLOW)
