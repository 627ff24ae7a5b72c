"""No more kernels than the setting `max_kernels` says, whoever runs them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from projects import (
    PATIENCE,
    Workflow,
    dataflow,
    kernels_of,
    make_project,
    run_data,
    start_dataflow,
    wait_until,
)

from dataflow.project import Project

pytestmark = pytest.mark.slow

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
