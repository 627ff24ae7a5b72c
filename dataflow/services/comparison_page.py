"""The page that compares a run with another one of its workflow; in JupyterLab a stage of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from dataflow.base.words import seconds_text
from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.review.comparison import (
    OTHER_FILES,
    RunComparison,
    StageDiff,
    compare_runs,
    run_to_compare,
)
from dataflow.review.text import Line, TextDiff
from dataflow.runs.data import DATA_FILE
from dataflow.runs.record import SHORT, Run, find_run, newest_first
from dataflow.services.pages import FRAME_POLICY, page_response, render, run_address

To = Callable[[str], str]

MOST = 50  # other runs to choose from
MOST_IMAGES = 20_000_000  # bytes of images on a page; further ones are on the notebooks' pages
MOST_CELLS = 100  # that are shown with what differs in them; of further ones the first line

# How a page calls what it compares.
OF_RUNS = {
    "before": "Before",
    "after": "After",
    "earlier": "in the earlier run",
    "later": "in the later run",
}
OF_A_RUN_AND_HERE = {
    "before": "Run",
    "after": "This notebook",
    "earlier": "in the run",
    "later": "here",
}


def comparison_view(project: Project, run: Run, request: Request) -> Response:
    """`/runs/<workflow>/<run>/compare`: with the last good run before it, or `?with=ID`.

    Args:
        project: the project.
        run: the run.
        request: its query may have `with`, the beginning of another run's id, and `all=1`, which
            shows what is noise, too.
    """
    name, everything = request.query_params.get("with", ""), "all" in request.query_params
    comparison, error, status = None, None, 200
    try:
        other = find_run(project, name) if name and name != "last" else None
        other = run_to_compare(project, run, other)
        comparison = compare_runs(project, run, other, everything=everything)
    except ConfigurationError as found:
        error, status = found.message, 404 if name else 200
    workflow = run.folder.parent.name
    return page_response(
        "compare.html",
        status=status,
        title=f"{run.workflow_id}: run {run.run_id[:SHORT]} compared",
        crumbs=[
            (workflow, f"/runs/{quote(workflow)}/"),
            (run.run_id[:SHORT], run_address(run)),
        ],
        run=run,
        to=f"/runs/{quote(workflow)}/{{}}".format,
        others=_others(project, run),
        chosen=_chosen(comparison, run),
        found=comparison,
        stages=_stages(comparison),
        has_data=comparison is not None and _has_data(run.folder.parent, comparison),
        everything=everything,
        error=error,
        words=OF_RUNS,
        **_helpers(),
    )


def stage_comparison(
    runs: Path, comparison: RunComparison, stage: str, *, to: To, theme: str | None
) -> str:
    """What differs in a stage, then in the rest of the runs, as HTML for a frame in JupyterLab.

    Args:
        runs: the folder of the workflow's runs.
        comparison: of two runs, or of a run and a notebook of none.
        stage: the stage.
        to: the link for an address below that folder.
        theme: `light` or `dark`; None for what the browser prefers.
    """
    stages = _stages(comparison)
    of_runs = bool(comparison.after.run_id)
    return render(
        "lab_compare.html",
        title=f"{stage}: what differs",
        in_lab=True,
        theme=theme,
        policy=FRAME_POLICY,
        stage=stage,
        to=to,
        found=comparison,
        stages=[one for one in stages if one.step == stage],
        other_stages=[one for one in stages if one.step != stage],
        has_data=of_runs and _has_data(runs, comparison),
        words=OF_RUNS if of_runs else OF_A_RUN_AND_HERE,
        **_helpers(),
    )


def _helpers() -> Mapping[str, Any]:
    """What `comparison.html` calls."""
    return {
        "seconds": seconds_text,
        "shown": _shown,
        "other_files": OTHER_FILES,
        "lines": _beside,
        "images": _Images(),
        "most_cells": MOST_CELLS,
    }


def _has_data(runs: Path, comparison: RunComparison) -> bool:
    """Whether the later run's data was compared with what was published before."""
    return (runs / comparison.after.folder / DATA_FILE).is_file()


def _others(project: Project, run: Run) -> list[Run]:
    """The other runs that it can be compared with, the newest first."""
    runs = newest_first(project, run.folder.parent.name)
    return list(itertools.islice((one for one in runs if one.run_id != run.run_id), MOST))


def _chosen(comparison: RunComparison | None, run: Run) -> str:
    """The id of the run that this one is compared with."""
    if comparison is None:
        return ""
    both = (comparison.before.run_id, comparison.after.run_id)
    return both[0] if both[1] == run.run_id else both[1]


def _stages(comparison: RunComparison | None) -> list[StageDiff]:
    """The stages about whose notebooks there is something to say."""
    stages = comparison.stages if comparison else ()
    return [one for one in stages if one.note or one.log or (one.notebook and one.notebook.cells)]


def _shown(value: Any) -> str:
    """A parameter's or a figure's value for people."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "none" if value is None else str(value)


class _Images:
    """Counts the images of a page, so that its size stays within limits."""

    def __init__(self) -> None:
        self._left = MOST_IMAGES

    def fit(self, *images: Any) -> bool:
        """Whether these still fit."""
        self._left -= sum(image.size for image in images if image)
        return self._left >= 0


Part = tuple[Line, str, str, str]  # a line: what is before its changed part, that part, the rest


def _beside(difference: TextDiff) -> Iterator[tuple[Part | None, Part | None]]:
    """The lines before, each beside the one after that it belongs to; None where there is none.

    Lines of a change that has as many before as after belong together.
    """
    for kind, group in itertools.groupby(difference.lines, key=lambda line: line.mark in "-+"):
        lines = list(group)
        if not kind:
            for line in lines:
                part = (line, line.text, "", "")
                yield part, part
            continue
        old = [line for line in lines if line.mark == "-"]
        new = [line for line in lines if line.mark == "+"]
        if len(old) == len(new):
            for one, other in zip(old, new, strict=True):
                before, after = _parts(one.text, other.text)
                yield (one, *before), (other, *after)
            continue
        sides = ([(line, line.text, "", "") for line in side] for side in (old, new))
        yield from itertools.zip_longest(*sides)


Parts = tuple[str, str, str]


def _parts(old: str, new: str) -> tuple[Parts, Parts]:
    """Two lines in three parts each, of which the middle one differs; all of it if most does."""
    first = 0
    shortest = min(len(old), len(new))
    while first < shortest and old[first] == new[first]:
        first += 1
    last = 0
    while last < shortest - first and old[-1 - last] == new[-1 - last]:
        last += 1
    # Whole words and numbers are marked.
    while first and (_is_within(old, first) or _is_within(new, first)):
        first -= 1
    while last and (_is_within(old, len(old) - last) or _is_within(new, len(new) - last)):
        last -= 1
    if first + last < shortest // 3:
        return (old, "", ""), (new, "", "")
    one, other = (
        (text[:first], text[first : len(text) - last], text[len(text) - last :])
        for text in (old, new)
    )
    return one, other


def _is_within(text: str, at: int) -> bool:
    """Whether a place in a text is within a word or number."""
    around = text[max(0, at - 1) : at + 1]
    return len(around) == 2 and all(letter.isalnum() or letter in "_.," for letter in around)
