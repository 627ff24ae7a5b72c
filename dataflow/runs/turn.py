"""One run of a workflow at a time: the next one waits for its turn.

Two runs of one workflow write the same tables, so that each would publish rows that the other
has not checked yet. The turn is a lock of the operating system's, held by the run's process from
its first step to its last: whatever ends the process frees it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

from dataflow.project import Project
from dataflow.warehouse.lock import acquire_folder


@contextlib.contextmanager
def turn(
    project: Project, workflow_id: str, who: str, on_wait: Callable[[str], None]
) -> Iterator[None]:
    """Hold the turn of a workflow inside the `with` block; those who came before go first.

    Args:
        project: the project.
        workflow_id: the workflow.
        who: the run that wants it, in words for those who wait behind it.
        on_wait: called every few seconds of waiting, with a sentence that names who runs.

    Raises:
        WarehouseError: the project's state cannot be written.
    """
    with acquire_folder(
        project.state / "turns" / workflow_id,
        f"workflow {workflow_id}",
        holder=who,
        timeout=math.inf,
        on_wait=on_wait,
    ):
        yield
