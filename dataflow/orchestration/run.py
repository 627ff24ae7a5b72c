"""Running a workflow here and now: the same job that Dagster runs on its schedule."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dataflow.base.lock import DEFAULT_TIMEOUT
from dataflow.base.process import signals_as_interrupt, this_process
from dataflow.base.terminal import messages
from dataflow.base.words import seconds_text
from dataflow.dashboard.build import is_stale, last_seconds
from dataflow.errors import ConfigurationError, Problem, RunFailed
from dataflow.orchestration.dagster_names import DASHBOARD, step_of
from dataflow.orchestration.instance import open_instance
from dataflow.orchestration.kinds import steps_of
from dataflow.orchestration.live import TERMINAL_VARIABLE, StepEvent, step_printer, tell
from dataflow.orchestration.options import RunOptions
from dataflow.orchestration.selection import select
from dataflow.orchestration.steps import Values, WorkflowSteps
from dataflow.project import ROOT_VARIABLE, Project
from dataflow.runs.record import Run, RunRecord
from dataflow.runs.turn import is_inside_of_run
from dataflow.stages.prepared import prepared_kernels
from dataflow.validation.workflow import problems_before_run
from dataflow.workflows.model import Workflow
from dataflow.workflows.registry import get_workflow, table_conflicts

MODULE = "dataflow.definitions"


@dataclass(frozen=True)
class RunPlan:
    """A run that was checked and may start.

    Args:
        steps: the workflow's steps.
        values: what was chosen, by step and parameter.
        chosen: the steps to run; None for all.
    """

    steps: WorkflowSteps
    values: Values
    chosen: list[str] | None

    @property
    def run_config(self) -> dict[str, Any]:
        """The run's configuration for Dagster."""
        return self.steps.run_config(self.values, self.chosen) or {}

    @property
    def builds_pages(self) -> bool:
        """Whether it has to build the dashboard's pages, which takes much longer than the rest."""
        shown = DASHBOARD in [step.name for step in self.steps.all]
        if not shown or (self.chosen is not None and DASHBOARD not in self.chosen):
            return False
        project, workflow = self.steps.project, self.steps.workflow
        try:
            return project.settings.build_pages and is_stale(project, workflow.id)
        except ConfigurationError:
            return False  # there is no list of packages; the step says so, if it comes to that

    @property
    def asset_selection(self) -> Any:
        """The assets of its steps as Dagster's selection; None for all."""
        from dagster import AssetKey

        if self.chosen is None:
            return None
        return frozenset(AssetKey(key) for step in self.chosen for key in self.steps.keys(step))


def plan_run(
    project: Project,
    workflow: Workflow,
    parameters: Mapping[str, Any],
    *,
    only: str | None = None,
    start: str | None = None,
    changed: bool = False,
    lock_timeout: float = DEFAULT_TIMEOUT,
) -> RunPlan:
    """Check `parameters`, choose the steps and validate what they do, before anything runs.

    Args:
        project: the project.
        workflow: the workflow.
        parameters: values by name; a name goes to every stage that declares it, and
            `stage.name` to that stage only.
        only: run this step and nothing else.
        start: run this step and everything downstream; upstream steps only if they are stale.
        changed: run what is stale and everything downstream of it.
        lock_timeout: seconds to wait for the warehouse, where that has to be looked at.

    Raises:
        ParameterError: lists everything that is wrong, in all stages.
        ConfigurationError: a notebook, a model or a page of these steps is not valid; lists
            everything that is wrong.
    """
    _refuse(project, workflow, table_conflicts(project, workflow))
    steps = steps_of(project, workflow)
    values = steps.check(parameters)
    chosen = select(steps, values, only=only, start=start, changed=changed, timeout=lock_timeout)
    kinds: dict[str, list[str]] = {}
    for step in steps.all:
        if chosen is None or step.name in chosen:
            kinds.setdefault(step.kind, []).append(step.name)
    _refuse(project, workflow, problems_before_run(project, workflow, kinds, values))
    return RunPlan(steps, values, chosen)


def _refuse(project: Project, workflow: Workflow, problems: list[Problem]) -> None:
    if problems:
        raise ConfigurationError(
            f"workflow {workflow.id} is not valid; nothing was run",
            problems=problems,
            root=project.root,
        )


