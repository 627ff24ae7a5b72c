"""No more kernels than the setting `max_kernels` says, whoever runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from projects import (
    PATIENCE,
    Workflow,
    dataflow,
    environment,
    kernels_of,
    make_project,
    run_data,
    start_dataflow,
    wait_until,
)

from dataflow.project import Project
from dataflow.stages.slots import kernel_slot

pytestmark = pytest.mark.slow

SLOT = """
import sys, time
from dataflow.project import Project
from dataflow.stages.slots import kernel_slot
with kernel_slot(Project.find(), sys.argv[1], lambda text: print(text, flush=True)):
    print("has one", flush=True)
    time.sleep(600)
"""
# Each notes when it began and ended.
WORK = """
import time
from pathlib import Path
with Path("../../order.txt").open("a") as order:
    print("{name} begins", file=order, flush=True)
    time.sleep({seconds})
    print("{name} ends", file=order, flush=True)
"""
STARTS = """
from dataflow import Project
assert Project.find().workflow("inner").run().status == "succeeded"
"""


def work(name: str, seconds: float) -> Workflow:
    return Workflow({"stage": [WORK.format(name=name, seconds=seconds)]})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = make_project(
        tmp_path / "project",
        {
            "one": work("one", 600),
            "two": work("two", 0.2),
            "three": work("three", 0.2),
            "outer": Workflow({"stage": [STARTS]}),
            "inner": Workflow({"stage": ["1"]}),
        },
    )
    settings = made.root / "pyproject.toml"
    table = "[tool.dataflow]\n"
    settings.write_text(settings.read_text().replace(table, f"{table}max_kernels = 1\n"))
    return made


def order(project: Project) -> list[str]:
    file = project.root / "order.txt"
    return file.read_text().splitlines() if file.exists() else []


def test_stages_wait_for_a_kernel_are_cancelled_while_they_do_and_get_that_of_one_that_was_killed(
    project: Project,
):
    """One runs, two others wait; one of these is cancelled, and the first is killed."""
    one = start_dataflow(project, "workflow", "run", "one")
    wait_until(lambda: order(project) == ["one begins"])
    others = [start_dataflow(project, "workflow", "run", name) for name in ("two", "three")]
    for process in others:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        line = next((line for line in lines if "Waiting for" in line), "nobody waits")
        assert "stage: Waiting for a kernel: 1 may run at the same time" in line
        assert "the setting max_kernels" in line
    assert len(kernels_of(project)) == 1

    others[0].send_signal(signal.SIGINT)
    others[0].communicate(timeout=PATIENCE)
    assert run_data(project, "two")["status"] == "cancelled"
    assert order(project) == ["one begins"]
    os.killpg(one.pid, signal.SIGKILL)
    one.communicate()

    assert others[1].wait(PATIENCE) == 0
    others[1].communicate()
    assert order(project) == ["one begins", "three begins", "three ends"]


def test_a_run_that_a_notebook_starts_does_not_wait_for_that_notebooks_kernel(project: Project):
    result = dataflow(project, "workflow", "run", "outer", "--json", timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["status"] == "succeeded"


def in_slot(project: Project, name: str) -> tuple[subprocess.Popen[str], str]:
    """A process that takes a slot and keeps it, and the first line that it says."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOT, name],
        cwd=project.root,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline()


def test_as_many_as_there_may_be_have_one_and_a_suspended_waiter_holds_nobody_up(
    project: Project, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("dataflow.base.lock.STALE_AFTER", 1.0)
    settings = project.root / "pyproject.toml"
    settings.write_text(settings.read_text().replace("max_kernels = 1", "max_kernels = 2"))
    (one, two, waits), said = zip(
        *(in_slot(project, name) for name in ("one", "two", "waits")), strict=True
    )
    try:
        assert said[:2] == ("has one\n", "has one\n")
        assert said[2].startswith("Waiting for a kernel: 2 may run at the same time")
        waits.send_signal(signal.SIGSTOP)
        one.kill()

        entered = []
        waiting = threading.Thread(
            target=lambda: entered.append(kernel_slot(project, "last", print).__enter__()),
            daemon=True,
        )
        waiting.start()
        waiting.join(30)

        assert entered == [None]
    finally:
        for process in (one, two, waits):
            process.kill()
            process.communicate()
