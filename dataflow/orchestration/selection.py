"""Which steps a run does: all, one, from one on, or only what is stale.

A step is *fresh* when its newest attempt succeeded, with the same code and parameters, its tables
are there and were not written by hand since, and nothing it depends on was tried again since. What
the archive and the warehouse know decides; nothing else is kept.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dataflow.base.words import nearest
from dataflow.dashboard.paths import has_sources
from dataflow.dbt.project import model_keys
from dataflow.errors import ConfigurationError
from dataflow.orchestration import names
from dataflow.orchestration.code_version import (
    dashboard_version,
    job_version,
    models_version,
    publish_version,
    stage_version,
)
from dataflow.orchestration.outputs import has_dbt_step, last_keys
from dataflow.orchestration.python_config import op_config
from dataflow.orchestration.python_graph import op_steps
from dataflow.project import Project
from dataflow.runs.record import ENDED_WELL, newest_first
from dataflow.shared.config import read_variables_of
from dataflow.shared.db import get_duckdb_connection
from dataflow.stages.display import plain
from dataflow.stages.scrub import Scrubber, secrets_in
from dataflow.warehouse.layout import Layout
from dataflow.warehouse.provenance import Origin, by_hand, provenance
from dataflow.workflows.model import Workflow

OP_KINDS = ("op", names.TABLES)


@dataclass(frozen=True)
class StepInfo:
    """A step of a workflow.

    Args:
        name: its name: the stage's, or dbt, publish, dashboard.
        kind: stage, op, tables, dbt, publish or dashboard.
        after: the steps it depends on.
    """

    name: str
    kind: str
    after: tuple[str, ...]


def steps_of(project: Project, workflow: Workflow) -> list[StepInfo]:
    """The steps of a whole run of `workflow`, each after those it depends on."""
    if workflow.job_file is not None:
        steps = [StepInfo(*step) for step in op_steps(project, workflow)]
        last: tuple[str, ...] = (steps[-1].name,)
    else:
        steps = [StepInfo(stage.name, "stage", stage.after) for stage in workflow.stages]
        last = tuple(stage.name for stage in workflow.last_stages)
    if has_dbt_step(project, workflow):
        steps.append(StepInfo(names.DBT, "dbt", last))
        last = (names.DBT,)
    steps.append(StepInfo(names.PUBLISH, "publish", last))
    if has_sources(project, workflow.id):
        steps.append(StepInfo(names.DASHBOARD, "dashboard", (names.PUBLISH,)))
    return steps


def keys_of(project: Project, workflow: Workflow, step: str) -> list[list[str]]:
    """The asset keys that `step` makes."""
    if step == names.DBT:
        return model_keys(project, workflow)
    if step == names.PUBLISH:
        return [names.published_key(workflow)]
    if step == names.DASHBOARD:
        return [names.dashboard_key(workflow)]
    if workflow.job_file is not None:
        return last_keys(project, workflow)  # the ops of a job make them together
    return names.stage_keys(workflow.stage(step))


def tables_of(project: Project, workflow: Workflow, step: str) -> set[tuple[str, str]]:
    """The tables and views that `step` is said to make, as (schema, table)."""
    if step in (names.PUBLISH, names.DASHBOARD):
        return set()
    keys = keys_of(project, workflow, step)
    # A stage or a job without tables has an asset that stands for itself.
    return {(key[0], key[1]) for key in keys if len(key) == 2 and key != ["jobs", workflow.id]}


def version_of(project: Project, workflow: Workflow, step: str, values: Any = None) -> str:
    """What a step's code is: it changes when what the step makes may change.

    Args:
        project: the project.
        workflow: the workflow.
        step: the step.
        values: its parameters in a run: the variables that they name count, too.
    """
    if step == names.DBT:
        return models_version(project, workflow)
    if step == names.DASHBOARD:
        return dashboard_version(project, workflow)
    if step == names.PUBLISH:
        return publish_version(workflow)
    if workflow.job_file is not None:
        return job_version(project, workflow, values)
    return stage_version(project, workflow.stage(step), values)


def select(
    project: Project,
    workflow: Workflow,
    values: Mapping[str, Mapping[str, Any]],
    *,
    only: str | None = None,
    start: str | None = None,
    changed: bool = False,
) -> list[str] | None:
    """The steps to do, in order; None means all of them.

    Args:
        project: the project.
        workflow: the workflow.
        values: what was chosen for this run, by stage.
        only: do this step and nothing else.
        start: do this step and all that follow it; what comes before it is done too where
            it is not fresh.
        changed: do what is not fresh, and all that follows that.

    Raises:
        ConfigurationError: there is no such step, or more than one of the three was given.
    """
    if sum((only is not None, start is not None, changed)) > 1:
        raise ConfigurationError(
            "--only, --from and --changed exclude each other", hint="Give one of them."
        )
    if only is None and start is None and not changed:
        return None
    steps = steps_of(project, workflow)
    known = {step.name for step in steps}
    for wanted in (only, start):
        if wanted is not None and wanted not in known:
            raise ConfigurationError(
                f"workflow {workflow.id} has no stage `{wanted}`", hint=nearest(wanted, known)
            )
    kinds = {step.name: step.kind for step in steps}
    for wanted in (only, start):
        if workflow.job_file is not None and kinds.get(wanted or "") in OP_KINDS:
            raise ConfigurationError(
                f"`{wanted}` cannot be run by itself: the ops of {workflow.id} are one job",
                hint="Run the workflow; --changed leaves the job out when its code is as it was.",
            )
    if only is not None:
        return [only]
    stale = stale_steps(project, workflow, steps, values)
    if start is not None:
        # Of the rest only what leads to `start` matters, and what follows from doing that again.
        stale = (stale & _before(steps, start)) | {start}
    chosen: set[str] = set()
    for step in steps:
        if step.name in stale or chosen.intersection(step.after):
            chosen.add(step.name)
    return [step.name for step in steps if step.name in chosen]


def stale_steps(
    project: Project,
    workflow: Workflow,
    steps: list[StepInfo],
    values: Mapping[str, Mapping[str, Any]],
) -> set[str]:
    """The steps whose newest attempt did not succeed with the code and parameters of now."""
    last = newest_attempts(project, workflow.id, steps)
    there, origins = _present(project)
    changed = by_hand(origins, _made_since(project, workflow, steps, last)).keys()
    stale: set[str] = set()
    for step in steps:
        before = last.get(step.name)
        own = _values(project, workflow, step, values)
        if (
            before is None
            or before["status"] not in ENDED_WELL
            or before.get("code_version") != version_of(project, workflow, step.name, own)
            or (own is not None and before.get("values") != own)
            or stale.intersection(step.after)
            or tables_of(project, workflow, step.name) - there
            or tables_of(project, workflow, step.name) & changed
            or _later(last, step.after, before)
        ):
            stale.add(step.name)
    return stale


def _present(
    project: Project,
) -> tuple[set[tuple[str, str]], dict[tuple[str, str], Origin]]:
    """The tables and views that the working warehouse has, and who wrote them last."""
    if not project.warehouse.exists():
        return set(), {}
    with get_duckdb_connection(read_only=True, database="working", project=project) as conn:
        found = conn.execute(
            "SELECT table_schema, table_name FROM information_schema.tables "
            "WHERE table_catalog = current_catalog()"
        ).fetchall()
        return set(found), provenance(conn)


def _made_since(
    project: Project,
    workflow: Workflow,
    steps: list[StepInfo],
    last: Mapping[str, Mapping[str, Any]],
) -> dict[tuple[str, str], datetime | None]:
    """When the newest attempt to make each declared table began."""
    begun = {step.name: last[step.name]["started_at"] for step in steps if step.name in last}
    # The ops of a job make its tables together.
    job = min((begun[s.name] for s in steps if s.kind == "op" and s.name in begun), default=None)
    made = {}
    for step in steps:
        at = job if step.kind in OP_KINDS else begun.get(step.name)
        for table in tables_of(project, workflow, step.name):
            made[table] = datetime.fromisoformat(at) if at else None
    return made


def _values(
    project: Project,
    workflow: Workflow,
    step: StepInfo,
    values: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any] | None:
    """What the step is given in this run; None for one that takes no parameters."""
    if step.kind == "op":
        config = op_config(project, workflow, values).get(step.name, {})
        # As the archive has it.
        scrubber = Scrubber(secrets_in(read_variables_of(workflow.folder)))
        return dict(scrubber.tree(copy.deepcopy(config)))
    if step.kind != "stage":
        return None
    merged = {**workflow.stage(step.name).parameters, **values.get(step.name, {})}
    return {name: plain(value) for name, value in merged.items()}


def newest_attempts(
    project: Project, workflow_id: str, steps: list[StepInfo]
) -> dict[str, dict[str, Any]]:
    """For each step what the archive has of its newest attempt, and as `run_id` of which run."""
    found: dict[str, dict[str, Any]] = {}
    restored_at = Layout.of(project).restored_at()
    wanted = {step.name for step in steps}
    for run in newest_first(project, workflow_id):
        # Runs of a workflow go one after the other, but may have begun to wait in another order.
        ended = run.data.get("ended_at")
        if ended and wanted <= found.keys() and all(ended < found[n]["started_at"] for n in wanted):
            break
        for name, step in run.steps.items():
            begun = step.get("started_at")
            if begun and (name not in found or begun > found[name]["started_at"]):
                found[name] = {**step, "run_id": run.run_id}
                if restored_at is not None and begun < restored_at:
                    found[name]["status"] = "undone by a restore"
    return found


def refuse_unpassed(project: Project, workflow: Workflow) -> dict[tuple[str, str], datetime | None]:
    """Refuse to publish what did not pass: each step before has to, on what the others made.

    Publish asks this itself, since it can be run alone: from the command line, and by a click on
    Dagster's pages.

    Returns:
        The tables that passed, as (schema, table), and since when none may have been written by
        hand.

    Raises:
        ConfigurationError: says of each step that stands against it why, and in which run.
    """
    steps = steps_of(project, workflow)
    last = newest_attempts(project, workflow.id, steps)
    against = []
    needed = _before(steps, names.PUBLISH) - {names.PUBLISH}
    # The ops of a job run together; one that another decided against has nothing to pass.
    ops = [last[step.name] for step in steps if step.kind == "op" and step.name in last]
    job_run = max(ops, key=lambda op: op["started_at"])["run_id"] if ops else None
    for step in steps:
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
            f"nothing is published of {workflow.id}: {'; '.join(against)}",
            hint=f"dataflow workflow run {workflow.id} --changed",
        )
    return _made_since(project, workflow, steps, last)


def _later(
    last: Mapping[str, Mapping[str, Any]], after: Iterable[str], attempt: Mapping[str, Any]
) -> str | None:
    """The first of the steps `after` that ended after `attempt` at a later one began."""
    for name in after:
        ended = last[name].get("ended_at") if name in last else None
        if ended is not None and ended > attempt["started_at"]:
            return name
    return None


def _before(steps: list[StepInfo], name: str) -> set[str]:
    found: set[str] = {name}
    for step in reversed(steps):
        if step.name in found:
            found.update(step.after)
    return found
