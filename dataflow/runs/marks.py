"""What people add to the record of a run: a pin, which keeps it, notes, that they cancel it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from dataflow.base.words import printable
from dataflow.errors import ConfigurationError, DataflowError
from dataflow.runs.record import LOCK_FILE, RUN_FILE, Run, change_record, now, read_run, user

LONGEST = 10_000  # characters of a note


def pin(run: Run) -> Run:
    """Keep a run: nothing removes it until it is unpinned. One that is pinned stays as it is.

    Returns:
        The run as it is recorded now.

    Raises:
        DataflowError: its record is gone or cannot be changed.
    """

    def made(data: dict[str, Any]) -> None:
        if not data.get("pinned"):
            data["pinned"] = {"by": user(), "at": now()}

    return change(run, made)


def unpin(run: Run) -> Run:
    """Let a run go like any other; as `pin`."""
    return change(run, lambda data: data.pop("pinned", None))


def add_note(run: Run, text: str) -> Run:
    """Add a note to a run, with who wrote it and when; as `pin`.

    Raises:
        ConfigurationError: there is no text, or too much of it.
        DataflowError: the run's record is gone or cannot be changed.
    """
    text = printable(text.strip())
    if not text:
        raise ConfigurationError("the note is empty", hint='dataflow runs note RUN "what to know".')
    if len(text) > LONGEST:
        raise ConfigurationError(
            f"the note has {len(text):,} characters",
            hint=f"Write {LONGEST:,} at most, and put the rest into a file.",
        )

    def made(data: dict[str, Any]) -> None:
        notes = data.get("notes")
        kept = notes if isinstance(notes, list) else []
        data["notes"] = [*kept, {"by": user(), "at": now(), "text": text}]

    return change(run, made)


def change(run: Run, made: Callable[[dict[str, Any]], object]) -> Run:
    """Change a run's record under its lock; returns and raises as `pin`.

    Args:
        run: the run.
        made: changes the content of its `run.json`.
    """
    from filelock import Timeout

    file = run.folder / RUN_FILE
    try:
        if not file.exists():  # a lock would make the folder again
            raise FileNotFoundError
        change_record(run.folder, made, lambda: dict(json.loads(file.read_text("utf-8"))))
        changed = read_run(run.folder)
    except FileNotFoundError:
        _leave_nothing(run.folder)
        changed = None
    except Timeout:
        raise DataflowError(
            "another program has been changing the run's record for a minute",
            where=str(file),
            hint="Try again when it has ended.",
        ) from None
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else "it cannot be read"
        raise DataflowError(
            f"the run's record cannot be changed: {what or error}",
            where=str(file),
            hint="Make the run's folder writable for your user, on a disk with free space.",
        ) from error
    if changed is None:
        raise DataflowError(
            f"run {run.run_id[:8]} was removed meanwhile", hint="`dataflow runs list` shows others."
        )
    return changed


def _leave_nothing(folder: Path) -> None:
    """Remove the folder that only the lock made: the run was removed at that moment."""
    with suppress(OSError):
        (folder / LOCK_FILE).unlink(missing_ok=True)
        folder.rmdir()
