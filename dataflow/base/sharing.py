"""Files that a group of users shares: the mode of the project's folder says so.

As with git's `core.sharedRepository`: in a folder that its group may write to, and with the setgid
bit, which gives the group to all that is made there, whatever is made may be written by the group.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from pathlib import Path


def is_shared(folder: Path) -> bool:
    """Whether a folder is a group's: without setgid, its users' own groups can be meant."""
    wanted = stat.S_IWGRP | stat.S_ISGID
    return folder.stat().st_mode & wanted == wanted


@functools.cache
def follow(folder: Path) -> None:
    """In a shared folder: what this process makes from now on, and what it starts, is the group's."""
    if is_shared(folder):
        os.umask(os.umask(0o007) & ~0o070)


def share_databases(folder: Path) -> None:
    """Let the group write to SQLite's files in `folder`, which it makes for their user alone."""
    for path in folder.glob("*.db"):
        with contextlib.suppress(OSError):  # another user's, who did this
            mode = path.stat().st_mode
            if mode & 0o060 != 0o060:
                path.chmod(stat.S_IMODE(mode) | 0o060)
