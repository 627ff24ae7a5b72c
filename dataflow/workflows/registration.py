"""`register_workflow`: how a workflow written in Python names its Dagster job."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from dataflow.errors import ConfigurationError

Target = TypeVar("Target")


@dataclass(frozen=True)
class Registration:
    """A job that was registered.

    Args:
        workflow_id: the workflow's id, the name of its folder.
        job: Dagster's `JobDefinition`.
        description: what it does; config.yaml's overrides it.
        metadata: whatever else its author adds; shown in Dagster.
    """

    workflow_id: str
    job: Any
    description: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


_registered: dict[str, Registration] = {}


@overload
def register_workflow(
    workflow_id: str | None = None,
    *,
    job: Any,
    description: str = "",
    name: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Registration: ...


@overload
def register_workflow(
    workflow_id: str | None = None,
    *,
    description: str = "",
    name: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Callable[[Target], Target]: ...


def register_workflow(
    workflow_id: str | None = None,
    *,
    job: Any = None,
    description: str = "",
    name: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Any:
    """Register the Dagster job of a workflow written in Python.

    Called at the end of `notebooks/<workflow>/dagster_job.py`::

        register_workflow(workflow_id="my_workflow", job=my_workflow_job, description="…")

    or as a decorator, on a job, a graph, or a plain function that does all of the work::

        @register_workflow(name="my_workflow", metadata={"source": "a service"})
        @job
        def my_workflow_job():
            store(transform(extract()))

    Args:
        workflow_id: the name of the workflow's folder.
        job: a Dagster job or graph; without it, the call is a decorator.
        description: what the workflow does; the one in config.yaml overrides it.
        name: the same as `workflow_id`; a name with spaces or capitals is read as the folder's
            ("My Workflow" is `my_workflow`).
        metadata: more about it, shown in Dagster.

    Returns:
        The registration; as a decorator, what was decorated, unchanged.

    Raises:
        ConfigurationError: no name was given, or `job` is not something that Dagster runs, or
            has partitions or a function as configuration.
    """
    wanted = workflow_id or name
    if not wanted:
        raise ConfigurationError(
            "register_workflow needs the workflow's name",
            hint='Give the folder\'s: register_workflow(workflow_id="my_workflow", job=…).',
        )
    identifier = _as_id(wanted)

    def register(target: Any) -> Registration:
        about = description or str((metadata or {}).get("description", ""))
        registration = Registration(identifier, _job_of(target), about, dict(metadata or {}))
        _registered[identifier] = registration
        return registration

    if job is not None:
        return register(job)

    def decorate(target: Target) -> Target:
        register(target)
        return target

    return decorate


def forget_registrations() -> None:
    """Forget all registrations: their modules are about to be imported again."""
    _registered.clear()


def registrations() -> dict[str, Registration]:
    """The registrations since the last `forget_registrations`, by workflow."""
    return dict(_registered)


def _as_id(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def _check_job(job: Any) -> None:
    """Refuse a job with features that runs would silently ignore."""
    if job.config_mapping is not None:
        raise ConfigurationError(
            f"the job `{job.name}` computes its configuration with a function, which runs do not call",
            hint="Give the ops their own config_schema, or the job a dictionary as `config`.",
        )
    if job.partitions_def is not None:
        raise ConfigurationError(
            f"the job `{job.name}` has partitions, but a run executes the whole workflow",
            hint="Give an op the partition as a parameter: config_schema={'day': str}.",
        )


def _job_of(target: Any) -> Any:
    """The job that `target` is or produces."""
    import dagster as dg

    if isinstance(target, dg.JobDefinition):
        _check_job(target)
        return target
    if isinstance(target, dg.GraphDefinition):
        return target.to_job()
    if isinstance(target, dg.OpDefinition):
        operation = target
    elif callable(target) and hasattr(target, "__name__"):
        operation = dg.op(target)
    else:
        raise ConfigurationError(
            f"register_workflow takes a Dagster job or graph, or a function, not "
            f"{type(target).__name__}",
            hint="Decorate the function that connects the ops with @job, and register that.",
        )
    graph = dg.GraphDefinition(f"{operation.name}_job", node_defs=[operation])
    return graph.to_job()
