"""One run of a workflow at a time: the next one waits for its turn.

Two runs of one workflow write the same tables, so that each would publish rows that the other
has not checked yet. The turn is an operating-system lock, held by the run's process from its first
step to its last: whatever ends the process frees it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import psutil

from dataflow.base.guardian import RUN_VARIABLE
from dataflow.base.lock import Held, StillHeld, acquire, read_holder
from dataflow.errors import ConfigurationError, DataflowError
from dataflow.project import Project


def turn(
    project: Project,
    workflow_id: str,
    who: str,
    on_wait: Callable[[str], None] | None = None,
    *,
    wait: bool = True,
) -> Held:
    """Take the turn of a workflow, for a `with` block; those who came before go first.

    Args:
        project: the project.
        workflow_id: the workflow.
        who: the run that wants it, in words for those who wait behind it.
        on_wait: called every few seconds of waiting, with a sentence that names who runs.
        wait: wait for those who came before; else it has to be free.

    Raises:
        ConfigurationError: it is not free, and was not to be waited for.
        DataflowError: the project's state cannot be written.
    """
    folder = _folder(project, workflow_id)
    try:
        return acquire(
            folder,
            f"workflow {workflow_id}",
            holder=who,
            timeout=math.inf if wait else 0,
            on_wait=on_wait,
        )
    except StillHeld as error:
        raise ConfigurationError(
            f"workflow {workflow_id} is running: {error.holder or 'another program'}",
            hint="Wait until it has ended, or cancel it: dataflow runs cancel RUN.",
        ) from None
    except OSError as error:
        raise DataflowError(
            f"the project's state cannot be written: {error.strerror or error}",
            where=str(error.filename or folder),
            hint=f"Make {project.relative(project.state)} writable for your user.",
        ) from error


def is_inside_of_run(project: Project, workflow_id: str) -> bool:
    """Whether this process belongs to the run that has the workflow's turn."""
    if RUN_VARIABLE not in os.environ:
        return False
    holder = read_holder(_folder(project, workflow_id))
    return holder is not None and holder.pid in (p.pid for p in psutil.Process().parents())


def _folder(project: Project, workflow_id: str) -> Path:
    return project.state / "turns" / workflow_id
