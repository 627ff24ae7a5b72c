"""How much memory there is."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

_CONTAINER = Path("/sys/fs/cgroup")  # within one: its own group


def free_memory() -> int:
    """The bytes that programs may still take: of the machine, or of the container if that is less."""
    free = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError, KeyError):
        most = int((_CONTAINER / "memory.max").read_text())
        used = int((_CONTAINER / "memory.current").read_text())
        lines = (_CONTAINER / "memory.stat").read_text().splitlines()
        # Files in memory that nobody reads now count as used, and go when somebody needs it.
        files = int(dict(line.split() for line in lines)["inactive_file"])
        free = min(free, most - used + files)
    return free
