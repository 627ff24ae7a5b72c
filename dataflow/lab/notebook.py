"""What the panel shows of a notebook: its workflow's steps, its parameters, its runs."""

from __future__ import annotations

import itertools
import typing
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from dataflow.dashboard.paths import has_dashboard
from dataflow.errors import ConfigurationError, DataflowError, Problem, WarehouseLocked
from dataflow.lab.archive import archive_path
from dataflow.lab.handler import Handler, allowed, place_of
from dataflow.lab.place import Place, Places, variables_of
from dataflow.lab.started import starting
from dataflow.lab.watch import WATCH
from dataflow.orchestration.dagster_names import PUBLISH
from dataflow.orchestration.kinds import steps_of
from dataflow.orchestration.options import RunOptions
from dataflow.orchestration.run import RunPlan, plan_run
from dataflow.orchestration.selection import stale_steps
from dataflow.project import Project
from dataflow.runs.record import (
    GOING_ON,
    LEFT_OUT,
    NOT_RUN,
    SHORT,
    Run,
    mapping,
    newest_first,
    seconds_so_far,
)
from dataflow.stages.notebook import declared_parameters
from dataflow.stages.parameters import Parameter
from dataflow.stages.result import plain
from dataflow.variables import variables_in
from dataflow.workflows.model import Stage, Workflow
from dataflow.workflows.registry import get_workflow, read_workflows

MOST = 20  # runs in the list
LOOKED_AT = 200  # runs among which they are found
LOCK_SECONDS = 1.0  # to wait for the warehouse: somebody looks at the panel
SCOPES = ("only", "start", "all", "changed")


def workflow_of(place: Place) -> Workflow | None:
    """The workflow in whose folder a file lies; None for other files.

    Raises:
        ConfigurationError: its configuration is not valid.
    """
    folder = place.workflow_id
    if folder is None or not (place.project.notebooks / folder / "config.yaml").exists():
        return None
    return get_workflow(place.project, folder)


def stage_of(place: Place, workflow: Workflow) -> Stage | None:
    """The stage whose notebook a file is; None for other files."""
    return next((stage for stage in workflow.stages if stage.notebook == place.file), None)


def recent_runs(project: Project, workflow_id: str) -> Iterator[Run]:
    """The runs of a workflow among which the panel looks, the newest first."""
    return itertools.islice(newest_first(project, workflow_id), LOOKED_AT)


def did(run: Run, step: str) -> bool:
    """Whether a run did a step, or is about to."""
    status = mapping(run.steps.get(step)).get("status")
    return status not in (None, LEFT_OUT, NOT_RUN)


def notebook_view(places: Places, path: str) -> dict[str, Any]:
    """Everything that the panel shows of a file, most of it of a stage's notebook.

    Args:
        places: the files that JupyterLab reaches.
        path: the file's path there.

    Returns:
        `project` is None where there is none; `workflow`, and all that follows, for files of no
        workflow; `stage` for files that are no stage.
    """
    place = places.find(path)
    if place is None:
        return {"project": None}
    view: dict[str, Any] = {
        "project": {"home": place.home, "name": place.project.root.name},
        "workflows": _workflows(places, place.project),
        "workflow": None,
    }
    try:
        workflow = workflow_of(place)
    except ConfigurationError as error:
        problems = error.problems or [Problem(error.message, hint=error.hint)]
        root = place.project.root
        return {**view, "broken": [problem.to_json(root) for problem in problems]}
    if workflow is None:
        return view
    stage = stage_of(place, workflow)
    runs = list(recent_runs(place.project, workflow.id))
    return {
        **view,
        "workflow": workflow.id,
        "title": workflow.name,
        "schedule": workflow.config.workflow.schedule_in_words,
        # Pages of the dashboards' server; `dataflow/<tile>` leads to them.
        "pages": {
            "dashboards": f"/{workflow.slug}" if has_dashboard(place.project, workflow.id) else None,
            "runs": f"/runs/{quote(workflow.id)}/",
        },
        "config": places.path(workflow.folder / "config.yaml"),
        "stage": stage.name if stage else None,
        "steps": _steps(places, place, workflow, runs),
        "fields": _fields(stage) if stage else [],
        "going_on": starting(place.project, workflow.id)
        or next((run.run_id for run in runs if run.status in GOING_ON), None),
        "runs": [
            _run(place.home, run, stage.name if stage else None)
            for run in itertools.islice((r for r in runs if stage is None or did(r, stage.name)), MOST)
        ],
    }  # fmt: skip


