"""Which steps a run executes: all, one, from one on, or only what is stale.

A step is *fresh* when its newest attempt succeeded, with the same code and parameters, its tables
exist and were not written by hand since, and nothing upstream ran again since. This follows from
the runs' records and the warehouse; no other state is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from dataflow.base.lock import DEFAULT_TIMEOUT
from dataflow.base.sql import TableName
from dataflow.base.words import nearest
from dataflow.errors import ConfigurationError
from dataflow.orchestration import dagster_names as names
from dataflow.orchestration.steps import StepInfo, WorkflowSteps
from dataflow.runs.record import AWAITING, ENDED_WELL, newest_first
from dataflow.warehouse.store import by_hand, contents, restored_at

OP_KINDS = ("op", names.TABLES)


def select(
    steps: WorkflowSteps,
    values: Mapping[str, Mapping[str, Any]],
    *,
    only: str | None = None,
    start: str | None = None,
    changed: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
) -> list[str] | None:
    """The steps to run, in order; None means all of them.

    Args:
        steps: the workflow's steps.
        values: what was chosen for this run, by stage.
        only: run this step and nothing else.
        start: run this step and everything downstream; upstream steps, too, if they are not
            fresh.
        changed: run what is not fresh, and everything downstream of it.
        timeout: seconds to wait for the warehouse.

    Raises:
        ConfigurationError: there is no such step, or more than one of the three was given.
    """
    if sum((only is not None, start is not None, changed)) > 1:
        raise ConfigurationError(
            "--only, --from and --changed exclude each other", hint="Give one of them."
        )
    if only is None and start is None and not changed:
        return None
    known = {step.name for step in steps.all}
    for wanted in (only, start):
        if wanted is None:
            continue
        if wanted not in known:
            raise ConfigurationError(
                f"workflow {steps.workflow.id} has no stage `{wanted}`",
                hint=nearest(wanted, known),
            )
        steps.require_alone(wanted)
    if only is not None:
        return [only]
    stale = stale_steps(steps, values, timeout=timeout)
    if start is not None:
        # Of the rest only what is upstream of `start` matters, and what is downstream of that.
        stale = (stale & _before(steps.all, start)) | {start}
    chosen: set[str] = set()
    for step in steps.all:
        if step.name in stale or chosen.intersection(step.after):
            chosen.add(step.name)
    return [step.name for step in steps.all if step.name in chosen]


def stale_steps(
    steps: WorkflowSteps,
    values: Mapping[str, Mapping[str, Any]],
    *,
    timeout: float = DEFAULT_TIMEOUT,
) -> set[str]:
    """The steps whose newest attempt did not succeed with the current code and parameters.

    Args:
        steps: the workflow's steps.
        values: what is chosen for a run, by stage.
        timeout: seconds to wait for the warehouse.

    Raises:
        WarehouseError: it cannot be opened, or others wrote to it all the time.
    """
    last = newest_attempts(steps)
    there = contents(steps.project, timeout=timeout)
    changed = by_hand(there, _made_since(steps, last)).keys()
    stale: set[str] = set()
    for step in steps.all:
        before = last.get(step.name)
        own = steps.values(step, values)
        tables = steps.tables(step.name)
        if (
            before is None
            or before["status"] not in (*ENDED_WELL, AWAITING)
            or before.get("code_version") != steps.version(step.name, own)
            or (own is not None and before.get("values") != own)
            or stale.intersection(step.after)
            or tables - there.keys()
            or tables & changed
            or _later(last, step.after, before)
        ):
            stale.add(step.name)
    return stale


def _made_since(
    steps: WorkflowSteps, last: Mapping[str, Mapping[str, Any]]
) -> dict[TableName, datetime | None]:
    """When the newest attempt to make each declared table began."""
    begun = {step.name: last[step.name]["started_at"] for step in steps.all if step.name in last}
    # The ops of a job make its tables together.
    ops = [begun[step.name] for step in steps.all if step.kind == "op" and step.name in begun]
    made = {}
    for step in steps.all:
        at = min(ops, default=None) if step.kind in OP_KINDS else begun.get(step.name)
        for table in steps.tables(step.name):
            made[table] = datetime.fromisoformat(at) if at else None
    return made


def newest_attempts(steps: WorkflowSteps) -> dict[str, dict[str, Any]]:
    """The record of each step's newest attempt, with its run as `run_id`."""
    found: dict[str, dict[str, Any]] = {}
    restored = restored_at(steps.project)
    wanted = {step.name for step in steps.all}
    for run in newest_first(steps.project, steps.workflow.id):
        # Runs of a workflow take turns, but may have begun to wait in another order.
        ended = run.data.get("ended_at")
        if ended and wanted <= found.keys() and all(ended < found[n]["started_at"] for n in wanted):
            break
        for name, step in run.steps.items():
            begun = step.get("started_at")
            if begun and (name not in found or begun > found[name]["started_at"]):
                found[name] = {**step, "run_id": run.run_id}
                if restored is not None and begun < restored:
                    found[name]["status"] = "undone by a restore"
    return found


def refuse_unpassed(steps: WorkflowSteps) -> dict[TableName, datetime | None]:
    """Refuse to publish what did not pass: every earlier step has to, on current upstream results.

    Publish asks this itself, since it can be run alone: from the command line, and by a click on
    Dagster's pages.

    Returns:
        The tables that passed, and since when none may have been written by hand.

    Raises:
        ConfigurationError: names each step that prevents it, why, and in which run.
    """
    last = newest_attempts(steps)
    against = []
    needed = _before(steps.all, names.PUBLISH) - {names.PUBLISH}
    # The ops of a job run together; one that another op skipped has nothing to pass.
    ops = [last[step.name] for step in steps.all if step.kind == "op" and step.name in last]
    job_run = max(ops, key=lambda op: op["started_at"])["run_id"] if ops else None
    for step in steps.all:
        attempt = last.get(step.name)
        if step.name not in needed:
            continue
        if step.kind == "op":
            if attempt and attempt["run_id"] == job_run and attempt["status"] not in ENDED_WELL:
                against.append(f"{step.name} {attempt['status']} in run {job_run[:8]}")
        elif attempt is None:
            against.append(f"{step.name} has not run")
        elif attempt["status"] not in ENDED_WELL:
            against.append(f"{step.name} {attempt['status']} in run {attempt['run_id'][:8]}")
        elif later := _later(last, step.after, attempt):
            against.append(f"{step.name} has not run since {later} did")
    if against:
        raise ConfigurationError(
            f"{steps.workflow.id} is not published: {'; '.join(against)}",
            hint=f"dataflow workflow run {steps.workflow.id} --changed",
        )
    return _made_since(steps, last)


def _later(
    last: Mapping[str, Mapping[str, Any]], after: Iterable[str], attempt: Mapping[str, Any]
) -> str | None:
    """The first of the steps `after` that ended after `attempt` at a later one began.

    Within a run they come in order, but what awaits review is noted together.
    """
    for name in after:
        before = last.get(name, {})
        ended = before.get("ended_at")
        another = before.get("run_id") != attempt["run_id"]
        if another and ended is not None and ended > attempt["started_at"]:
            return name
    return None


def _before(steps: list[StepInfo], name: str) -> set[str]:
    found: set[str] = {name}
    for step in reversed(steps):
        if step.name in found:
            found.update(step.after)
    return found
