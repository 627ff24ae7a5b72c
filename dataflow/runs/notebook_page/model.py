"""An executed notebook as its page shows it: facts, contents, results, cells."""

from __future__ import annotations

import contextlib
import datetime
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dataflow.base.words import counted
from dataflow.runs.notebook_page.markdown import Heading, headings, to_html
from dataflow.runs.notebook_page.outputs import NOTHING, Output, pack, result_of, shown
from dataflow.runs.notebook_page.plots import library
from dataflow.runs.record import RUN_FILE, mapping
from dataflow.stages.execute import cell_numbers
from dataflow.stages.parameters import INJECTED_TAG, TAG, author_numbers
from dataflow.stages.result import figure_text, results_in

MOST_HEADINGS = 200
MOST_CODE = 100_000  # characters of a cell's code that are coloured
_GROWTH = 10_000_000  # bytes by which a cell's memory has to grow to be worth a word


@dataclass(frozen=True)
class Cell:
    """A cell.

    Args:
        number: its number in the author's notebook, from 1.
        id: where it is on the page.
        kind: code, markdown, raw.
        status: succeeded, failed, cancelled, pending, "" where nothing was noted.
        label: what kind of cell it is, in words: the parameters'.
        html: of a markdown cell its text, of a code cell its coloured code.
        first_line: what a folded code cell says.
        lines: how many lines of code it has.
        outputs: what it put out.
        seconds: how long it ran.
        memory: the most memory the kernel had when it ended, in bytes.
        growth: by how much that grew in this cell, where it is worth a word.
    """

    number: int
    id: str
    kind: str
    status: str = ""
    label: str = ""
    html: Markup = NOTHING
    first_line: str = ""
    lines: int = 0
    outputs: list[Output] = field(default_factory=list)
    seconds: float | None = None
    memory: int | None = None
    growth: int | None = None

    @property
    def failed(self) -> bool:
        """Whether it is the one that ended the notebook."""
        return self.status in ("failed", "cancelled")


@dataclass(frozen=True)
class Page:
    """All that the template needs.

    Args:
        title: of the window.
        stage: the stage.
        workflow: the workflow; "" where the notebook does not say.
        status: how the stage ended, running while it goes on.
        facts: what is known about it, by name.
        parameters: the values it ran with, as text, by name; those that were set for this run.
        cells: its cells.
        contents: its headings.
        results: its checks and records.
        failure: the cell that failed.
        failed_id: where `#failed` leads: to that cell, or to the first check that failed.
        failed_checks: names of checks that failed.
        libraries: the packed scripts that its plots need, by name.
    """

    title: str
    stage: str
    workflow: str
    status: str
    facts: dict[str, str]
    parameters: dict[str, str]
    cells: list[Cell]
    contents: list[Heading]
    results: list[dict[str, Any]]
    failure: Cell | None
    failed_id: str
    failed_checks: list[str]
    libraries: dict[str, str]


def read_page(nb: Any, path: Path) -> Page:
    """The page of an executed notebook.

    Args:
        nb: the notebook.
        path: its file; the run's record is taken from beside it.
    """
    about = mapping(nb.metadata.get("dataflow"))
    marks = mapping(nb.metadata.get("papermill"))
    cells = list(_cells(nb))
    results = _results(nb)
    failed = [one for one in results if one["state"] == "failed"]
    failed_checks = list(dict.fromkeys(one["name"] for one in failed))
    failure = next((cell for cell in cells if cell.failed), None)
    checked_in = next((one["cell"] for one in failed if one["cell"]), None)
    failed_id = failure.id if failure else f"cell-{checked_in}" if checked_in else ""
    status = _state(marks)
    if status == "succeeded" and failed_checks:
        status = "failed"
    workflow = str(about.get("workflow") or path.parent.parent.name)
    run = _run(path)
    return Page(
        title=f"{path.parent.parent.name} · {path.stem}",
        stage=str(about.get("stage") or path.stem),
        workflow=workflow,
        status=status,
        facts=_facts(about, marks, run),
        parameters=_parameters(path, marks, run),
        cells=cells,
        contents=_contents(cells, failed_id),
        results=results,
        failure=failure,
        failed_id=failed_id,
        failed_checks=failed_checks,
        libraries=_libraries(cells),
    )


def _results(nb: Any) -> list[dict[str, Any]]:
    """What the stage recorded and checked, as far as it can be read, each with its cell."""
    found = []
    with contextlib.suppress(TypeError, ValueError, AttributeError):
        for result in results_in(nb):
            found.append({**result_of(result), "cell": result.get("cell")})
    return found


