"""One op of a Python workflow as a step of a run: in the run's environment, and recorded."""

from __future__ import annotations

import contextlib
import os
import time
import traceback
import uuid
from collections.abc import Iterator, Mapping
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import dagster as dg
import psutil

from dataflow.base.guardian import RUN_VARIABLE, STEP_VARIABLE
from dataflow.base.process import environment, kill_carrying, started_by
from dataflow.base.words import first_line
from dataflow.engine.secrets import Scrubber
from dataflow.orchestration.dagster_names import step_of
from dataflow.orchestration.python.op_output import OpOutput, logged
from dataflow.orchestration.step import check_border, note_writes, parameters_of, recorded_step
from dataflow.orchestration.steps import WorkflowSteps
from dataflow.project import ROOT_VARIABLE, Project
from dataflow.runs.record import Step, current_step
from dataflow.stages.result import Result, StageSkipped, listener, plain, report_of
from dataflow.warehouse.store import forget_writes
from dataflow.workflows.model import Workflow


@contextlib.contextmanager
def op_step(steps: WorkflowSteps) -> Iterator[Step]:
    """Run the op of the current Dagster context inside the `with` block.

    Inside, the environment is that of a run (so `get_duckdb_connection` is the working
    warehouse), the working directory is the workflow's folder, and what is printed and logged
    goes to `<op>.log` in the run's folder.

    Raises:
        dagster.Failure: a `stage.check` of severity "error" did not pass.
    """
    project, workflow = steps.project, steps.workflow
    context: Any = dg.OpExecutionContext.get()
    name = step_of(context.get_step_execution_context().step.key)
    results: list[Result] = []
    values = parameters_of(context.run.run_config).get(name, {})
    with recorded_step(
        context, steps, name, attempt=context.retry_number + 1, values=values
    ) as step:
        step.facts["log"] = f"{name}.log"
        forget_writes(project, context.run_id, name)  # of an earlier try
        begun = time.monotonic()
        try:
            with (
                _receiving(results, step),
                _surroundings(project, workflow, name, context.run_id),
                logged(
                    step.record.folder / f"{name}.log", context, name, Scrubber(step.secrets)
                ) as log,
            ):
                yield from _noting_errors(step, log, workflow)
        finally:
            report = report_of(result.to_json() for result in results)
            step.facts.update(
                seconds=round(time.monotonic() - begun, 3),
                rows=report.rows,
                recorded=report.tables,
                checks=[*step.facts.get("checks", []), *report.checks],
            )
            note_writes(project, context.run_id, step)
        if report.failed_checks:
            shown = ", ".join(check["name"] for check in report.failed_checks)
            raise dg.Failure(f"check failed: {shown}", allow_retries=False)
        check_border(steps, context.run_id, step)


def _noting_errors(step: Step, log: OpOutput, workflow: Workflow) -> Iterator[Step]:
    try:
        yield step
    except StageSkipped as skipped:
        step.facts.update(status="skipped", skipped=str(skipped))
    except Exception as error:
        log.keep("".join(traceback.format_exception(error)))
        step.facts["error"] = {"message": in_words(error, workflow.folder)}
        raise


def in_words(error: BaseException, folder: Path) -> str:
    """An error in one line, with the innermost line of the workflow's own code."""
    first = first_line(error)[:500]
    if isinstance(error, dg.Failure):
        text = (error.description or first).strip()
    else:
        text = f"{type(error).__name__}: {first}" if first else type(error).__name__
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename).resolve()
        if path.is_relative_to(folder.resolve()):
            return f"{text} ({path.relative_to(folder.resolve())}:{frame.lineno})"
    return text


def summary(value: Any) -> dict[str, Any] | None:
    """What an op returned, as `run.json` keeps it: its kind, sizes, and its own metadata."""
    if value is None:
        return None
    if isinstance(value, (dg.Output, dg.DynamicOutput)):
        return summary(value.value)
    facts: dict[str, Any] = {"type": type(value).__name__}
    if isinstance(value, Mapping):
        sizes = {str(key): _size(item) for key, item in list(value.items())[:20]}
        facts["sizes"] = {key: size for key, size in sizes.items() if size is not None}
        if isinstance(value.get("metadata"), Mapping):
            facts["metadata"] = plain(dict(value["metadata"]))
    elif (size := _size(value)) is not None:
        facts["size"] = size
    return facts


def _size(value: Any) -> int | None:
    if isinstance(value, (str, bytes)):
        return None
    try:
        return len(value)
    except TypeError:
        return None


@contextlib.contextmanager
def _receiving(results: list[Result], step: Step) -> Iterator[None]:
    tokens = listener.set(results.append), current_step.set(step)
    try:
        yield
    finally:
        listener.reset(tokens[0])
        current_step.reset(tokens[1])


@contextlib.contextmanager
def _surroundings(project: Project, workflow: Workflow, name: str, run_id: str) -> Iterator[None]:
    mark = uuid.uuid4().hex
    inside = {
        ROOT_VARIABLE: str(project.root),
        "TZ": project.timezone,
        "DATAFLOW_WORKFLOW": workflow.id,
        "DATAFLOW_STAGE": name,
        RUN_VARIABLE: run_id,
        STEP_VARIABLE: mark,
    }
    resource_tracker.ensure_running()  # Python's own, for the whole process: not started by the op
    others = psutil.Process().children()
    try:
        with environment(inside), contextlib.chdir(workflow.folder):
            time.tzset()
            yield
    finally:
        time.tzset()
        # A fork has the environment of this process.
        kill_carrying(STEP_VARIABLE, mark, started_by(os.getpid(), others))
