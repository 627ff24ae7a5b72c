"""A run from start to end: its turn, its record, and how it ended.

Every run comes through here, whether started by the command line, a schedule, a click on Dagster's
pages, or a re-execution.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import dagster as dg
from dagster._core.errors import raise_execution_interrupts

from dataflow.base.guardian import guarded
from dataflow.base.process import was_interrupted
from dataflow.dashboard.ahead import pages_built_ahead
from dataflow.dbt.ready import dbt_ready
from dataflow.engine.secrets import Scrubber
from dataflow.orchestration import dagster_names as names
from dataflow.orchestration.code_state import code_state, keep_difference
from dataflow.orchestration.instance import share_instance
from dataflow.orchestration.live import tell
from dataflow.orchestration.options import OWN_TRIGGERS
from dataflow.orchestration.retention import AT_A_RUNS_END, prune
from dataflow.orchestration.step import INTERRUPTS, parameters_of
from dataflow.orchestration.steps import WorkflowSteps
from dataflow.project import Project
from dataflow.runs.record import RunRecord
from dataflow.runs.turn import turn
from dataflow.stages.notebook import Stage, declared_parameters
from dataflow.stages.prepared import prepared_kernels
from dataflow.stages.values import conceal
from dataflow.variables import secrets_of
from dataflow.workflows.model import Workflow

# Steps that run beside each other need processes of their own. They are forked from one that
# has everything imported: a fresh process would take longer to start than most stages to run.
_IMPORTED = ["dataflow.definitions", "dataflow.orchestration.preloaded"]
START_METHOD = {"forkserver": {"preload_modules": _IMPORTED}}

PARENT_TAG = "dagster/parent_run_id"
USER_TAG = "dataflow/user"


def run_executor(workflows: Iterable[WorkflowSteps], *, parallel: bool) -> Any:
    """The executor of the runs of `workflows`.

    Args:
        workflows: those whose steps a run may have.
        parallel: whether steps may run at the same time, each in a process of its own.
    """

    @dg.executor(
        name="dataflow",
        requirements=dg.multiple_process_executor_requirements() if parallel else None,
    )
    def of_runs(context: dg.InitExecutorContext) -> RunExecutor:
        def made(executor: Any, **config: Any) -> dg.Executor:
            config = {"retries": {"enabled": {}}, **config}
            created = context._replace(executor_def=executor, executor_config=config)
            return executor.executor_creation_fn(created)

        alone = beside = made(dg.in_process_executor)
        if parallel:
            most = Project.find().settings.max_parallel_stages
            beside = made(dg.multiprocess_executor, max_concurrent=most, start_method=START_METHOD)
        return RunExecutor(alone, beside, {steps.workflow.id: steps for steps in workflows})

    return of_runs


class RunExecutor(dg.Executor):
    """Executes a run's steps by Dagster's own executors, and records the run's start and end.

    Args:
        alone: executes steps that all wait for each other.
        beside: executes others.
        workflows: by id.
    """

    def __init__(
        self, alone: dg.Executor, beside: dg.Executor, workflows: Mapping[str, WorkflowSteps]
    ) -> None:
        self._alone = alone
        self._beside = beside
        self._workflows = workflows

    @property
    def retries(self) -> Any:
        """Dagster's question: steps may ask to be tried again."""
        return self._alone.retries

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[Any]:
        """Dagster's call: the run's events, as its steps yield them."""
        run = plan_context.dagster_run
        chosen = [(names.workflow_of(k), k) for k in execution_plan.step_keys_to_execute]
        records = [
            _begin(self._workflows[id_], run, {k for w, k in chosen if w == id_})
            for id_ in sorted({workflow_id for workflow_id, _ in chosen})
        ]
        share_instance(records[0].project)  # the run's own database is there by now
        try:
            if was_interrupted():  # while it was prepared, and a library caught that
                raise KeyboardInterrupt
            with contextlib.ExitStack() as turns:
                for record in records:  # in the order of names, so that nobody waits for ever
                    turns.enter_context(_in_turn(record, plan_context))
                turns.enter_context(guarded(run.run_id))
                for steps in self._showing(chosen):
                    turns.enter_context(pages_built_ahead(steps.project, steps.workflow.id, tell))
                stages = [stage for id_, key in chosen for stage in self._stages(id_, key)]
                if stages and any(names.step_of(key) == names.DBT for _, key in chosen):
                    turns.enter_context(dbt_ready(records[0].project))
                turns.enter_context(prepared_kernels(records[0].project, stages, tell))
                levels = execution_plan.get_steps_to_execute_by_level()
                one_by_one = all(len(level) == 1 for level in levels)
                inner = self._alone if one_by_one else self._beside
                yield from inner.execute(plan_context, execution_plan)
        except BaseException as error:
            # Where steps have processes of their own, a cancel may arrive as their failure.
            cancelled = isinstance(error, INTERRUPTS) or any(
                step["status"] == "cancelled"
                for record in records
                for step in record.read()["steps"].values()
            )
            text = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:500]}"
            _end(records, cancelled=cancelled, error=None if cancelled else text)
            if not cancelled or isinstance(error, GeneratorExit):
                raise
            # Dagster counts a run as cancelled only if its cancellation was requested.
            _ask_for_its_end(plan_context.instance, run)
            raise dg.DagsterExecutionInterruptedError from error
        _end(records)
        for record in records:
            _prune(record, plan_context.instance)

    def _showing(self, chosen: list[tuple[str, str]]) -> list[WorkflowSteps]:
        """The workflow whose dashboard this run shows, unless somebody has to approve first."""
        shown = {id_ for id_, key in chosen if names.step_of(key) == names.DASHBOARD}
        if len(shown) != 1:
            return []  # of several, each is built with the others' pages as they are by then
        steps = self._workflows[shown.pop()]
        return [steps] if steps.workflow.config.workflow.review is None else []

    def _stages(self, workflow_id: str, key: str) -> list[Stage]:
        """The stage that a step is; none for another step."""
        name = names.step_of(key)
        return [one for one in self._workflows[workflow_id].workflow.stages if one.name == name]


