"""Work that takes long says that it goes on: for how long, and how long it took the last time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dataflow.base.words import seconds_text

EVERY = 15.0  # seconds between two messages


@contextmanager
def progress(
    what: str, last: float | None, say: Callable[[str], None]
) -> Iterator[Callable[[int, int], None]]:
    """Say that `what` begins, and every few seconds that it goes on, until the block ends.

    Args:
        what: what is done, as "building the dashboard's pages".
        last: the seconds it took the last time; None when that is not known.
        say: takes a message.

    Yields:
        What takes the number of parts that are done, and of all, where there are parts.
    """
    done = ""

    def part(number: int, of: int) -> None:
        nonlocal done
        done = f"{number:,} of {of:,}, "

    begun = time.monotonic()
    usual = f"{seconds_text(last)} the last time" if last else "usually about a minute"
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(EVERY):
            say(f"  … {what}: {done}{time.monotonic() - begun:.0f} s ({usual})")

    say(f"  … {what} ({usual})")
    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield part
    finally:
        ended.set()
        thread.join()