def _workflows(places: Places, project: Project) -> list[dict[str, Any]]:
    """The project's workflows, each with its stages' notebooks as JupyterLab names them."""
    return [
        {
            "id": found.id,
            "title": found.workflow.name if found.workflow else found.id,
            "stages": [
                {"name": stage.name, "path": places.path(stage.notebook)}
                for stage in (found.workflow.stages if found.workflow else ())
            ],
        }
        for found in read_workflows(project)
    ]


def _steps(
    places: Places, place: Place, workflow: Workflow, runs: list[Run]
) -> list[dict[str, Any]]:
    """The steps of the workflow, each as it came out in the last run that did it."""
    steps = steps_of(place.project, workflow)
    notebooks = {stage.name: places.path(stage.notebook) for stage in workflow.stages}
    shown = []
    for step in steps.all:
        run = next((run for run in runs if did(run, step.name)), None)
        data = run.steps[step.name] if run else {}
        shown.append(
            {
                "name": step.name,
                "kind": step.kind,
                "after": list(step.after),
                "source": notebooks.get(step.name),
                **_done(place.home, run, data),
            }
        )
    return shown


def stale_view(places: Places, path: str) -> dict[str, Any]:
    """The steps of a file's workflow that changed since they last succeeded.

    Apart from the rest, since it may take seconds: dbt reads models that are new.

    Args:
        places: the files that JupyterLab reaches.
        path: the file's path there.

    Returns:
        `stale`: their names; None while that cannot be known, as a run is going on.
    """
    place = place_of(places, path)
    workflow = workflow_of(place)
    if workflow is None:
        return {"stale": None}
    runs = itertools.islice(newest_first(place.project, workflow.id), MOST)
    if any(run.status in GOING_ON for run in runs):
        return {"stale": None}
    with variables_of(place.project), suppress(WarehouseLocked):
        steps = steps_of(place.project, workflow)
        return {"stale": sorted(stale_steps(steps, {}, timeout=LOCK_SECONDS))}
    return {"stale": None}


def _done(home: str, run: Run | None, data: Mapping[str, Any]) -> dict[str, Any]:
    """What became of a step in a run."""
    error = mapping(data.get("error"))
    checks = [mapping(check) for check in data.get("checks") or []]
    return {
        "run": run.run_id if run else None,
        "status": data.get("status"),
        "started_at": data.get("started_at"),
        "ended_at": data.get("ended_at"),
        "seconds": seconds_so_far(data),
        "rows": plain(mapping(data.get("rows"))),
        "error": error.get("message") or error.get("name"),
        "cell": error.get("cell"),
        "failed_checks": [
            {"name": str(check.get("name")), "severity": check.get("severity")}
            for check in checks
            if not check.get("passed")
        ],
        "executed": archive_path(home, run, data["notebook"]) if run and data.get("notebook") else None,
    }  # fmt: skip


def _run(home: str, run: Run, stage: str | None) -> dict[str, Any]:
    """A run as the list has it: how its stage came out, or the whole of it."""
    data = run.steps.get(stage, {}) if stage else {}
    shown = {
        "short": run.run_id[:SHORT],
        "result": run.status,  # of the whole run
        "trigger": run.data.get("trigger"),
        "user": run.data.get("user"),
        "values": plain(mapping(data.get("values"))),
        **_done(home, run, data),
    }
    if stage is None:
        shown |= {"status": run.status, "seconds": run.seconds}
    return shown | {"started_at": data.get("started_at") or run.data["started_at"]}


def _fields(stage: Stage) -> list[dict[str, Any]]:
    """The stage's parameters as fields of a form; none while its notebook cannot be read."""
    try:
        declared = declared_parameters(stage.notebook).parameters
    except ConfigurationError:
        return []
    return [field(parameter, stage.parameters) for parameter in declared.values()]


