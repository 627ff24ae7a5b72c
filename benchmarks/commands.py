"""Commands and definitions, as a project grows: many workflows, many runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.request import urlopen

import plain
import ways
import workflow_runs
from harness import Measure, Place, Ratio, Ways, case, command, run, timed

from dataflow.project import Project

CHAPTER = "Commands"
COUNTS = (1, 10, 100, 300)
ASKED = 20  # times that a page is asked for, to measure more than a moment


@case(
    CHAPTER,
    "Commands of a project with the example, against plain Dagster's for the same",
    Ratio("`dataflow --help`", "`dataflow --help`", "`dagster --help`"),
    Ratio("`dataflow workflow list`", "`dataflow workflow list`", "`dagster job list`"),
    Ratio(
        "`dataflow workflow validate`",
        "`dataflow workflow validate`",
        "`dagster definitions validate`",
    ),
    pairs=3,
)
def commands(place: Place) -> Iterator[Ways]:
    """Plain Dagster's project has the example as its own assets."""
    project, environment = plain.earthquakes(place, "dataflow")
    theirs, their_environment, dagster = plain.dagster_project(place)

    def ours(*words: str) -> Measure:
        return command([*plain.DATAFLOW, *words], project.root, environment)

    def plainly(*words: str) -> Measure:
        return command([*dagster, *words], theirs.notebooks / "earthquakes", their_environment)

    yield {
        "`dataflow --help`": ours("--help"),
        "`dagster --help`": plainly("--help"),
        "`dataflow workflow list`": ours("workflow", "list"),
        "`dagster job list`": plainly("job", "list", "-f", "definitions.py"),
        "`dataflow workflow validate`": ours("workflow", "validate"),
        "`dagster definitions validate`": plainly(
            "definitions", "validate", "-f", "definitions.py"
        ),
    }


@case(
    CHAPTER,
    "A project with 10,000 runs against one with 10",
    Ratio("`runs list`", "`runs list`, 10,000 runs", "`runs list`, 10 runs", 1.5),
    Ratio("page of all runs", "page of all runs, 10,000 runs", "page of all runs, 10 runs"),
    Ratio("page of a run", "page of a run, 10,000 runs", "page of a run, 10 runs"),
)
def many_runs(place: Place) -> Iterator[Ways]:
    """Each run has the record of a real one; the pages come from the dashboards' server."""
    found: dict[str, Measure] = {}
    started = []
    try:
        for count, said in {10: "10 runs", place.size(10_000, 100): "10,000 runs"}.items():
            root = place.folder / str(count)
            workflow_runs.workflow(root, "often", {"notebook": workflow_runs.CELLS})
            workflow_runs.run_of(root, "often")()
            _repeat_run(Project(root), count)
            newest = max((root / "runs" / "often").iterdir()).name
            port = workflow_runs.free_port()
            service = [*plain.DATAFLOW, "service", "start", "evidence", "-d", "--port", str(port)]
            run(service, root, ways.environment())
            started.append(root)
            words = [*plain.DATAFLOW, "runs", "list"]
            address = f"http://127.0.0.1:{port}/runs/"
            found |= {
                f"`runs list`, {said}": command(words, root, ways.environment()),
                f"page of all runs, {said}": _asked(address),
                f"page of a run, {said}": _asked(f"{address}often/{newest}/"),
            }
        yield found
    finally:
        for root in started:
            words = [*plain.DATAFLOW, "service", "stop", "evidence"]
            run(words, root, ways.environment())


def _repeat_run(project: Project, count: int) -> None:
    """Have the project's only run so often, each a minute before the last."""
    (record,) = project.runs.glob("often/2*/run.json")
    run = json.loads(record.read_text("utf-8"))
    now = datetime.now(UTC)
    for number in range(1, count):
        at = now - timedelta(minutes=number)
        run |= {
            "run_id": f"{number:08x}-0000-4000-8000-000000000000",
            "started_at": at.isoformat(timespec="milliseconds"),
            "ended_at": (at + timedelta(seconds=5)).isoformat(timespec="milliseconds"),
        }
        folder = record.parents[1] / f"{at:%Y%m%dT%H%M%SZ}_{number:08x}"
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps(run), "utf-8")


def _asked(address: str) -> Measure:
    def ask() -> None:
        for _ in range(ASKED):
            with urlopen(address, timeout=60) as answer:
                assert answer.status == 200, answer.status
                answer.read()

    once = timed(ask)
    return lambda: {"wall": once()["wall"]}  # the CPU is the server's


@case(
    CHAPTER,
    "Dagster's definitions of a project with many workflows",
    Ratio("definitions of 10 workflows", "10 workflows", "1 workflow"),
    Ratio("definitions of 100 workflows", "100 workflows", "1 workflow", 2.0),
    Ratio("definitions of 300 workflows", "300 workflows", "1 workflow"),
    pairs=3,
)
def definitions(place: Place) -> Iterator[Ways]:
    """What Dagster loads, in a new process."""
    found = {}
    for count in COUNTS:
        root = place.folder / str(count)
        for number in range(place.size(count, max(count // 10, 1))):
            workflow_runs.workflow(root, f"workflow{number}", {"notebook": workflow_runs.CELLS})
        words = [sys.executable, "-c", "import dataflow.definitions"]
        name = f"{count} workflow{'s' * (count > 1)}"
        found[name] = command(words, root, ways.environment())
    yield found
