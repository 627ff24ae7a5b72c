"""Where the shown data comes from, and whether it is the newest: what `<Provenance/>` shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from dataflow.dashboard.export import shown_origins
from dataflow.project import Project
from dataflow.runs.record import (
    DIFFERENCE,
    ENDED_WELL,
    SHORT,
    SUPERSEDED,
    UNREADABLE,
    Run,
    folder_of,
    read_run,
    recorded_moment,
)
from dataflow.runs.search import Facts
from dataflow.services.pages import run_address
from dataflow.services.run_list import Card, RunLists
from dataflow.workflows.ids import slug_of

FILE = "provenance.json"  # below /data
MOST = 8  # parameters that are named


def provenance(lists: RunLists) -> dict[str, dict[str, Any]]:
    """For each workflow, by the first part of its pages' addresses, what made the data they show.

    Computed from the runs' records when it is asked for: a run that fails changes no data, and
    yet what pages say of it.

    Args:
        lists: how the project's workflows stand.

    Returns:
        `id`, `name`, `runs` (an address); `made`, None where nothing was published: the run with
        its parameters, checks, user and commit; `newer`, None where that run is the last one: how
        the last one ended, and why; `running`: the one that goes on; `late`: the time of the
        schedule that no good run followed. Times are in ISO form with a zone.
    """
    origins = shown_origins(lists.project)
    return {
        slug_of(card.id): _of_workflow(lists.project, card, origins.get(card.id))
        for card in lists.standing()
    }


def _of_workflow(project: Project, card: Card, origin: Mapping[str, Any] | None) -> dict[str, Any]:
    run_id = str(origin["run_id"]) if origin and origin.get("run_id") else None
    at = str(origin["finished_at"]) if origin and origin.get("finished_at") else None
    newer, running = _since(reversed(card.runs), run_id, at)
    late = card.fresh.missed if card.fresh is not None else None
    return {
        "id": card.id,
        "name": card.name,
        "runs": card.address,
        "made": None if origin is None else {"at": at, **_made(project, card.id, run_id)},
        "newer": newer and _ended(newer),
        "running": running and {"url": run_address(running), "at": running.started_at.isoformat()},
        # A run that failed says more than that its data is late, and one that goes on may yet come.
        "late": None if late is None or newer or running else late.isoformat(),
    }


def _since(
    runs: Iterable[Facts], run_id: str | None, at: str | None
) -> tuple[Facts | None, Facts | None]:
    """The last run after the shown one that has ended without being shown, and one that goes on."""
    running = None
    published = recorded_moment(at)
    for run in runs:
        if run.run_id == run_id or (published is not None and run.started_at <= published):
            break
        if run.goes_on:
            running = running or run
        # A good run that is not shown was one of some steps only.
        elif run.status not in (*ENDED_WELL, SUPERSEDED):
            return run, running
    return None, running


def _ended(run: Facts) -> dict[str, Any]:
    where = (
        f"{run_address(run)}{quote(run.notebook.rpartition('.')[0])}.html" if run.notebook else None
    )
    return {
        "status": run.status,
        "url": run_address(run),
        "at": run.started_at.isoformat(),
        "why": run.remark or None,
        "notebook": where,
    }


def _made(project: Project, workflow_id: str, run_id: str | None) -> dict[str, Any]:
    """The run whose data is shown; of one that was removed its id only."""
    if run_id is None:
        return {"run": None}
    folder = folder_of(project.runs / workflow_id, run_id)
    run = read_run(folder) if folder is not None else None
    made = {"run": run_id[:SHORT], "url": f"/runs/{quote(workflow_id)}/{quote(run_id)}/"}
    try:
        return made | (_details(run) if run is not None else {})
    except UNREADABLE:
        return made  # somebody wrote something else into its record


def _details(run: Run) -> dict[str, Any]:
    checks = [check for step in run.steps.values() for check in step.get("checks") or []]
    git = run.data.get("git") or {}
    chosen = [
        f"{name} = {value}"
        for values in (run.data.get("parameters") or {}).values()
        for name, value in values.items()
    ]
    chosen = list(dict.fromkeys(chosen))
    more = len(chosen) - MOST
    url = run_address(run)
    has_difference = (run.folder / DIFFERENCE).is_file()
    return {
        "url": url,
        "trigger": run.data.get("trigger"),
        "user": run.data.get("user"),
        "commit": str(git.get("commit") or "")[:SHORT] or None,
        "dirty": bool(git.get("dirty")),
        "difference": f"{url}{DIFFERENCE}" if has_difference else None,
        "parameters": [*chosen[:MOST], *([f"{more} more"] if more > 0 else [])],
        "checks": {
            "passed": sum(bool(check.get("passed")) for check in checks),
            "all": len(checks),
        },
    }
