"""Files that a group of users shares: the mode of the project's folder says so.

As with git's `core.sharedRepository`: if the folder is writable for its group and has the setgid
bit, which passes the group on to new files, the group may write to everything created there.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from pathlib import Path


def is_shared(folder: Path) -> bool:
    """Whether a group shares a folder; without setgid, its group may be a user's own."""
    wanted = stat.S_IWGRP | stat.S_ISGID
    return folder.stat().st_mode & wanted == wanted


@functools.cache
def follow(folder: Path) -> None:
    """In a shared folder, let the group write to what this process and its children create."""
    if is_shared(folder):
        os.umask(os.umask(0o007) & ~0o070)


def share_databases(folder: Path) -> None:
    """Let the group write to the SQLite files in `folder`: SQLite itself does not."""
    for path in folder.glob("*.db"):
        with contextlib.suppress(OSError):  # another user's, who did this
            mode = path.stat().st_mode
            if mode & 0o060 != 0o060:
                path.chmod(stat.S_IMODE(mode) | 0o060)
