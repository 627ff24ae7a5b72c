"""Whether a database file was written by those only who hold its lock.

They note what they wrote (`provenance.py`), others do not. So the state of the file is kept when the
lock is given back: if the file has another one when somebody takes the lock, its history begins anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from pathlib import Path

from dataflow.warehouse.layout import FILE_HEADER_BYTES

_FILE = "history.json"


def resume(database: Path, folder: Path) -> None:
    """Begin a new history unless the file is as it was left; its lock was just taken.

    Args:
        database: the file.
        folder: that of its lock.
    """
    if current(database, folder) is None:
        _note(folder, uuid.uuid4().hex, _state(database))


def keep(database: Path, folder: Path) -> None:
    """Note how the file is left; its lock is about to be given back."""
    noted = _noted(folder)
    state = _state(database)
    if noted is not None and noted[1] != state:
        _note(folder, noted[0], state)


def current(database: Path, folder: Path) -> str | None:
    """What names the file's history, of which nothing is missing; None where that is not known."""
    noted = _noted(folder)
    return noted[0] if noted is not None and noted[1] == _state(database) is not None else None


def begin(folder: Path) -> None:
    """Begin a new history with the next lock: not everything that was written was noted."""
    with contextlib.suppress(OSError):
        (folder / _FILE).unlink()


def descriptor(path: Path) -> int | None:
    """The file as this process has it open; None when it has not.

    Whoever opens and closes a file gives up every lock that the process has on it, DuckDB's too.
    """
    with contextlib.suppress(OSError):
        wanted = path.stat()
        for entry in os.listdir("/proc/self/fd"):  # noqa: PTH208 - hot path
            with contextlib.suppress(OSError):
                found = os.fstat(int(entry))
                if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                    return int(entry)
    return None


def _noted(folder: Path) -> tuple[str, str] | None:
    try:
        noted = json.loads((folder / _FILE).read_text("ascii"))
        return str(noted["history"]), str(noted["state"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _note(folder: Path, history: str, state: str | None) -> None:
    begin(folder)
    if state is not None:
        with contextlib.suppress(OSError):
            draft = folder / "history.draft"  # one holder at a time, so one name does
            draft.write_text(json.dumps({"history": history, "state": state}), "ascii")
            draft.replace(folder / _FILE)


def _state(database: Path) -> str | None:
    """What changes with all that is written to the file; None while some of it is in a log."""
    try:
        if database.with_name(f"{database.name}.wal").exists():
            return None
        open_here = descriptor(database)
        if open_here is not None:
            header = os.pread(open_here, FILE_HEADER_BYTES, 0)
        else:
            with database.open("rb") as file:
                header = file.read(FILE_HEADER_BYTES)
    except OSError:
        return None
    return hashlib.sha256(header).hexdigest()
