"""What a notebook hands to Dagster with `dagstermill.yield_event`."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg

from dataflow.project import Project
from dataflow.stages.context import yielded_events
from dataflow.stages.scrub import Scrubber


def report_yielded(context: Any, project: Project, scrubber: Scrubber) -> None:
    """Report a step's events to Dagster, without secrets.

    Args:
        context: Dagster's context of the step.
        project: the project.
        scrubber: takes secrets out of descriptions and metadata.

    Raises:
        dagster.Failure, dagster.RetryRequested: the notebook yielded one.
    """
    for event in yielded_events(project, context):
        if isinstance(event, dg.Failure):
            raise dg.Failure(
                scrubber.text(event.description or "the notebook yielded a failure"),
                metadata={
                    name: _without(value, scrubber) for name, value in event.metadata.items()
                },
                allow_retries=event.allow_retries,
            )
        if isinstance(event, dg.RetryRequested):
            raise event
        event = _without(event, scrubber)
        if isinstance(event, dg.TypeCheck):
            context.log.info(f"type check: {'passed' if event.success else event.description}")
        else:
            context.log_event(event)


def _without(event: Any, scrubber: Scrubber) -> Any:
    """The same event without secrets: in the form in which Dagster would store it."""
    from dagster._serdes import deserialize_value, serialize_value

    return deserialize_value(json.dumps(scrubber.tree(json.loads(serialize_value(event)))))
