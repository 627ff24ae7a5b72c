"""What a notebook hands to Dagster with `dagstermill.yield_event`."""

from __future__ import annotations

from typing import Any

import dagster as dg

from dataflow.project import Project
from dataflow.stages.context import yielded_events


def report_yielded(context: Any, project: Project) -> None:
    """Report a step's events to Dagster.

    Args:
        context: Dagster's context of the step.
        project: the project.

    Raises:
        dagster.Failure, dagster.RetryRequested: the notebook yielded one.
    """
    for event in yielded_events(project, context):
        if isinstance(event, (dg.Failure, dg.RetryRequested)):
            raise event
        if isinstance(event, dg.TypeCheck):
            context.log.info(f"type check: {'passed' if event.success else event.description}")
        else:
            context.log_event(event)
