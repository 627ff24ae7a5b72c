"""Large notebooks: many cells, much output, and the page that is made of one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import plain
import ways
import workflow_runs
from harness import Measure, Place, Ratio, Ways, case, command, inside, timed

CHAPTER = "Notebooks"
COUNTS = (10, 100, 400)


@case(
    CHAPTER,
    "A notebook of many cells, as a command",
    *(
        Ratio(f"{count} cells", f"DATAFLOW, {count} cells", f"`papermill`, {count} cells", goal)
        for count, goal in zip(COUNTS, (None, None, 0.15), strict=True)
    ),
    pairs=3,
)
def many_cells(place: Place) -> Iterator[Ways]:
    """Trivial cells: what each one costs by itself."""
    found: dict[str, Measure] = {}
    for count in COUNTS:
        cells = [f"x{number} = {number}" for number in range(place.size(count, count // 10))]
        both = _both(place.folder, f"cells{count}", cells)
        found |= {f"{way}, {count} cells": measure for way, measure in both.items()}
    yield found


@case(
    CHAPTER,
    "A notebook that prints 50 MB, as a command",
    Ratio("50 MB of output", "DATAFLOW", "`papermill`"),
    pairs=3,
)
def much_output(place: Place) -> Iterator[Ways]:
    """Lines of a hundred characters. DATAFLOW keeps the first and the last megabyte of them."""
    lines = place.size(500_000, 5_000)
    yield _both(place.folder, "chatty", [f"for n in range({lines}):\n    print('x' * 99)"])


def _both(root: Path, name: str, cells: list[str]) -> dict[str, Measure]:
    workflow_runs.workflow(root, name, {"notebook": cells})
    notebook = root / "notebooks" / name / "notebook.ipynb"
    words = [*plain.PYTHON, "papermill", str(notebook), f"{name}.ipynb", "--no-progress-bar"]
    return {
        "DATAFLOW": workflow_runs.run_of(root, name),
        "`papermill`": command(words, root, ways.environment()),
    }


@case(
    CHAPTER,
    "The page of an executed notebook with plots and tables",
    Ratio("page of a notebook", "DATAFLOW", "nbconvert's `HTMLExporter`"),
)
def page(place: Place) -> Iterator[Ways]:
    """The notebook `explore` of the example, in a process that has imported both."""
    project, environment = plain.earthquakes(place, "dataflow")
    (notebook,) = project.runs.glob("earthquakes/2*/explore.ipynb")
    with inside(place.folder, environment, _pages, notebook) as both:
        yield both


def _pages(notebook: Path) -> Ways:
    from nbconvert import HTMLExporter

    from dataflow.runs.html import write_page

    def export() -> None:
        text, _ = HTMLExporter().from_filename(str(notebook))
        Path("exported.html").write_text(text, "utf-8")

    return {
        "DATAFLOW": timed(lambda: write_page(notebook)),
        "nbconvert's `HTMLExporter`": timed(export),
    }