def _begin(steps: WorkflowSteps, run: Any, keys: set[str]) -> RunRecord:
    wanted = {names.step_of(key) for key in keys}
    chosen = [step.name for step in steps.all if step.name in wanted]
    record = RunRecord(steps.project, steps.workflow.id, run.run_id)
    state = code_state(steps.project)
    trigger = _trigger(run.tags)
    # A run that is tried again in Dagster has the tags of the one before.
    asked = run.tags.get(USER_TAG) if trigger in OWN_TRIGGERS else None
    record.begin(
        [{"name": step.name, "kind": step.kind, "after": list(step.after)} for step in steps.all],
        selection=None if len(chosen) == len(steps.all) else chosen,
        trigger=trigger,
        parent=run.tags.get(PARENT_TAG),
        parameters=_recorded(steps.workflow, parameters_of(run.run_config)),
        git=state and state.facts(),
        **({"user": asked} if asked else {}),
    )
    if state is not None and state.dirty:
        secrets = secrets_of(steps.workflow.folder)
        keep_difference(state, record.folder, steps.workflow.id, Scrubber(secrets))
    return record


def _recorded(workflow: Workflow, chosen: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The values chosen for a run as its record keeps them: secrets by the names of variables."""
    for stage in workflow.stages:
        if stage.name in chosen:
            declared = declared_parameters(stage.notebook)
            chosen[stage.name] = conceal(declared, chosen[stage.name], stage=stage.name)
    secrets = secrets_of(workflow.folder)
    return dict(Scrubber(secrets).tree(copy.deepcopy(chosen)))


def _trigger(tags: Mapping[str, str]) -> str:
    # First, since the tags of the earlier run are inherited.
    if PARENT_TAG in tags:
        return "retry" if "dagster/retry_number" in tags else "re-execution"
    if "dagster/schedule_name" in tags:
        return "schedule"
    return tags.get("dataflow/trigger", "dagster")


@contextlib.contextmanager
def _in_turn(record: RunRecord, plan_context: Any) -> Iterator[None]:
    run = record.read()
    who = f"run {record.run_id[:8]} by {run['trigger']} of {run['user']}"
    waiting = _announcer(record, plan_context)
    # Dagster holds signals back while it executes; somebody who waits can be cancelled.
    with contextlib.ExitStack() as held:
        with raise_execution_interrupts():
            held.enter_context(turn(record.project, record.workflow_id, who, waiting))
        if record.read().get("waiting_for"):
            record.note(waiting_for=None)
        yield


def _announcer(record: RunRecord, plan_context: Any) -> Callable[[str], None]:
    """Says which run a run waits for: on the terminal, in its record, in Dagster's events."""
    last = ""

    def announce(text: str) -> None:
        nonlocal last
        if text == last:
            return
        last = text
        tell(text)
        record.note(waiting_for=text)
        plan_context.instance.report_engine_event(text, plan_context.dagster_run)

    return announce


def _end(records: list[RunRecord], *, cancelled: bool = False, error: str | None = None) -> None:
    for record in records:
        record.end(cancelled=cancelled, error=error)


def _prune(record: RunRecord, instance: Any) -> None:
    """Remove old runs of a workflow; this run has ended, whatever happens here."""
    try:
        if not record.project.settings.keeps_all_runs:
            prune(record.project, instance, record.workflow_id, seconds=AT_A_RUNS_END)
    except Exception as error:
        tell(f"Old runs were not removed: {error}")


def _ask_for_its_end(instance: Any, run: Any) -> None:
    current = instance.get_run_by_id(run.run_id)
    if current is not None and current.status == dg.DagsterRunStatus.STARTED:
        instance.report_run_canceling(current)
