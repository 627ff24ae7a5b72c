"""A lock between processes: one holder at a time, or so many, first come, first served.

Those who wait stand in a queue, learn who holds the lock, and give up after a time limit. The lock
belongs to the operating system, so a holder that dies (`kill -9` included) frees it. In its folder::

    write.lock      the lock (an OS lock; the file itself stays)
    1.lock, …       the others, where several may hold it
    holder.json     who holds it: for people and messages only, never trusted
    queue/          one ticket per waiter, a file whose name sorts by its arrival

A waiter keeps its ticket locked, and that lock goes with its process, too: a ticket that is not
locked was left behind by the dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import FileLock

DEFAULT_TIMEOUT = 600.0
"""Seconds to wait for a lock that somebody holds by hand. A run may hold it longer: its steps have
limits of their own, and its dbt build is no reason for another workflow to fail."""

FIRST_MESSAGE_AFTER = 1.0
MESSAGE_EVERY = 5.0

# A waiter touches its ticket as it waits. One that stopped doing so (suspended with Ctrl-Z,
# a paused container) keeps its ticket but must not hold up those behind it.
STALE_AFTER = 15.0

logger = logging.getLogger(__name__)


class StillHeld(Exception):
    """Somebody else held the lock all the time; `holder` says who, when that is known."""

    def __init__(self, holder: Holder | None) -> None:
        super().__init__(f"held by {holder or 'another program'}")
        self.holder = holder


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as written down by the holder.

    Args:
        name: what it is doing, in words.
        pid: its process.
        since: ISO 8601, UTC.
        run_id, workflow, stage: what it belongs to; None outside a run.
    """

    name: str
    pid: int = field(default_factory=os.getpid)
    since: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    run_id: str | None = None
    workflow: str | None = None
    stage: str | None = None

    @classmethod
    def current(cls, name: str | None = None, run_id: str | None = None) -> Holder:
        """This process, described by the run's environment variables."""
        run_id = run_id or os.environ.get("DATAFLOW_RUN_ID")
        workflow = os.environ.get("DATAFLOW_WORKFLOW")
        stage = os.environ.get("DATAFLOW_STAGE")
        if name is None:
            name = f"stage {stage} of {workflow}" if stage else _program()
        return cls(name, run_id=run_id, workflow=workflow, stage=stage)

    def __str__(self) -> str:
        parts = [f"run {self.run_id}"] if self.run_id else []
        parts += [f"pid {self.pid}", f"since {self.since}"]
        return f"{self.name} ({', '.join(parts)})"


