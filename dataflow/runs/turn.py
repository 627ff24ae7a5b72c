"""One run of a workflow at a time: the next one waits for its turn.

Two runs of one workflow write the same tables, so that each would publish rows that the other
has not checked yet. The turn is an operating-system lock, held by the run's process from its first
step to its last: whatever ends the process frees it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from dataflow.base.lock import Held, acquire
from dataflow.errors import DataflowError
from dataflow.project import Project


def turn(project: Project, workflow_id: str, who: str, on_wait: Callable[[str], None]) -> Held:
    """Take the turn of a workflow, for a `with` block; those who came before go first.

    Args:
        project: the project.
        workflow_id: the workflow.
        who: the run that wants it, in words for those who wait behind it.
        on_wait: called every few seconds of waiting, with a sentence that names who runs.

    Raises:
        DataflowError: the project's state cannot be written.
    """
    folder = project.state / "turns" / workflow_id
    try:
        return acquire(
            folder, f"workflow {workflow_id}", holder=who, timeout=math.inf, on_wait=on_wait
        )
    except OSError as error:
        raise DataflowError(
            f"the project's state cannot be written: {error.strerror or error}",
            where=str(error.filename or folder),
            hint=f"Make {project.relative(project.state)} writable for your user.",
        ) from error
