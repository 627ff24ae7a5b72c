"""What JupyterLab shows beside a notebook: a comparison, its stage's tables; and trying again."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from dataflow.base.words import first_line, size_text
from dataflow.errors import ConfigurationError
from dataflow.lab.handler import Handler, allowed, place_of
from dataflow.lab.notebook import did, recent_runs, stage_of, workflow_of
from dataflow.lab.place import Place, Places
from dataflow.project import Project
from dataflow.review.comparison import RunComparison, compare_runs, run_to_compare
from dataflow.review.editor import compare_with_run
from dataflow.review.notebooks import MOST_BYTES
from dataflow.runs.record import (
    SHORT,
    UNDER_WAY,
    Run,
    folder_of,
    mapping,
    read_run,
)
from dataflow.services.comparison_page import stage_comparison
from dataflow.services.review import asked_before_trying_again, try_again
from dataflow.services.tables_page import stage_tables
from dataflow.stages.notebook import Stage, parse_notebook, read_notebook

MOST = 30  # runs to choose from
LAST, GOOD = "last", "good"  # instead of a run's id
THEMES = ("light", "dark")
ANSWERS = ("replace", "keep")  # what becomes of the development copy
LOCK_SECONDS = 10.0  # to wait for the warehouse when somebody tries again
_ID = re.compile(r"[0-9A-Za-z-]+")


def comparison_view(places: Places, body: Mapping[str, Any], base: str) -> dict[str, Any]:
    """What differs between a notebook as it is in the editor, or a run of it, and another run.

    Args:
        places: the files that JupyterLab reaches.
        body: `path` of the notebook; `before`: a run's id, `last`, or `good`, which is the last
            that succeeded (before `after`); `after`: a run's id, or nothing for the notebook;
            `notebook`: what is in the editor, by default what is saved; `everything`: with noise;
            `theme`.
        base: the address of Jupyter's server.

    Returns:
        The page as `html`; what was compared, by the runs' ids; and `runs` to choose from.

    Raises:
        ConfigurationError: it is no stage, there is no such run, or a notebook cannot be read.
    """
    place, stage = _stage(places, body)
    runs = list(itertools.islice(_executed(place.project, stage), MOST))
    after = body.get("after")
    if after:
        comparison = _of_runs(place.project, stage, runs, body)
    else:
        comparison = _of_notebook(place.project, stage, runs, body)
    html = stage_comparison(
        place.project.runs / stage.workflow_id,
        comparison,
        stage.name,
        to=_door(base, place, stage.workflow_id),
        theme=_theme(body),
    )
    return {
        "html": html,
        "stage": stage.name,
        "before": comparison.before.run_id,
        "after": comparison.after.run_id or None,
        "runs": [_option(run, stage.name) for run in runs],
    }


def tables_view(places: Places, body: Mapping[str, Any], base: str) -> dict[str, Any]:
    """The tables of a stage.

    Args:
        places: the files that JupyterLab reaches.
        body: `path` of the notebook, and `theme`.
        base: the address of Jupyter's server.

    Returns:
        The page as `html`.

    Raises:
        ConfigurationError: it is no stage.
        WarehouseError: the warehouse cannot be read.
    """
    place, stage = _stage(places, body)
    run = next(_executed(place.project, stage), None)
    to = _door(base, place, stage.workflow_id)
    html = stage_tables(place.project, stage, run, to=to, theme=_theme(body))
    return {"html": html, "stage": stage.name}


def again_view(places: Places, body: Mapping[str, Any]) -> dict[str, Any]:
    """Try a run's stage again: a copy of its notebook with the run's values, and the data.

    Args:
        places: the files that JupyterLab reaches.
        body: `path` of the notebook; `run`: its id, or `last`; `answer`: one of `ANSWERS`.

    Returns:
        `question`, when there is data to lose and no answer; else the copy's `path`, and `notes`.

    Raises:
        DataflowError: it cannot be tried again; says why.
    """
    place, stage = _stage(places, body)
    runs = list(itertools.islice(_executed(place.project, stage), MOST))
    run = _chosen(place.project, stage, runs, body.get("run") or LAST)
    run.chosen_stage(stage.name)
    answer = body.get("answer")
    if answer not in ANSWERS:
        answer = None
    if answer is None and (question := asked_before_trying_again(place.project)):
        return {"question": question, "run": run.run_id}
    copy = try_again(
        place.project, run, stage.name, keep_data=answer == "keep", timeout=LOCK_SECONDS
    )
    return {
        "question": None,
        "run": run.run_id,
        "path": places.path(copy.path),
        "notes": list(copy.notes),
    }


def _stage(places: Places, body: Mapping[str, Any]) -> tuple[Place, Stage]:
    place = place_of(places, body.get("path"))
    workflow = workflow_of(place)
    stage = stage_of(place, workflow) if workflow else None
    if stage is None:
        raise ConfigurationError(
            f"{place.project.relative(place.file)} is not a stage of a workflow",
            hint="Open the notebook of a stage.",
        )
    return place, stage


def _executed(project: Project, stage: Stage) -> Iterator[Run]:
    """The runs that executed a stage, to its end or to where it failed; the newest first."""
    for run in recent_runs(project, stage.workflow_id):
        step = mapping(run.steps.get(stage.name))
        ended = did(run, stage.name) and step["status"] not in ("pending", *UNDER_WAY)
        if ended and step.get("notebook"):
            yield run


def _chosen(project: Project, stage: Stage, runs: list[Run], name: Any) -> Run:
    """The run that is asked for by its id, or as the last one, or the last good one."""
    if name in (LAST, GOOD):
        found = (run for run in runs if name == LAST or run.status == "succeeded")
        if (run := next(found, None)) is None:
            raise ConfigurationError(
                f"no run of {stage.name} succeeded" if runs else f"{stage.name} has not run yet",
                hint="Compare it with its last run." if runs else "Run it as a stage first.",
            )
        return run
    if isinstance(name, str) and _ID.fullmatch(name):
        folder = folder_of(project.runs / stage.workflow_id, name)
        if folder is not None and (run := read_run(folder)) is not None:
            return run
    raise ConfigurationError(
        f"there is no run `{str(name)[:SHORT]}` of {stage.workflow_id}", hint="Choose another one."
    )


def _of_runs(
    project: Project, stage: Stage, runs: list[Run], body: Mapping[str, Any]
) -> RunComparison:
    after = _chosen(project, stage, runs, body["after"])
    before, other = body.get("before") or GOOD, None
    if before == LAST:
        other = next((run for run in runs if run.started_at < after.started_at), None)
    elif before != GOOD:
        other = _chosen(project, stage, runs, before)
    other = run_to_compare(project, after, other)
    return compare_runs(project, after, other, everything=bool(body.get("everything")))


def _of_notebook(
    project: Project, stage: Stage, runs: list[Run], body: Mapping[str, Any]
) -> RunComparison:
    run = _chosen(project, stage, runs, body.get("before") or LAST)
    path, content = stage.notebook, body.get("notebook")
    everything = bool(body.get("everything"))
    if content is None:
        return compare_with_run(project, run, path, read_notebook(path), everything=everything)
    try:
        notebook = parse_notebook(json.dumps(content), path)
        return compare_with_run(project, run, path, notebook, everything=everything)
    except (AttributeError, KeyError, RecursionError, TypeError) as error:
        nested = isinstance(error, RecursionError)
        if reason := "nested too deep" if nested else _invalid(content):
            raise ConfigurationError(
                f"not a valid notebook: {reason}",
                where=path.name,
                hint="Save it, and open it again.",
            ) from None
        raise error from None


def _invalid(content: Any) -> str | None:
    """What is wrong with a notebook by its format; nbformat reads many that are not valid."""
    import nbformat

    try:
        nbformat.validate(content)
    except Exception as error:  # nbformat raises half a dozen kinds
        return first_line(error)[:200]
    return None


def _theme(body: Mapping[str, Any]) -> str | None:
    return body["theme"] if body.get("theme") in THEMES else None


def _door(base: str, place: Place, workflow_id: str) -> Any:
    """Makes links to the runs' pages, by the tile that starts the server that has them."""

    def to(address: str) -> str:
        path, hash_mark, part = address.partition("#")
        query = urlencode({"home": place.home, "page": f"/runs/{quote(workflow_id)}/{path}"})
        return f"{base}dataflow/runs?{query}{hash_mark}{part}"

    return to


def _option(run: Run, stage: str) -> dict[str, Any]:
    """A run to choose."""
    return {
        "run": run.run_id,
        "short": run.run_id[:SHORT],
        "status": run.steps[stage].get("status"),
        "result": run.status,
        "started_at": run.data["started_at"],
    }


class ComparisonHandler(Handler):
    """`compare`: a comparison as a page."""

    @allowed
    async def post(self) -> None:
        """See `comparison_view`."""
        await self.answer(self._compared)

    def _compared(self) -> dict[str, Any]:
        if len(self.request.body) > MOST_BYTES:
            size, most = size_text(len(self.request.body)), size_text(MOST_BYTES)
            raise ConfigurationError(
                f"the notebook has {size}; it is compared up to {most}",
                hint="Clear outputs that are large.",
            )
        return comparison_view(self.places, self.body, self.base_url)


class TablesHandler(Handler):
    """`tables`: the tables of a stage as a page."""

    @allowed
    async def post(self) -> None:
        """See `tables_view`."""
        await self.answer(tables_view, self.places, self.body, self.base_url)


class AgainHandler(Handler):
    """`again`: a run's stage to be tried again."""

    @allowed
    async def post(self) -> None:
        """See `again_view`."""
        await self.answer(again_view, self.places, self.body)
