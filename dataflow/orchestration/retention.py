"""Old runs are removed: at the end of every run, by Dagster's daemon, and by `dataflow runs prune`.

A run's folder gets a name that no reader looks at, then Dagster forgets the run, then the folder
goes. Where that is interrupted, the next time finishes it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dataflow.dashboard.export import runs_shown
from dataflow.errors import DataflowError
from dataflow.project import Project
from dataflow.runs.record import LOCK_FILE, REMOVED, Run, read_run
from dataflow.runs.retention import NOT_ENDED, Limits, OldRun, old_runs
from dataflow.warehouse.store import published_writers

logger = logging.getLogger("dataflow")

AT_A_RUNS_END = 2.0  # seconds: each run adds one to remove, and does not wait for thousands
LOCK_SECONDS = 60


def old_of(
    project: Project, workflow_id: str | None = None, limits: Limits | None = None
) -> list[OldRun]:
    """The runs that the limits do not keep, of one workflow or of all.

    Besides those that `old_runs` knows, runs whose data is published or shown are needed.

    Args:
        project: the project.
        workflow_id: the workflow; all of them when None, also those that are gone.
        limits: what to keep; by default what the settings say.
    """
    limits = limits or Limits.of(project.settings)
    if limits.keep_all:
        return []
    names = [workflow_id] if workflow_id else sorted(p.name for p in project.runs.glob("*/"))
    found = [old for name in names for old in old_runs(project, name, limits)]
    used = published_writers(project) | runs_shown(project) if found else set()
    return [
        dataclasses.replace(old, needed="published or shown")
        if old.run.run_id in used and not old.needed
        else old
        for old in found
    ]


def prune(
    project: Project,
    instance: Any,
    workflow_id: str | None = None,
    *,
    limits: Limits | None = None,
    seconds: float | None = None,
) -> list[Run]:
    """Remove the runs that the limits do not keep, from the disk and from Dagster.

    One that Dagster takes for running stays until it has ended there, too, and one whose folder
    this user may not change stays.

    Args:
        project: the project.
        instance: Dagster's instance of the project.
        workflow_id: the workflow; all of them when None.
        limits: what to keep; by default what the settings say.
        seconds: begin no other removal after that long, and none while another process removes
            runs: for callers that must not take longer for it.

    Returns:
        Those that were removed, the oldest of each workflow first.

    Raises:
        DataflowError: another process has been removing runs for a minute.
    """
    removed: list[Run] = []
    project.state.mkdir(exist_ok=True)
    lock = FileLock(
        project.state / "retention.lock", timeout=LOCK_SECONDS if seconds is None else 0
    )
    try:
        with lock:
            began = time.monotonic()
            for folder in interrupted(project):
                _finish(folder, instance)
            for old in old_of(project, workflow_id, limits):
                if seconds is not None and time.monotonic() - began > seconds:
                    break
                if not old.needed and _remove(project, old.run, instance):
                    removed.append(old.run)
    except Timeout:
        if seconds is None:
            raise DataflowError(
                "another process is removing runs", hint="Try again when it has ended."
            ) from None
    return removed


def _remove(project: Project, run: Run, instance: Any) -> bool:
    known = instance.get_run_by_id(run.run_id)
    if known is not None and not known.is_finished:
        return False
    if not run.folder.is_dir():
        return False
    try:
        with FileLock(run.folder / LOCK_FILE, timeout=1):
            current = read_run(run.folder)  # somebody may have pinned it meanwhile
            if current is None or current.data.get("pinned") or current.status in NOT_ENDED:
                return False
            folder = run.folder.rename(run.folder.with_name(f"{REMOVED}{uuid.uuid4().hex}"))
    except Timeout:
        return False
    except OSError as error:
        logger.warning("%s stays: %s", project.relative(run.folder), error.strerror)
        return False
    _finish(folder, instance)
    return True


def interrupted(project: Project) -> Iterator[Path]:
    """The folders of runs whose removal was interrupted."""
    return project.runs.glob(f"*/{REMOVED}*/")


def _finish(folder: Path, instance: Any) -> None:
    """Have Dagster forget the run of a folder, then remove the folder; both may be half done."""
    if run := read_run(folder):
        instance.delete_run(run.run_id)
        # What Dagster leaves of a run it was told to delete.
        home = Path(instance.root_directory)
        shutil.rmtree(home / "storage" / run.run_id, ignore_errors=True)
        for file in (home / "history" / "runs").glob(f"{run.run_id}.db*"):
            file.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def size_of(run: Run) -> int:
    """The bytes of a run's folder; of what is left of it while it is being removed."""
    total = 0
    with contextlib.suppress(OSError):
        for path in run.folder.rglob("*"):
            total += path.stat().st_size
    return total