def run_workflow(project: Project, workflow_id: str, options: RunOptions) -> Run | None:
    """Run a workflow in this process, recorded in Dagster's instance and in the folder of runs.

    Standard error tells how it goes on. What this leaves in the process (imported modules,
    environment variables) is in the way of another run: `run_apart` is for programs that go on.

    Returns:
        The run as recorded, whether it succeeded or not; None when nothing changed and nothing
        was to be run.

    Raises:
        ConfigurationError: something is not valid, see `plan_run`; or this is called inside of a
            run of the same workflow.
        KeyboardInterrupt: it was cancelled, by Ctrl-C or SIGTERM; its record says so.
    """
    project.load_environment()
    workflow = get_workflow(project, workflow_id)
    err = messages()
    err.print(f"[bold]{workflow.name}[/] ({workflow.id})")
    if is_inside_of_run(project, workflow.id):
        raise ConfigurationError(
            f"this is inside of a run of {workflow.id}: another one would wait for it for ever",
            hint="Start it from a script, or from a workflow of its own.",
        )
    with contextlib.ExitStack() as until_the_end:
        if not options.changed:  # then there may be nothing to run
            stages = [one for one in workflow.stages if options.only in (None, one.name)]
            until_the_end.enter_context(prepared_kernels(project, stages, tell))
        return _run(project, workflow, options)


def _run(project: Project, workflow: Workflow, options: RunOptions) -> Run | None:
    err = messages()
    plan = plan_run(
        project,
        workflow,
        options.parameters,
        only=options.only,
        start=options.start,
        changed=options.changed,
    )
    if plan.chosen == []:
        err.print("nothing changed since the last success; nothing was run")
        return None
    if plan.builds_pages:
        took = last_seconds(project)
        usual = f"{seconds_text(took)} the last time" if took else "about a minute"
        err.print(
            f"[dim]the dashboard's pages are new or changed: this run builds them ({usual}); while "
            "you write them, dataflow service start evidence --dev shows each change at once[/]"
        )
    os.environ[ROOT_VARIABLE] = str(project.root)
    os.environ[TERMINAL_VARIABLE] = "live" if options.live else "quiet"
    from dataflow.orchestration.lost import end_lost_runs

    instance = open_instance(project)
    try:
        end_lost_runs(instance)
        with signals_as_interrupt(signal.SIGTERM):
            _execute(plan, instance, options)
    finally:
        instance.dispose()
    record = RunRecord(project, workflow.id, options.run_id)
    data = record.read()
    if not data:
        raise RunFailed(
            f"run {options.run_id} ended before its first step",
            hint="`dataflow service start dagster` shows its events.",
        )
    return Run(record.folder, data)


def _execute(plan: RunPlan, instance: Any, options: RunOptions) -> None:
    from dagster._core.definitions.reconstruct import ReconstructableRepository
    from dagster._core.execution.api import execute_run_iterator

    from dataflow.orchestration.build import BROKEN_TAG, ONLY_VARIABLE
    from dataflow.orchestration.executor import USER_TAG
    from dataflow.orchestration.lost import PROCESS_TAG

    workflow_id = plan.steps.workflow.id
    os.environ[ONLY_VARIABLE] = workflow_id

    root = str(plan.steps.project.root)
    repository = ReconstructableRepository.for_module(MODULE, "defs", root)
    job = repository.get_reconstructable_job(workflow_id)
    definition = job.get_definition()
    if BROKEN_TAG in definition.tags:
        raise ConfigurationError(
            str(definition.description).removeprefix("BROKEN. "),
            hint=f"dataflow workflow validate {workflow_id}",
        )
    tags = {"dataflow/trigger": options.trigger, PROCESS_TAG: json.dumps(this_process())}
    if options.user is not None:
        tags[USER_TAG] = options.user
    show = step_printer()
    try:
        run = instance.create_run_for_job(
            definition,
            run_id=options.run_id,
            run_config=plan.run_config,
            asset_selection=plan.asset_selection,
            tags=tags,
            job_code_origin=job.get_python_origin(),
        )
        for event in execute_run_iterator(job, run, instance):
            step_event = _in_our_words(event)
            if step_event is not None:
                show(step_event)
    except KeyboardInterrupt:
        # Before its executor begins, and after that has ended, Dagster does not notice a signal.
        begun = instance.get_run_by_id(options.run_id)
        if begun is not None and not begun.is_finished:
            instance.report_run_canceled(begun)
        raise


def _in_our_words(event: Any) -> StepEvent | None:
    if event.step_key is None:
        return None
    kinds = {
        "STEP_START": "started",
        "STEP_SUCCESS": "succeeded",
        "STEP_FAILURE": "failed",
        "STEP_SKIPPED": "skipped",
        "STEP_UP_FOR_RETRY": "retried",
    }
    kind = kinds.get(event.event_type_value)
    return StepEvent(kind, step_of(event.step_key)) if kind else None