def field(parameter: Parameter, configured: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter as a field of a form. What is written into it is read as on the command line.

    Args:
        parameter: the parameter.
        configured: the values that config.yaml gives the stage.

    Returns:
        `widget` is text, choice, number, date, datetime or yaml; `otherwise` is the value when the
        field stays empty, and `origin` whose it is.
    """
    kind, name = parameter.type, parameter.name
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    members = typing.get_args(kind)
    nullable = type(None) in members
    if nullable and len(members) == 2:  # `float | None`
        kind = next(member for member in members if member is not type(None))
    origin = typing.get_origin(kind)
    options: list[str] = []
    widget = {int: "number", float: "number"}.get(kind, getattr(kind, "__name__", ""))
    if origin is typing.Literal:
        widget, options = "choice", [str(plain(value)) for value in typing.get_args(kind)]
    elif kind is bool:
        widget, options = "choice", ["true", "false"]
    elif origin in (list, dict) or kind in (list, dict):
        widget = "yaml"
    elif widget not in ("number", "date", "datetime"):
        widget = "text"
    given = configured.get(name, None if parameter.required else parameter.default)
    return {
        "name": name,
        "annotation": parameter.annotation or getattr(parameter.type, "__name__", "any"),
        "help": parameter.help,
        "widget": widget,
        "choices": options,
        "nullable": nullable,
        "required": parameter.required and name not in configured,
        # The name of a variable is shown, the value of a secret is not.
        "secret": parameter.secret,
        "otherwise": None if parameter.secret and not any(variables_in(given)) else plain(given),
        "origin": "config.yaml" if name in configured else "the notebook",
    }


def options_of(place: Place, body: Mapping[str, Any]) -> tuple[Workflow, RunOptions]:
    """The workflow, and what a run of it is asked to do by the panel's form.

    Args:
        place: the notebook.
        body: `parameters` of its stage, as text by name; `scope`: one of `SCOPES`.

    Raises:
        ConfigurationError: it is no stage, or the request is not a form's.
    """
    workflow = workflow_of(place)
    stage = stage_of(place, workflow) if workflow else None
    scope, given = body.get("scope", "only"), body.get("parameters") or {}
    if workflow is None or (stage is None and scope in ("only", "start")):
        raise ConfigurationError(f"{place.project.relative(place.file)} is not a stage")
    if scope not in SCOPES or not isinstance(given, dict):
        raise ConfigurationError("this is not what a run can be asked to do")
    prefix = f"{stage.name}." if stage else ""
    return workflow, RunOptions(
        {f"{prefix}{name}": value for name, value in given.items()},
        only=stage.name if stage and scope == "only" else None,
        start=stage.name if stage and scope == "start" else None,
        changed=scope == "changed",
        trigger="jupyterlab",
    )


def plan_of(project: Project, workflow: Workflow, options: RunOptions) -> RunPlan:
    """What a run would do; see `plan_run`."""
    with variables_of(project):
        return plan_run(
            project,
            workflow,
            options.parameters,
            only=options.only,
            start=options.start,
            changed=options.changed,
            lock_timeout=LOCK_SECONDS,
        )


def plan_view(places: Places, body: Mapping[str, Any]) -> dict[str, Any]:
    """What a run would do, and what is wrong with its values; nothing is run.

    Args:
        places: the files that JupyterLab reaches.
        body: `path` of the notebook, and what `options_of` takes.
    """
    place = place_of(places, body.get("path"))
    nothing: dict[str, Any] = {"steps": [], "publishes": False, "builds_pages": False}
    try:
        plan = plan_of(place.project, *options_of(place, body))
    except DataflowError as error:
        problems = error.problems if isinstance(error, ConfigurationError) else []
        found = problems or [Problem(error.message, hint=error.hint)]
        return {**nothing, "problems": [one.to_json(place.project.root) for one in found]}
    steps = [step.name for step in plan.steps.all]
    chosen = steps if plan.chosen is None else plan.chosen
    publishes = PUBLISH in chosen
    return {
        "steps": chosen,
        "publishes": publishes,
        "review": publishes and plan.steps.workflow.config.workflow.review is not None,
        "builds_pages": plan.builds_pages,
        "problems": [],
    }


class NotebookHandler(Handler):
    """`notebook`: what the panel shows of a file."""

    @allowed
    async def get(self) -> None:
        """See `notebook_view`; its project is watched from now on."""
        path = self.get_query_argument("path")
        place = await self.in_thread(self.places.find, path)
        if place is not None:
            self.settings[WATCH].asked(place)
        await self.answer(notebook_view, self.places, path)


class StaleHandler(Handler):
    """`stale`: what changed since it last succeeded."""

    @allowed
    async def get(self) -> None:
        """See `stale_view`."""
        await self.answer(stale_view, self.places, self.get_query_argument("path"))


class PlanHandler(Handler):
    """`plan`: what a run would do."""

    @allowed
    async def post(self) -> None:
        """See `plan_view`."""
        await self.answer(plan_view, self.places, self.body)
