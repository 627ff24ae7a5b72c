"""Old runs are removed: at the end of every run, and by `dataflow runs prune`.

A run's folder gets a name that no reader looks at, then Dagster forgets the run, then the folder
goes. Where that is interrupted, the next time finishes it.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataflow.dashboard.export import runs_shown
from dataflow.errors import DataflowError
from dataflow.project import Project
from dataflow.runs.record import REMOVED, Run, read_run
from dataflow.runs.retention import expired_runs
from dataflow.warehouse.store import published_writers

logger = logging.getLogger("dataflow")

AT_A_RUNS_END = 20  # old runs; each run adds one, and does not wait for thousands
LOCK_SECONDS = 60


def expired(project: Project, workflow_id: str | None = None) -> list[Run]:
    """The runs that the settings do not keep, of one workflow or of all.

    Besides those that `expired_runs` keeps, runs whose data is published or shown are kept.
    """
    if project.settings.keeps_all_runs:
        return []
    names = [workflow_id] if workflow_id else sorted(p.name for p in project.runs.glob("*/"))
    found = [run for name in names for run in expired_runs(project, name)]
    used = published_writers(project) | runs_shown(project) if found else set()
    return [run for run in found if run.run_id not in used]


def prune(
    project: Project, instance: Any, workflow_id: str | None = None, *, few: bool = False
) -> list[Run]:
    """Remove the runs that the settings do not keep, from the disk and from Dagster.

    One that Dagster takes for running stays until it has ended there, too, and one whose folder
    this user may not change stays.

    Args:
        project: the project.
        instance: Dagster's instance of the project.
        workflow_id: the workflow; all of them when None.
        few: remove only some, the oldest, and nothing while another process removes runs: for the
            end of a run, which should not take longer for it.

    Returns:
        Those that were removed.

    Raises:
        DataflowError: another process has been removing runs for a minute.
    """
    from filelock import FileLock, Timeout

    removed = []
    project.state.mkdir(exist_ok=True)
    try:
        with FileLock(project.state / "retention.lock", timeout=0 if few else LOCK_SECONDS):
            for folder in interrupted(project):
                _finish(folder, instance)
            for run in expired(project, workflow_id)[: AT_A_RUNS_END if few else None]:
                if _remove(project, run, instance):
                    removed.append(run)
    except Timeout:
        if not few:
            raise DataflowError(
                "another process is removing runs", hint="Try again when it has ended."
            ) from None
    return removed


def _remove(project: Project, run: Run, instance: Any) -> bool:
    known = instance.get_run_by_id(run.run_id)
    if known is not None and not known.is_finished:
        return False
    try:
        folder = run.folder.rename(run.folder.with_name(f"{REMOVED}{uuid.uuid4().hex}"))
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