def _run(path: Path) -> dict[str, Any]:
    """The run's record as it is now; empty when it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        return mapping(json.loads((path.parent / RUN_FILE).read_text("utf-8")))
    return {}


def _facts(
    about: Mapping[str, Any], marks: Mapping[str, Any], run: Mapping[str, Any]
) -> dict[str, str]:
    """What is settled when the stage ends: the run itself may go on."""
    git = mapping(run.get("git"))
    commit = str(git.get("commit") or "")[:8]
    memory = about.get("peak_memory_bytes")
    started, ended = _moment(marks.get("start_time")), _moment(marks.get("end_time"))
    facts = {
        "Run": str(about.get("run_id") or run.get("run_id") or "")[:8],
        "Started": f"{started:%Y-%m-%d %H:%M:%S} UTC" if started else "",
        "Took": _seconds((ended - started).total_seconds()) if started and ended else "",
        "Memory": memory_text(memory) if isinstance(memory, int) else "",
        "Started by": " · ".join(str(run[key]) for key in ("trigger", "user") if run.get(key)),
        "Commit": f"{commit}{' and changes' if git.get('dirty') else ''}" if commit else "",
        "Notebook": str(about.get("notebook") or ""),
    }
    return {name: value for name, value in facts.items() if value}


def _parameters(path: Path, marks: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, str]:
    """The values that were set for the stage; those of the notebook itself are in its cell."""
    step = mapping(mapping(run.get("steps")).get(path.name.split(".")[0]))
    values = mapping(step.get("values")) or mapping(marks.get("parameters"))
    return {str(name): figure_text(value, 200) for name, value in values.items()}


def _cells(nb: Any) -> Iterator[Cell]:
    memory, numbers = 0, cell_numbers(nb.cells)
    language = str(mapping(nb.metadata.get("language_info")).get("pygments_lexer") or "ipython3")
    for index, (number, cell) in enumerate(author_numbers(nb.cells)):
        tags = cell.metadata.get("tags") or []
        label = "this run's parameters" if INJECTED_TAG in tags else ""
        identifier = "set-parameters" if label else f"cell-{number}"
        source = str(cell.get("source") or "")
        marks = mapping(cell.metadata.get("papermill"))
        status = _state(marks)
        if cell.cell_type != "code":
            html = (
                to_html(source, cell.get("attachments")) if cell.cell_type == "markdown"
                else Markup("<pre>{}</pre>").format(source)
            )  # fmt: skip
            yield Cell(number, identifier, cell.cell_type, html=html)
            continue
        peak = mapping(cell.metadata.get("dataflow")).get("peak_memory_bytes")
        peak = peak if isinstance(peak, int) else None
        growth = peak - memory if peak and memory and peak - memory > _GROWTH else None
        memory = peak or memory
        seconds = marks.get("duration")
        outputs = (
            shown(output, f"o{index}-{place}", numbers)
            for place, output in enumerate(cell.get("outputs") or [])
        )
        yield Cell(
            number, identifier, "code",
            status=status,
            label=label or ("parameters" if TAG in tags else ""),
            html=_code(source, language),
            first_line=next((line for line in source.split("\n") if line.strip()), "")[:120],
            lines=source.count("\n") + 1 if source.strip() else 0,
            outputs=[output for output in outputs if output is not None],
            seconds=float(seconds) if isinstance(seconds, (int, float)) else None,
            memory=peak,
            growth=growth,
        )  # fmt: skip


def _state(marks: Mapping[str, Any]) -> str:
    """A state as papermill notes it, in the words of a run."""
    state = str(marks.get("status") or "")
    return "succeeded" if state == "completed" else state


def _code(source: str, language: str) -> Markup:
    if len(source) > MOST_CODE:
        return Markup("<pre>{}</pre>").format(source)
    return Markup(_highlighter()(source, language=language))


@cache
def _highlighter() -> Any:
    from nbconvert.filters import Highlight2HTML

    return Highlight2HTML(pygments_lexer="ipython3")


def _contents(cells: list[Cell], failed_id: str) -> list[Heading]:
    found = []
    for cell in cells:
        if cell.kind == "markdown":
            found += headings(cell.html)
        elif cell.id == failed_id:
            what = cell.status if cell.failed else "failed a check"
            found.append(Heading(2, f"Cell {cell.number} {what}", "failed"))
    return found[:MOST_HEADINGS]


def _libraries(cells: list[Cell]) -> dict[str, str]:
    kinds = {
        output.frame.kind for cell in cells for output in cell.outputs if output.frame is not None
    } - {"html", "script"}
    return {kind: _packed(kind) for kind in sorted(kinds)}


@cache
def _packed(name: str) -> str:
    return pack(library(name) or "")


def memory_text(size: int) -> str:
    """Memory as people read it."""
    return f"{size / 1e9:.1f} GB" if size >= 1_000_000_000 else f"{size / 1e6:.0f} MB"


def cell_seconds(seconds: float | None) -> str:
    """A cell's time; most take too little to be worth a figure."""
    if seconds is None:
        return ""
    return "< 0.1 s" if seconds < 0.1 else _seconds(seconds)


def _seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _moment(text: Any) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(text).astimezone(datetime.UTC)
    except (TypeError, ValueError):
        return None


def summary_of(page: Page) -> str:
    """The results in a few words."""
    checks = [result for result in page.results if result["kind"] == "check"]
    passed = sum(check["state"] == "passed" for check in checks)
    records = sum(result["kind"] == "record" for result in page.results)
    return ", ".join(
        filter(None, [
            f"{passed} of {counted(len(checks), 'check')} passed" if checks else "",
            counted(records, "record") if records else "",
        ])
    )  # fmt: skip
