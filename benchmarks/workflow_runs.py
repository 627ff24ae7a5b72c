"""Runs: a stage, a workflow of one stage, the whole example; by hand and by others."""

from __future__ import annotations

import contextlib
import json
import shlex
import socket
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import plain
import ways
from harness import (
    LONGEST,
    Cost,
    Failed,
    Measure,
    Place,
    Ratio,
    Ways,
    case,
    command,
    each_more,
    inside,
    run,
    timed,
)

from dataflow.project import Project

CHAPTER = "A run"
BY_HAND = "by hand: `papermill` × 3, `dbt build`, `evidence sources`"
CELLS = ["a = 1", "b = a + 1", "c = [a, b]", "d = sum(c)", "print(d)"]
LAUNCH = """
mutation { launchRun(executionParams: {
  selector: {
    repositoryLocationName: "dataflow", repositoryName: "__repository__", jobName: "earthquakes"
  },
  runConfigData: {}
}) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""
MORE = 5  # stages that the longer workflow has more


@case(
    CHAPTER,
    "A further trivial stage of a run",
    Ratio("a further stage", "DATAFLOW", "`papermill.execute_notebook` in a warm process", 0.5),
)
def further_stage(place: Place) -> Iterator[Ways]:
    """The difference of two runs' costs, by the number of stages that one has more."""
    for name, stages in {"one": 1, "longer": 1 + MORE}.items():
        workflow(place.folder, name, {f"stage{n}": CELLS for n in range(stages)})
    one, longer = (run_of(place.folder, name) for name in ("one", "longer"))
    notebook = str(place.folder / "notebooks" / "one" / "stage0.ipynb")
    with inside(place.folder, ways.environment(), _warm_papermill, notebook) as warm:
        yield {"DATAFLOW": each_more(one, longer, MORE), **warm}


def _warm_papermill(notebook: str) -> Ways:
    import papermill

    def once() -> None:
        papermill.execute_notebook(notebook, "executed.ipynb", progress_bar=False)

    return {"`papermill.execute_notebook` in a warm process": timed(once)}


@case(
    CHAPTER,
    "A workflow of one trivial stage, as a command",
    Ratio("one stage", "DATAFLOW", "`papermill`", 1.0),
    Ratio("one stage", "DATAFLOW", "`dagster asset materialize` with dagstermill"),
    Ratio("one stage", "DATAFLOW", "`ploomber build`"),
)
def one_stage(place: Place) -> Iterator[Ways]:
    """Each way as its own documentation has it, in a folder of its own."""

    def prepared(way: str, prepare: Any) -> Measure:
        folder = place.folder / way
        folder.mkdir()
        made = prepare(folder, CELLS, {})
        return command(made.command, folder, made.environment)

    yield {
        "DATAFLOW": prepared("dataflow", ways.with_dataflow),
        "`papermill`": prepared("papermill", ways.with_papermill),
        "`dagster asset materialize` with dagstermill": prepared(
            "dagstermill", ways.with_dagstermill
        ),
        "`ploomber build`": late(lambda: _ploomber(place.folder / "ploomber")),
    }


def _ploomber(folder: Path) -> Measure:
    ways.write_notebook(folder / "notebook.ipynb", [ways.parameters("x = 1"), *CELLS])
    task: dict[str, object] = {
        "source": "notebook.ipynb",
        "name": "notebook",
        "product": "executed.ipynb",
        "static_analysis": "disable",
    }
    environment = ways.environment(PLOOMBER_STATS_ENABLED="false")
    return command(plain.ploomber(folder, [task]), folder, environment)


@case(
    CHAPTER,
    "The whole workflow `earthquakes`: three notebooks, models and tests, dashboard data",
    Ratio("whole run", "DATAFLOW", BY_HAND, 0.4),
    Ratio("whole run", "DATAFLOW", "plain dagstermill and dagster-dbt"),
    Ratio("whole run", "DATAFLOW", "`ploomber build`"),
    Ratio("its dbt step", "DATAFLOW", BY_HAND, 0.2, of="dbt"),
    Ratio("its dashboard step", "DATAFLOW", BY_HAND, of="dashboard"),
    Ratio("run with `--changed`, nothing changed", "nothing changed", "DATAFLOW", 0.02),
    pairs=3,
)
def whole_run(place: Place) -> Iterator[Ways]:
    """Each way in a project of its own, as commands."""
    project, environment = plain.earthquakes(place, "dataflow")
    whole = command(plain.RUN, project.root, environment)

    def with_steps() -> Cost:
        return whole() | seconds_of_steps(project.runs / "earthquakes")

    yield {
        "DATAFLOW": with_steps,
        "nothing changed": command([*plain.RUN, "--changed"], project.root, environment),
        BY_HAND: plain.by_hand(place),
        "plain dagstermill and dagster-dbt": late(lambda: plain.with_dagster(place)),
        "`ploomber build`": late(lambda: plain.with_ploomber(place)),
    }


