"""New workflows and stages, and how a stage is wired to others: the panel's forms.

Each form is checked by the server while somebody writes into it; the same check precedes what it
writes.
"""

from __future__ import annotations

import datetime
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from dataflow.errors import ConfigurationError, Problem
from dataflow.lab.handler import Handler, allowed, place_of
from dataflow.lab.notebook import recent_runs, stage_of, workflow_of
from dataflow.lab.place import Place, Places
from dataflow.project import Project
from dataflow.runs.record import mapping
from dataflow.scaffold.stage import make_stage, plan_stage
from dataflow.scaffold.workflow import ABOUT, DEFAULT, make_workflow, plan_workflow
from dataflow.workflows.edit import Change, ConfigEditor, seen_hash
from dataflow.workflows.model import StageSection, Workflow
from dataflow.workflows.registry import get_workflow
from dataflow.workflows.schedule import in_words, next_time
from dataflow.workflows.settings import secret_mask
from dataflow.workflows.yaml_file import read_yaml

TIMES = 3  # of a schedule that are shown
MOST_UNDOS = 50

_NOTHING: dict[str, Any] = {"diff": [], "words": None, "next": []}
_writing = threading.Lock()  # of several requests one at a time
_undos: OrderedDict[Path, Change] = OrderedDict()  # the last change of each config.yaml


def settings_view(places: Places, path: str) -> dict[str, Any]:
    """What config.yaml says of a stage and of its workflow's schedule.

    Args:
        places: the files that JupyterLab reaches.
        path: a file in the workflow's folder.

    Returns:
        `stage` is None for files that are no stage; `seen` stands for the file as it is now.
    """
    place, workflow = _workflow_at(places, path)
    section = workflow.config.workflow
    seen = seen_hash(workflow.folder)
    view: dict[str, Any] = {
        "seen": seen,
        "config": places.path(workflow.folder / "config.yaml"),
        "schedule": section.schedule,
        "timezone": section.timezone,
        "can_undo": _undo_of(workflow.folder, seen) is not None,
        "stage": None,
    }
    stage = stage_of(place, workflow)
    if stage is None:
        return view
    configured = _configured(workflow, stage.notebook.name)
    declared = {str(table) for table in stage.writes}
    return {
        **view,
        "stage": stage.name,
        "stages": [one.name for one in workflow.stages if one is not stage],
        "writes": list(configured.writes),
        "undeclared": [
            table.removeprefix(f"{workflow.raw_schema}.")
            for table in _written(place.project, workflow.id, stage.name)
            if table not in declared
        ],
        "after": configured.after,  # None is the stage above
        "waits_for": list(stage.after),
    }


def change_view(places: Places, body: Mapping[str, Any]) -> dict[str, Any]:
    """What a form's changes make of config.yaml; they are written if the body says so.

    Args:
        places: the files that JupyterLab reaches.
        body: `path` and `seen`; of `schedule` with `timezone`, `writes`, and `after` what is to be
            changed; `write`: whether to write it.

    Returns:
        `problems` by field; without any, `diff` has the lines that change. `words` and `next` tell
        the schedule.
    """
    place, workflow = _workflow_at(places, body.get("path"))
    stage = stage_of(place, workflow)
    seen = _text(body, "seen")
    edits = _edits(body, stage.name if stage else None)
    problems: dict[str, list[dict[str, Any]]] = {}
    try:
        _planned(place.project, workflow.folder, seen, [])
    except ConfigurationError as error:
        return {**_NOTHING, "problems": {"": _problems(place.project, error)}}
    for field, edit in edits.items():
        try:
            _planned(place.project, workflow.folder, seen, [edit])
        except ConfigurationError as error:
            problems[field] = _problems(place.project, error)
    answer: dict[str, Any] = {**_NOTHING, "problems": problems}
    if schedule := _text(body, "schedule"):
        answer |= _told(schedule, _text(body, "timezone") or "UTC", problems)
    if problems:
        return answer
    with _writing:
        try:
            change = _planned(place.project, workflow.folder, seen, edits.values())
        except ConfigurationError as error:  # each is right, but not together
            return {**answer, "problems": {"": _problems(place.project, error)}}
        mask = secret_mask(place.project, read_yaml(change.path).data)
        answer["diff"] = [mask.text(line) for line in change.diff]
        if body.get("write") is True:
            change.write()
            _undos[change.path] = change
            _undos.move_to_end(change.path)
            if len(_undos) > MOST_UNDOS:
                _undos.popitem(last=False)
    return answer


