"""The services' logs: their last lines, following them, and a limit to their size."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections import deque
from pathlib import Path

LIMIT = 10_000_000  # bytes
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def new_log(path: Path) -> None:
    """Start an empty log that only its owner may read; the previous log is kept beside it."""
    if path.exists():
        path.replace(previous(path))
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def previous(path: Path) -> Path:
    """Where the older part of a log is."""
    return path.with_name(f"{path.name}.1")


def limit_log(path: Path, limit: int = LIMIT) -> None:
    """Start a log over when it is larger than `limit` bytes; the old content is kept beside it.

    The programs hold it open, so it is emptied in place; lines of that moment may be lost.
    """
    if path.stat().st_size > limit:
        shutil.copyfile(path, previous(path))
        os.truncate(path, 0)


class KeptLog:
    """The log of running programs, kept at its path and below a size.

    Args:
        path: the log; the programs append to the file that is there now, and hold it open.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held = path.open("r+b")
        self._seen = 0

    def tend(self) -> None:
        """Start the log over when it is too large; restore it when somebody removed it.

        Output that still goes to the removed file is moved over. A log that cannot be written,
        to a full disk for example, is no reason to end a service.
        """
        with contextlib.suppress(OSError):
            held = os.fstat(self._held.fileno())
            if self._path.exists() and os.path.samestat(held, self._path.stat()):
                limit_log(self._path)
                self._seen = os.fstat(self._held.fileno()).st_size
                return
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            with os.fdopen(os.open(self._path, flags, 0o600), "wb") as log:
                self._held.seek(self._seen)
                log.write(self._held.read())
            self._held.truncate(0)
            self._seen = 0
            limit_log(self._path)


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a log; none when there is no log."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=count)]
    except FileNotFoundError:
        return []


def without_colours(line: str) -> str:
    """A line without its colour codes."""
    return _COLOURS.sub("", line)


class Follower:
    """Reads what is added to a log.

    Args:
        path: the log; it may not exist yet.
        at_end: whether to leave out its current content.
    """

    def __init__(self, path: Path, *, at_end: bool = False) -> None:
        self._path = path
        self._position = path.stat().st_size if at_end and path.exists() else 0
        self._rest = ""

    def lines(self) -> list[str]:
        """The complete lines that were added since the last call."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._position:  # it was started over
                    self._position = 0
                file.seek(self._position)
                added = file.read()
                self._position += len(added)
        except FileNotFoundError:
            return []
        *lines, self._rest = (self._rest + added.decode("utf-8", "replace")).split("\n")
        return lines
