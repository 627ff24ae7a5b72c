"""Running a workflow from the command line: the same job that Dagster runs on its schedule."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dataflow.base.process import this_process
from dataflow.base.words import nearest
from dataflow.errors import ConfigurationError, ParameterError, Problem, RunFailed
from dataflow.orchestration import names
from dataflow.orchestration.instance import open_instance
from dataflow.orchestration.live import TERMINAL_VARIABLE
from dataflow.orchestration.selection import keys_of, select
from dataflow.project import ROOT_VARIABLE, Project
from dataflow.runs.record import Run, RunRecord
from dataflow.stages.notebook import declared_parameters
from dataflow.stages.parameters import Declaration
from dataflow.stages.values import check_values, conceal
from dataflow.workflows.model import Workflow
from dataflow.workflows.registry import table_conflicts

MODULE = "dataflow.definitions"


@dataclass(frozen=True)
class StepEvent:
    """Something a run's steps did: `kind` is started, succeeded, failed, skipped or retried."""

    kind: str
    step: str
    message: str = ""


@dataclass
class RunPlan:
    """A run that was checked and may begin.

    Args:
        workflow: the workflow.
        values: what was chosen, by stage and parameter.
        steps: the steps to do; None for all.
    """

    workflow: Workflow
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: list[str] | None = None


def plan_run(
    project: Project,
    workflow: Workflow,
    parameters: Mapping[str, Any],
    *,
    only: str | None = None,
    start: str | None = None,
    changed: bool = False,
) -> RunPlan:
    """Check `parameters` against every stage and choose the steps, before anything runs.

    Args:
        project: the project.
        workflow: the workflow.
        parameters: values by name; a name goes to every stage that declares it, and
            `stage.name` to that stage only.
        only: do this step and nothing else.
        start: do this step and what follows; earlier ones only where they are stale.
        changed: do what is stale and what follows it.

    Raises:
        ParameterError: lists everything that is wrong, in all stages.
        ConfigurationError: a notebook is not valid.
    """
    conflicts = table_conflicts(project, workflow)
    if conflicts:
        raise ConfigurationError(
            f"workflow {workflow.id} is not valid", problems=conflicts, root=project.root
        )
    if workflow.job_file is not None:
        from dataflow.orchestration.python_config import op_values

        plan = RunPlan(workflow, op_values(project, workflow, parameters))
        plan.steps = select(project, workflow, plan.values, only=only, start=start, changed=changed)
        return plan
    declarations = {s.name: declared_parameters(s.notebook) for s in workflow.stages}
    values, problems = _route(workflow, declarations, parameters)
    for stage in workflow.stages:
        try:
            check_values(
                declarations[stage.name],
                {**stage.parameters, **values.get(stage.name, {})},
                stage=stage.name,
            )
        except ParameterError as error:
            problems += error.problems
    if problems:
        raise ParameterError(
            f"the parameters of workflow {workflow.id} are not right; nothing was run",
            problems=problems,
            root=project.root,
        )
    plan = RunPlan(workflow, _converted(workflow, values))
    plan.steps = select(project, workflow, plan.values, only=only, start=start, changed=changed)
    return plan


