"""Memory: the peak of a run, and what the running service takes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import plain
import psutil
import workflow_runs
from harness import Cost, Failed, Measure, Place, Ratio, Ways, case, command, descendants, memory_of
from harness import peak_memory as peak

CHAPTER = "Memory"
SETTLED = 10  # seconds after which a service is at rest
START = 120  # seconds for a service to answer


@case(
    CHAPTER,
    "The peak of memory while the example runs: all processes, what they share counted once",
    Ratio("run", "DATAFLOW", workflow_runs.BY_HAND, of="memory"),
    Ratio("run and the service it is in", "service", workflow_runs.BY_HAND, of="memory"),
    pairs=2,
    warm=False,
)
def peak_memory(place: Place) -> Iterator[Ways]:
    """Sampled; the service's own processes count with the run in it."""
    project, environment = plain.earthquakes(place, "dataflow")
    by_hand = plain.by_hand(place)
    in_service, its_environment = plain.earthquakes(place, "service")
    before = set(descendants())
    with workflow_runs.service(in_service, its_environment) as port:
        yield {
            "DATAFLOW": peak(command(plain.RUN, project.root, environment)),
            "service": peak(workflow_runs.launched(in_service, port), before),
            workflow_runs.BY_HAND: peak(by_hand),
        }


@case(
    CHAPTER,
    "What the service for Dagster's pages and schedules takes at rest",
    Ratio("service at rest", "DATAFLOW", "`dagster dev` of plain definitions", of="memory"),
    pairs=2,
    warm=False,
)
def service_memory(place: Place) -> Iterator[Ways]:
    """Some seconds after its pages answer."""
    project, environment = plain.earthquakes(place, "dataflow")
    theirs, their_environment, dagster = plain.dagster_project(place)

    @contextmanager
    def dagster_dev() -> Iterator[int]:
        port = workflow_runs.free_port()
        words = [*dagster, "dev", "-f", "definitions.py", "--port", str(port)]
        folder = theirs.notebooks / "earthquakes"
        with _silent(words, folder, their_environment):
            _wait_for(f"http://127.0.0.1:{port}/server_info")
            yield port

    yield {
        "DATAFLOW": _at_rest(lambda: workflow_runs.service(project, environment)),
        "`dagster dev` of plain definitions": _at_rest(dagster_dev),
    }


def _at_rest(start: Callable[[], AbstractContextManager[int]]) -> Measure:
    def once() -> Cost:
        there = set(descendants())
        with start():
            time.sleep(SETTLED)
            return {"memory": memory_of(set(descendants()) - there)}

    return once


@contextmanager
def _silent(words: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(
        words, cwd=folder, env=environment, stdin=nothing, stdout=nothing, stderr=nothing
    )
    try:
        yield
    finally:
        all_of_it = [*psutil.Process(process.pid).children(recursive=True), process]
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:  # `dagster dev` does not always end when it is asked to
            for one in all_of_it:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            process.wait()


def _wait_for(address: str) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end:
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise Failed(f"nothing answered within {START} s")