@case(
    CHAPTER,
    "The same workflow, started in Dagster's running service",
    Ratio("whole run under the service", "DATAFLOW under its service", BY_HAND, 0.3),
    pairs=3,
)
def under_service(place: Place) -> Iterator[Ways]:
    """From the request that a click on *Launch run* sends to the end of the run."""
    by_hand = plain.by_hand(place)
    project, environment = plain.earthquakes(place, "dataflow")
    with service(project, environment) as port:
        yield {"DATAFLOW under its service": launched(project, port), BY_HAND: by_hand}


@contextlib.contextmanager
def service(project: Project, environment: Mapping[str, str]) -> Iterator[int]:
    """Dagster's service, running; yields its port."""
    port = free_port()
    words = [*plain.DATAFLOW, "service"]
    run([*words, "start", "dagster", "-d", "--port", str(port)], project.root, environment)
    try:
        yield port
    finally:
        run([*words, "stop", "dagster"], project.root, environment)


def launched(project: Project, port: int) -> Measure:
    """A run of the example in the service."""

    def once() -> Cost:
        begin = time.monotonic()
        body = json.dumps({"query": LAUNCH}).encode()
        headers = {"Content-Type": "application/json"}
        address = f"http://127.0.0.1:{port}/graphql"
        with urlopen(Request(address, body, headers), timeout=60) as answer:
            said = json.load(answer)["data"]["launchRun"]
        if "run" not in said:
            raise Failed(str(said))
        status = _end_of(project, said["run"]["runId"])
        if status != "succeeded":
            raise Failed(f"the run is {status}")
        return {"wall": time.monotonic() - begin}

    return once


def _end_of(project: Project, run_id: str) -> str:
    """Wait for the end of a run, by its record."""
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        for record in project.runs.glob(f"earthquakes/2*_{run_id[:8]}/run.json"):
            if (status := json.loads(record.read_text("utf-8"))["status"]) is not None:
                return str(status)
        time.sleep(0.02)
    raise Failed(f"the run did not end within {LONGEST} s")


def free_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


WRITE = """\
import pandas as pd
from dataflow.shared.db import get_duckdb_connection, write_table

with get_duckdb_connection() as connection:
    write_table(connection, pd.DataFrame({"n": range(1000)}), "numbers")
"""


@case(
    CHAPTER,
    "Ten workflows of one stage that writes a table",
    Ratio("ten workflows at once", "at once", "one after the other"),
    pairs=2,
    warm=False,
)
def ten_at_once(place: Place) -> Iterator[Ways]:
    """Ten commands of one project, with one warehouse."""
    names = [f"workflow{number}" for number in range(place.size(10, 2))]
    for name in names:
        workflow(place.folder, name, {"notebook": [WRITE]})
    each = [shlex.join([*plain.DATAFLOW, "workflow", "run", name, "--quiet"]) for name in names]
    started = "\n".join(f'{words} & all="$all $!"' for words in each)
    scripts = {
        "at once": f"{started}\nfor one in $all; do wait $one || exit 1; done",
        "one after the other": "set -e\n" + "\n".join(each),
    }
    yield {
        name: command(["sh", "-c", script], place.folder, ways.environment())
        for name, script in scripts.items()
    }


def seconds_of_steps(runs: Path) -> Cost:
    """How long each step of the newest run took, by its record."""
    newest = max(runs.glob("2*/run.json"))
    steps = json.loads(newest.read_text("utf-8"))["steps"]
    return {
        name: (
            datetime.fromisoformat(step["ended_at"]) - datetime.fromisoformat(step["started_at"])
        ).total_seconds()
        for name, step in steps.items()
    }


def late(prepare: Any) -> Measure:
    """A way that is prepared when it is first measured, so that only it fails if that does."""
    ready: list[Measure] = []

    def once() -> Cost:
        if not ready:
            ready.append(prepare())
        return ready[0]()

    return once


def workflow(root: Path, name: str, stages: Mapping[str, list[str]]) -> None:
    """Put a workflow of such stages into a project, which is made if it is not there."""
    root.mkdir(exist_ok=True)
    (root / "pyproject.toml").write_text(ways.PYPROJECT, "utf-8")
    home = root / "notebooks" / name
    for stage, cells in stages.items():
        ways.write_notebook(home / f"{stage}.ipynb", cells)
    config = {
        "workflow": {"name": name},
        "stages": [{"notebook": f"{stage}.ipynb"} for stage in stages],
    }
    (home / "config.yaml").write_text(json.dumps(config), "utf-8")  # JSON is YAML


def run_of(root: Path, name: str) -> Measure:
    """The command that runs a workflow of `workflow`."""
    words = [*plain.DATAFLOW, "workflow", "run", name, "--quiet"]
    return command(words, root, ways.environment())