def undo_view(places: Places, body: Mapping[str, Any]) -> dict[str, Any]:
    """Take the last change of a workflow's config.yaml back, if nothing came after it.

    Raises:
        ConfigurationError: something did.
    """
    place, _ = _workflow_at(places, body.get("path"))
    folder = place.file.parent
    with _writing:
        change = _undo_of(folder, seen_hash(folder))
        if change is None:
            raise ConfigurationError(
                "the change cannot be undone: config.yaml was changed since",
                hint="Look at config.yaml, or at its history in git.",
            )
        change.undone.write()
        del _undos[change.path]
    return {}


def new_workflow_view(places: Places, body: Mapping[str, Any]) -> dict[str, Any]:
    """What `dataflow workflow init` would make; it is made if the body says so.

    Args:
        places: the files that JupyterLab reaches.
        body: `path`: a file of the project; `name`, `template`; `write`: whether to make it.

    Returns:
        `problems`; without any, `files` from the project's root; when it is made, `notebook`: the
        first stage's path in JupyterLab.
    """
    project = place_of(places, body.get("path")).project
    name, template = _text(body, "name") or "", _text(body, "template") or DEFAULT
    with _writing:
        try:
            new = plan_workflow(project, name, template)
            files = make_workflow(new) if body.get("write") is True else new.files
        except ConfigurationError as error:
            return {"problems": _problems(project, error)}
    notebook = None
    if body.get("write") is True:
        notebook = places.path(get_workflow(project, new.workflow_id).stages[0].notebook)
    return {
        "problems": [],
        "files": [project.relative(file) for file in files],
        "notebook": notebook,
    }


def new_stage_view(places: Places, body: Mapping[str, Any]) -> dict[str, Any]:
    """What `dataflow workflow add-stage` would make; it is made if the body says so.

    Args:
        places: the files that JupyterLab reaches.
        body: `path`: a file of the project; `workflow`, `name`; `after` (a list, or null for the
            last stage) and `table`; `write`: whether to make it.

    Returns:
        `problems`; without any, `diff`: the lines of config.yaml that change; `config` and
        `notebook`: paths in JupyterLab.
    """
    project = place_of(places, body.get("path")).project
    after = _texts(body, "after") if body.get("after") is not None else None
    with _writing:
        try:
            new = plan_stage(
                project,
                _text(body, "workflow") or "",
                _text(body, "name") or "",
                after=after,
                table=_text(body, "table"),
            )
            if body.get("write") is True:
                make_stage(new)
        except ConfigurationError as error:
            return {"problems": _problems(project, error)}
    mask = secret_mask(project, read_yaml(new.change.path).data)
    return {
        "problems": [],
        "diff": [mask.text(line) for line in new.change.diff],
        "config": places.path(new.change.path),
        "notebook": places.path(new.notebook),
    }


def _workflow_at(places: Places, path: Any) -> tuple[Place, Workflow]:
    place = place_of(places, path)
    workflow = workflow_of(place)
    if workflow is None:
        raise ConfigurationError(f"`{path}` is in no workflow")
    return place, workflow


def _configured(workflow: Workflow, notebook: str) -> StageSection:
    """What config.yaml has of a stage; nothing but its name where it has no `stages:`."""
    sections = workflow.config.stages or []
    found = (section for section in sections if section.notebook == notebook)
    return next(found, StageSection(notebook=notebook))


