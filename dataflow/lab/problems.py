"""What is wrong with a notebook as it is in the editor, unsaved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tornado import web

from dataflow.errors import Problem
from dataflow.lab.handler import Handler, allowed, place_of
from dataflow.lab.place import Place, Places
from dataflow.validation.draft import examine_draft

MOST = 200  # problems that are shown
LARGEST = 4_000_000  # bytes of a request; outputs are not sent


def problems_view(places: Places, body: Mapping[str, Any]) -> dict[str, Any]:
    """What `workflow validate` would find about a stage once its notebook is saved.

    Args:
        places: the files that JupyterLab reaches.
        body: `path` of the notebook, and its `content`.

    Returns:
        `problems`, each with its `severity`, `error` or `warning`, and the path of its `file` if
        that is another one; None where the notebook is no stage.

    Raises:
        ConfigurationError: there is no project, or `content` is no notebook.
    """
    place = place_of(places, body.get("path"))
    found = examine_draft(place.project, place.file, body.get("content"))
    if found is None:
        return {"problems": None}
    severities = (("error", found.problems), ("warning", found.warnings))
    shown = [
        {"severity": severity, **_data(places, place, problem)}
        for severity, problems in severities
        for problem in problems
    ]
    # As one reads: what concerns the notebook as a whole, its cells, other files.
    shown.sort(key=lambda one: (one["file"] or "", one["cell"] or 0, one["line"] or 0))
    if len(shown) > MOST:
        text = f"there are {len(shown) - MOST:,} more problems"
        rest = {"severity": "warning", **_data(places, place, Problem(text, place.file))}
        shown = [*shown[:MOST], rest]
    return {"problems": shown}


def _data(places: Places, place: Place, problem: Problem) -> dict[str, Any]:
    here = problem.path in (None, place.file)
    return {
        **problem.to_json(place.project.root),
        "file": None if here or problem.path is None else places.path(problem.path),
    }


class ProblemsHandler(Handler):
    """`problems`: what is wrong with a notebook as it is in the editor."""

    @allowed
    async def post(self) -> None:
        """See `problems_view`."""
        if len(self.request.body) > LARGEST:
            raise web.HTTPError(413, "the notebook is too large to be checked while it is written")
        await self.answer(problems_view, self.places, self.body)
