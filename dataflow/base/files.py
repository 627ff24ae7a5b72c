"""Files that are written whole or not at all, and are on the disk before they have their name."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

_FICLONE = 0x40049409  # of linux/fs.h, which Python's module has from 3.12 on


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A draft beside `target` to write in the block; it takes the target's name at its end.

    A reader sees the old file or the new one, never half of it, also after a power cut: the
    draft is synced before it gets the name, the folder after. An error leaves the old file as
    it was, and no draft. Missing folders are created.
    """
    with draft_beside(target) as draft:
        yield draft
        sync(draft)
        draft.replace(target)
        sync(target.parent)


@contextlib.contextmanager
def draft_beside(target: Path) -> Iterator[Path]:
    """The path of a file to write beside `target`, removed at the end of the block.

    A draft that a killed process left is removed, too. Missing folders are created.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_drafts_of_the_dead(target)
    draft = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}.draft")
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def write_whole(target: Path, text: str) -> None:
    """Write `text` to `target` as `whole_file` does."""
    with whole_file(target) as draft:
        # A lone surrogate in some output is no reason to lose the rest of it.
        draft.write_text(text, encoding="utf-8", errors="backslashreplace")


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's content; file systems that can (XFS, Btrfs) share its blocks, at no cost."""
    with source.open("rb") as old, target.open("wb") as new:
        try:
            fcntl.ioctl(new, _FICLONE, old.fileno())
        except OSError:
            shutil.copyfile(source, target)


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_drafts_of_the_dead(target: Path) -> None:
    for draft in target.parent.glob(f".{glob.escape(target.name)}.*-*.draft"):
        pid = draft.name.rsplit(".", 2)[1].partition("-")[0]
        try:
            os.kill(int(pid), 0)
        except (ProcessLookupError, OverflowError):
            draft.unlink(missing_ok=True)
        except (ValueError, PermissionError):
            continue  # not a draft of ours, or another user's
