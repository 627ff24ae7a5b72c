"""One step of a run as it is recorded: its start, its end, its result."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from dataflow.base.interrupts import interrupt_behind
from dataflow.base.lifetime import end_with_run
from dataflow.dbt.border import check_columns
from dataflow.engine.secrets import Scrubber
from dataflow.errors import WarehouseError
from dataflow.orchestration.dagster_names import step_of
from dataflow.orchestration.live import tell
from dataflow.orchestration.notebooks.config_schema import from_config
from dataflow.orchestration.steps import WorkflowSteps
from dataflow.project import Project
from dataflow.runs.record import RunRecord, Step
from dataflow.stages.context import WithoutSecrets, cleaned_error
from dataflow.variables import secrets_of
from dataflow.warehouse.store import stage_writes

INTERRUPTS = (KeyboardInterrupt, dg.DagsterExecutionInterruptedError)


@contextlib.contextmanager
def recorded_step(context: Any, steps: WorkflowSteps, name: str, **facts: Any) -> Iterator[Step]:
    """Record the step that runs inside the `with` block.

    It ends as its facts say (`status`), as succeeded without that, as failed when an error
    leaves the block, and as cancelled when a signal does, unless it is done. After an error, the
    wait for the next try is part of the step, so that a cancel ends it at once.

    Args:
        context: Dagster's context of the step.
        steps: the steps of the workflow that runs.
        name: the step.
        facts: what is known from the start.

    Raises:
        Cancelled: a signal ended it, which no retry policy may undo.
        dagster.RetryRequested: it failed, has waited, and is to be tried again.
    """
    end_with_run()
    folder, values = steps.workflow.folder, facts.get("values")
    record = RunRecord(steps.project, steps.workflow.id, context.run_id)
    step = Step(record, name, secrets_of(folder, values))
    scrubber = Scrubber(step.secrets)
    record.step_started(
        name, code_version=steps.version(name, values), **scrubber.tree(copy.deepcopy(facts))
    )
    if scrubber:
        # For as long as the step's log: events about outputs follow when its own code has ended.
        context.log.addFilter(WithoutSecrets(scrubber))

    def end(status: str) -> None:
        known = scrubber.tree(step.facts)
        record.step_ended(name, status, **{k: v for k, v in known.items() if k != "status"})

    try:
        yield step
    except BaseException as left:
        if is_interrupt(left):
            end("succeeded" if step.is_done else "cancelled")
            raise Cancelled from left
        error = left if isinstance(left, Exception) else _as_failure(left)
        step.facts.setdefault("error", _first_words(error))
        clean = cleaned_error(error, scrubber) if scrubber else error
        policy = _policy(context, error)
        if policy is None:
            end("failed")
            if clean is left:
                raise
            raise clean from None
        try:
            _wait_for_retry(context, record, name, policy, scrubber.tree(step.facts))
        except INTERRUPTS as interrupt:
            end("cancelled")
            raise Cancelled from interrupt
        raise dg.RetryRequested(policy.max_retries, seconds_to_wait=0) from clean
    end(step.facts.get("status", "succeeded"))


def _first_words(error: Exception) -> dict[str, str]:
    """An error as the record keeps it: its first line, and its hint, if it has one."""
    first, *more = str(error).strip().split("\n")
    hints = [line.strip() for line in more if line.lstrip().startswith("→")]
    return {"message": first[:500], **({"hint": hints[0].lstrip("→ ")[:500]} if hints else {})}


def is_interrupt(error: BaseException) -> bool:
    """Whether a signal that cancels the run raised this."""
    return isinstance(error, INTERRUPTS) or isinstance(interrupt_behind(error), INTERRUPTS)


class Cancelled(dg.DagsterExecutionInterruptedError, dg.DagsterError):
    """A signal ended the step.

    Dagster retries an interrupted step that has a retry policy, but not one that fails with a
    `DagsterError`.
    """


def _as_failure(left: BaseException) -> Exception:
    """An exception that ended a step although it is no `Exception`, such as `sys.exit`'s."""
    text = f"{type(left).__name__}: {left}".rstrip(": ")
    return dg.Failure(f"the step ended itself: {text}", allow_retries=False)


def _policy(context: Any, error: Exception) -> Any:
    """The retry policy by which the step is tried again after `error`; None when it is not."""
    policy = context.get_step_execution_context().op_retry_policy
    if policy is None or context.retry_number >= policy.max_retries:
        return None
    if isinstance(error, dg.RetryRequested):
        return None  # the author's own, which has a wait of its own
    return None if isinstance(error, dg.Failure) and not error.allow_retries else policy


def _wait_for_retry(
    context: Any, record: RunRecord, name: str, policy: Any, facts: dict[str, Any]
) -> None:
    number = context.retry_number + 1
    delay = float(policy.calculate_delay(number))
    again = f"tried again in {delay:g} s ({number} of {policy.max_retries})"
    record.step(name, **{**facts, "status": "retrying", "retry": again})
    tell(f"  {name} failed: {facts['error']['message']}; {again}")
    time.sleep(delay)


def note_writes(
    project: Project, run_id: str, step: Step, cells: Mapping[int, int] | None = None
) -> None:
    """Note the tables that the step wrote, with the columns they have and the cells that did it.

    Args:
        project: the project.
        run_id: the run.
        step: the step, which has ended.
        cells: of a notebook the cells' numbers by their execution counts.
    """
    numbers = cells or {}
    step.facts["writes"] = {
        str(table): {
            "cells": sorted({numbers[count] for count in one.cells if count in numbers}),
            "columns": one.columns,
        }
        for table, one in stage_writes(project, run_id, step.name).items()
    }


def check_border(steps: WorkflowSteps, run_id: str, step: Step) -> None:
    """Fail the step when what it wrote lacks columns that models or pages use.

    Raises:
        dagster.Failure: it does; says which, and where they are used.
    """
    names = [one.name for one in steps.all]
    later = names[names.index(step.name) + 1 :] if step.name in names else []
    try:
        check_columns(
            steps.project, run_id, step.name, later={(steps.workflow.id, name) for name in later}
        )
    except WarehouseError as error:
        step.facts["error"] = {"message": error.message, "hint": error.hint}
        # Another try would write the same columns.
        raise dg.Failure(str(error), allow_retries=False) from None


def parameters_of(run_config: Any) -> dict[str, dict[str, Any]]:
    """What was chosen for this run, by stage: `${VAR}` stays a name here."""
    chosen = {}
    for op, part in (run_config or {}).get("ops", {}).items():
        if part.get("config"):
            chosen[step_of(op)] = from_config(part["config"])
        for inner, own in part.get("ops", {}).items():  # of a job written in Python
            if own.get("config"):
                chosen[inner] = dict(own["config"])
    return chosen