def _written(project: Project, workflow_id: str, stage: str) -> list[str]:
    """The tables that a stage wrote, and left, when it last ran."""
    for run in recent_runs(project, workflow_id):
        writes = mapping(mapping(run.steps.get(stage)).get("writes"))
        if writes:
            return [table for table, facts in writes.items() if mapping(facts).get("columns")]
    return []


def _edits(body: Mapping[str, Any], stage: str | None) -> dict[str, Callable[[ConfigEditor], None]]:
    """What is to be changed, by the form's fields."""
    edits: dict[str, Callable[[ConfigEditor], None]] = {}
    if "schedule" in body:
        schedule = _text(body, "schedule")
        timezone = _text(body, "timezone") or ("" if "timezone" in body else None)
        edits["schedule"] = lambda editor: editor.set_schedule(schedule, timezone)
    if stage is not None and "writes" in body:
        writes = _texts(body, "writes")
        edits["writes"] = lambda editor: editor.set_writes(stage, writes)
    if stage is not None and "after" in body:
        after = _texts(body, "after") if body["after"] is not None else None
        edits["after"] = lambda editor: editor.set_after(stage, after)
    return edits


def _planned(project: Project, folder: Path, seen: str | None, edits: Any) -> Change:
    editor = ConfigEditor(project, folder, seen)
    for edit in edits:
        edit(editor)
    return editor.change()


def _told(schedule: str, timezone: str, problems: Mapping[str, Any]) -> dict[str, Any]:
    """A schedule in words, with its next times; nothing while it is wrong."""
    if "schedule" in problems:
        return {}
    times: list[str] = []
    moment: datetime.datetime | None = datetime.datetime.now(datetime.UTC)
    while len(times) < TIMES and moment and (moment := next_time(schedule, timezone, moment)):
        times.append(f"{moment:%a %d %b %Y, %H:%M}")
    return {"words": in_words(schedule, timezone), "next": times}


def _undo_of(folder: Path, seen: str | None) -> Change | None:
    """The last change of a config.yaml, while the file is as that left it."""
    change = _undos.get(folder / "config.yaml")
    return change if change is not None and change.seen == seen else None


def _problems(project: Project, error: ConfigurationError) -> list[dict[str, Any]]:
    """What is wrong: what the author did first, then the places that an error lists."""
    found: Sequence[Problem] = error.problems
    if not found or error.hint:
        found = [Problem(error.message, hint=error.hint), *found]
    return [problem.to_json(project.root) for problem in found]


def _text(body: Mapping[str, Any], name: str) -> str | None:
    """A text of the body, None when it is empty or not given."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"`{name}` has to be a text")
    return (value or "").strip() or None


def _texts(body: Mapping[str, Any], name: str) -> list[str]:
    value = body.get(name)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ConfigurationError(f"`{name}` has to be a list of texts")
    return cast("list[str]", value)


class SettingsHandler(Handler):
    """`wire/settings`: what config.yaml says of a stage; with a body, what is to change."""

    @allowed
    async def get(self) -> None:
        """See `settings_view`."""
        await self.answer(settings_view, self.places, self.get_query_argument("path"))

    @allowed
    async def post(self) -> None:
        """See `change_view`."""
        await self.answer(change_view, self.places, self.body)


class UndoHandler(Handler):
    """`wire/undo`: takes the last change back."""

    @allowed
    async def post(self) -> None:
        """See `undo_view`."""
        await self.answer(undo_view, self.places, self.body)


class NewWorkflowHandler(Handler):
    """`wire/workflow`: the templates; with a body, a new workflow."""

    @allowed
    async def get(self) -> None:
        """The templates, each with what it starts from."""
        self.finish({"templates": [{"name": name, "about": ABOUT[name]} for name in ABOUT]})

    @allowed
    async def post(self) -> None:
        """See `new_workflow_view`."""
        await self.answer(new_workflow_view, self.places, self.body)


class NewStageHandler(Handler):
    """`wire/stage`: a new stage."""

    @allowed
    async def post(self) -> None:
        """See `new_stage_view`."""
        await self.answer(new_stage_view, self.places, self.body)
