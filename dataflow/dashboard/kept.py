"""Builds of the pages that nobody sees, by what they were made from: a few, so that pages which
were built ahead, or which changed back, are not built again.

Whoever calls this holds the lock of the build.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from dataflow.dashboard.paths import BUILD_STAMP
from dataflow.project import Project

MOST = 3  # of about 60 MB each


def kept_folder(project: Project) -> Path:
    """Where they are; each is complete as soon as it has its name there."""
    return project.state / "dashboard" / "kept"


def stamp_of(built: Path) -> dict[str, Any]:
    """What is noted in a build about itself; empty where that is no complete build."""
    try:
        return dict(json.loads((built / BUILD_STAMP).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def keep_build(project: Project, built: Path) -> None:
    """Keep a build, and remove the one that was kept longest where there are too many."""
    folder = kept_folder(project)
    name = stamp_of(built).get("hash")
    with suppress(OSError):  # a full disk: it can be built again
        if name:
            folder.mkdir(parents=True, exist_ok=True)
            arriving = folder / f".{name}"
            # From another file system it is copied, so it gets its name when all of it is there.
            shutil.rmtree(arriving, ignore_errors=True)
            shutil.move(built, arriving)
            _remove(folder / name)
            os.utime(arriving)
            arriving.rename(folder / name)
        for path in _newest_first(folder)[MOST:]:
            _remove(path)
        for path in folder.glob(".*"):  # by one that was killed
            shutil.rmtree(path, ignore_errors=True)


def take_build(project: Project, wanted: str, target: Path) -> Path | None:
    """Move the build that was made from files of the hash `wanted` to `target`; None without one."""
    for path in _newest_first(kept_folder(project)):
        stamp = stamp_of(path)
        if wanted in (stamp.get("hash"), stamp.get("made_from")):
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
            return target
    return None


def forget_builds(project: Project) -> None:
    """Remove all of them."""
    shutil.rmtree(kept_folder(project), ignore_errors=True)


def _newest_first(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("*") if not path.name.startswith(".")]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def _remove(path: Path) -> None:
    """Remove a build so that half of it is never taken for one."""
    if path.exists():
        going = path.with_name(f".{path.name}-going")
        path.rename(going)
        shutil.rmtree(going, ignore_errors=True)