class Held:
    """A lock that is held until the end of its `with` block, or until `release()`.

    That is called once, from any thread.

    Attributes:
        before_release: called at the end, while it is still held.
    """

    def __init__(self, lock: FileLock, folder: Path, key: tuple[int, Path]) -> None:
        self._lock = lock
        self._folder = folder
        self._key = key
        self._depth = 1
        self.before_release: Callable[[], None] = lambda: None

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the lock back; with nested holds, the outermost one does."""
        with _registry_guard:
            self._depth -= 1
            if self._depth:
                return
            _registry.pop(self._key, None)
        self.before_release()
        with contextlib.suppress(OSError):
            (self._folder / "holder.json").unlink()
        self._lock.release()

    def nest(self) -> None:
        """One more hold by the same thread."""
        self._depth += 1

    @property
    def is_nested(self) -> bool:
        """Whether the thread holds the lock more than once."""
        return self._depth > 1


_registry: dict[tuple[int, Path], Held] = {}
_registry_guard = threading.Lock()


def _forget_after_fork() -> None:
    # A forked child holds nothing: filelock has dropped the child's copy of the lock.
    global _registry_guard
    _registry_guard = threading.Lock()
    _registry.clear()


os.register_at_fork(after_in_child=_forget_after_fork)


def acquire(
    folder: Path,
    what: str,
    *,
    holder: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    on_wait: Callable[[str], None] | None = None,
    run_id: str | None = None,
    places: int = 1,
) -> Held:
    """Take the lock in `folder`, and hold it until the result is released.

    Re-entrant: a thread that holds it may take it again.

    Args:
        folder: where the lock and its queue are; created if missing.
        what: what is locked, in words for those who wait.
        holder: what the lock is held for, in words.
        timeout: seconds to wait at most; by default, for one that is held by hand.
        on_wait: called with a sentence every few seconds of waiting; logged when None.
        run_id: the run it is held for; the environment's when None.
        places: how many may hold it at the same time.

    Raises:
        StillHeld: somebody else held it all the time.
        OSError: the folder cannot be written.
    """
    key = (threading.get_ident(), folder)
    with _registry_guard:
        if held := _registry.get(key):
            held.nest()
            return held
    (folder / "queue").mkdir(parents=True, exist_ok=True)
    lock = _take(folder, places, what, timeout, on_wait or logger.warning)
    # For people only: a full disk must not keep anyone from taking the lock.
    with contextlib.suppress(OSError):
        draft = folder / "holder.draft"  # one holder at a time, or the last one counts
        draft.write_text(json.dumps(asdict(Holder.current(holder, run_id))))
        draft.replace(folder / "holder.json")
    held = Held(lock, folder, key)
    with _registry_guard:
        _registry[key] = held
    return held


def read_holder(folder: Path) -> Holder | None:
    """Who holds the lock in `folder` now; None when it is free."""
    try:
        handle = os.open(folder / "write.lock", os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _noted_holder(folder)
    else:
        return None
    finally:
        os.close(handle)


def _take(
    folder: Path, places: int, what: str, timeout: float, on_wait: Callable[[str], None]
) -> FileLock:
    """Wait for our turn and take the lock."""
    queue = folder / "queue"
    if not first_ticket(queue) and (lock := _try(folder, places)):
        return lock
    started = time.monotonic()
    deadline = started + timeout
    next_message = started + FIRST_MESSAGE_AFTER
    with _ticket(queue) as ticket:
        while True:
            now = time.monotonic()
            ours = first_ticket(queue) in (None, ticket.name)
            if ours and (lock := _try(folder, places)):
                return lock
            if now >= deadline:
                holder = _noted_holder(folder)
                if timeout != DEFAULT_TIMEOUT or holder is None or holder.run_id is None:
                    raise StillHeld(holder)
                deadline = now + timeout
            if now >= next_message:
                on_wait(f"Waiting for {what}, held by {_noted_holder(folder) or 'another program'}")
                next_message = now + MESSAGE_EVERY
                os.utime(ticket)
            # The first in the queue looks often, so that the hand-over is quick; nobody
            # spins through a long dbt build.
            waited = now - started
            pause = (0.001 if waited < 0.5 else 0.01) if ours else 0.01
            time.sleep(min(pause if waited < 5 else 0.05, max(deadline - now, 0)))


def _try(folder: Path, places: int) -> FileLock | None:
    """Take the first place that is free."""
    from filelock import FileLock, Timeout

    for number in range(places):
        name = f"{number or 'write'}.lock"
        # Not a singleton, not thread-local: two threads exclude each other, and a connection
        # may be closed by the garbage collector in a thread that did not open it.
        lock = FileLock(folder / name, thread_local=False)
        with contextlib.suppress(Timeout):
            lock.acquire(blocking=False)
            return lock
    return None


def _noted_holder(folder: Path) -> Holder | None:
    try:
        return Holder(**json.loads((folder / "holder.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _program() -> str:
    if "ipykernel" in sys.modules:
        # JupyterLab tells its kernels which notebook they are of.
        notebook = Path(os.environ.get("JPY_SESSION_NAME", "")).name
        return f"notebook {notebook}, run by hand" if notebook else "a notebook run by hand"
    return Path(sys.argv[0]).name or "a program"


@contextlib.contextmanager
def _ticket(folder: Path) -> Iterator[Path]:
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


def first_ticket(folder: Path) -> str | None:
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