def _route(
    workflow: Workflow, declarations: dict[str, Declaration], parameters: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    values: dict[str, dict[str, Any]] = {}
    problems = []
    for name, value in parameters.items():
        stage, _, bare = name.rpartition(".")
        if stage and stage not in declarations:
            problems.append(
                Problem(f"there is no stage `{stage}`", hint=nearest(stage, declarations))
            )
            continue
        takers = [
            other
            for other, declaration in declarations.items()
            if bare in declaration.parameters and stage in ("", other)
        ]
        if not takers:
            known = {n for d in declarations.values() for n in d.parameters}
            where = f"stage `{stage}`" if stage else f"no stage of {workflow.id}"
            has = "has no" if stage else "has a"
            problems.append(Problem(f"{where} {has} parameter `{bare}`", hint=nearest(bare, known)))
        for taker in takers:
            values.setdefault(taker, {})[bare] = value
    return values, problems


def run_workflow(
    project: Project,
    plan: RunPlan,
    *,
    on_event: Callable[[StepEvent], None] | None = None,
    live: bool = False,
) -> Run:
    """Run a workflow in this process, recorded in Dagster's instance and in the archive.

    Args:
        project: the project.
        plan: what to run, from `plan_run`.
        on_event: called as steps start and end.
        live: whether what the notebooks print is shown on standard error.

    Returns:
        The run as archived, whether it succeeded or not.

    Raises:
        KeyboardInterrupt: it was cancelled, by Ctrl-C or SIGTERM; the archive says so.
    """
    os.environ[ROOT_VARIABLE] = str(project.root)
    os.environ[TERMINAL_VARIABLE] = "live" if live else "quiet"
    from dataflow.orchestration.lost import end_lost_runs

    instance = open_instance(project, quiet=True)
    try:
        end_lost_runs(instance)
        with _sigterm_as_interrupt():
            run_id = _execute(project, plan, instance, on_event or (lambda event: None))
    finally:
        instance.dispose()
    archive = RunRecord(project, plan.workflow.id, run_id)
    data = archive.read()
    if not data:
        raise RunFailed(
            f"run {run_id} ended before its first step",
            hint="`dataflow service start dagster` shows its events.",
        )
    return Run(archive.folder, data)


def _execute(
    project: Project, plan: RunPlan, instance: Any, on_event: Callable[[StepEvent], None]
) -> str:
    from dagster._core.definitions.reconstruct import ReconstructableRepository
    from dagster._core.execution.api import execute_run_iterator

    from dataflow.orchestration.build import BROKEN_TAG, ONLY_VARIABLE
    from dataflow.orchestration.lost import PROCESS_TAG

    os.environ[ONLY_VARIABLE] = plan.workflow.id

    repository = ReconstructableRepository.for_module(MODULE, "defs", str(project.root))
    job = repository.get_reconstructable_job(plan.workflow.id)
    definition = job.get_definition()
    if BROKEN_TAG in definition.tags:
        raise ConfigurationError(
            str(definition.description).removeprefix("BROKEN. "),
            hint=f"dataflow workflow validate {plan.workflow.id}",
        )
    run = instance.create_run_for_job(
        definition,
        run_config=run_config(project, plan),
        asset_selection=asset_selection(project, plan),
        tags={"dataflow/trigger": "cli", PROCESS_TAG: json.dumps(this_process())},
        job_code_origin=job.get_python_origin(),
    )
    for event in execute_run_iterator(job, run, instance):
        step_event = _in_our_words(event)
        if step_event is not None:
            on_event(step_event)
    return str(run.run_id)


def run_config(project: Project, plan: RunPlan) -> dict[str, Any]:
    """The run's configuration for Dagster: only what was chosen for this run."""
    if plan.workflow.job_file is not None:
        from dataflow.orchestration.python_config import job_config

        return job_config(project, plan.workflow, plan.values) or {}
    chosen = {s: v for s, v in plan.values.items() if plan.steps is None or s in plan.steps}
    from dataflow.orchestration.config_schema import to_config

    ops = {
        names.op_name(plan.workflow.id, stage): {"config": to_config(values)}
        for stage, values in chosen.items()
    }
    return {"ops": ops} if ops else {}


def asset_selection(project: Project, plan: RunPlan) -> Any:
    """The assets of the plan's steps as Dagster's selection; None for all."""
    if plan.steps is None:
        return None
    from dagster import AssetKey

    return frozenset(
        AssetKey(key) for step in plan.steps for key in keys_of(project, plan.workflow, step)
    )


def _converted(workflow: Workflow, values: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The chosen values as their types have them."""
    converted = {}
    for name, chosen in values.items():
        stage = workflow.stage(name)
        declaration = declared_parameters(stage.notebook)
        checked = check_values(declaration, {**stage.parameters, **chosen}, stage=name)
        converted[name] = conceal(
            declaration,
            {key: value for key, value in checked.items() if key in chosen},
            stage=name,
        )
    return converted


def _in_our_words(event: Any) -> StepEvent | None:
    if event.step_key is None:
        return None
    step = names.step_of(event.step_key)
    kinds = {
        "STEP_START": "started",
        "STEP_SUCCESS": "succeeded",
        "STEP_FAILURE": "failed",
        "STEP_SKIPPED": "skipped",
        "STEP_UP_FOR_RETRY": "retried",
    }
    kind = kinds.get(event.event_type_value)
    return StepEvent(kind, step, event.message or "") if kind else None


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does, with its state on disk."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: no signals here
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
