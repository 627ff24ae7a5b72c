"""A queue of waiting processes, as files: who came first is served first.

Each waiter has a ticket, a file whose name sorts by its arrival, and keeps it locked. The
lock goes with its process, so a ticket that is not locked was left behind by the dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

# A waiter touches its ticket as it waits. One that stopped doing so (suspended with Ctrl-Z,
# a paused container) keeps its ticket but must not hold up those behind it.
STALE_AFTER = 15.0


@contextlib.contextmanager
def ticket(folder: Path) -> Iterator[Path]:
    """A place in the queue, kept as long as the block runs."""
    for abandoned in folder.parent.glob("ticket-*"):  # by one that was killed just there
        with contextlib.suppress(OSError):
            if time.time() - abandoned.stat().st_mtime > STALE_AFTER:
                abandoned.unlink()
    name = f"{time.time_ns():020d}-{os.getpid()}-{threading.get_ident()}"
    place = folder / name
    # Locked before it gets its name: an unlocked ticket counts as left behind by the dead.
    unnamed = folder.parent / f"ticket-{name}"
    handle = os.open(unnamed, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        unnamed.rename(place)
        yield place
    finally:
        for path in (unnamed, place):
            path.unlink(missing_ok=True)
        os.close(handle)


def first(folder: Path) -> str | None:
    """The name of the first ticket whose owner lives and looks; clears dead ones."""
    for name in sorted(os.listdir(folder)):  # noqa: PTH208 - names sort as places
        path = folder / name
        try:
            handle = os.open(path, os.O_RDONLY)
        except PermissionError:
            # Of a user who keeps it to themselves: there is no lock to look at, but the clock.
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime < STALE_AFTER:
                    return name
            continue
        except OSError:
            continue  # its owner has just left
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(PermissionError):
                path.unlink(missing_ok=True)
        except BlockingIOError:
            if time.time() - os.fstat(handle).st_mtime < STALE_AFTER:
                return name
        finally:
            os.close(handle)
    return None
