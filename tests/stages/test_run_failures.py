"""How a run from the command line may end badly, with real kernels and real signals."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest
from projects import (
    Workflow,
    dataflow,
    error_of,
    executed,
    kernels_of,
    make_project,
    parameters,
    processes_of,
    run_data,
    run_folder,
    start_dataflow,
    statuses,
    wait_until,
)

from dataflow.project import Project
from dataflow.runs.record import newest_first

pytestmark = pytest.mark.slow

WRITE = """\
import pandas as pd
from dataflow.shared.db import get_duckdb_connection, write_table

with get_duckdb_connection() as conn:
    write_table(conn, pd.DataFrame({"n": range(1000)}), "numbers")"""
# Holds the write lock and an open transaction that must not leave anything behind.
HALF_WRITTEN = """\
from dataflow.shared.db import get_duckdb_connection

conn = get_duckdb_connection()
conn.__enter__()
conn.execute("delete from demo_raw.numbers")
"""
BEGAN = "open('began', 'w').close()\n"
SLEEP = HALF_WRITTEN + BEGAN + "import time; time.sleep(300)"
QUERY = (
    HALF_WRITTEN
    + "conn.execute('SET threads TO 1')\n"
    + BEGAN
    + "conn.execute('select sum(a.i * b.i) from range(3000000) a(i), range(3000000) b(i)')"
)


REFUSED = """\
from dataflow.shared.db import get_duckdb_connection, write_table

def save(conn):
    write_table(conn, [{'n': 1}], table)

save(get_duckdb_connection())"""


def demo(tmp_path: Path, cells: list[Any], **stage: Any) -> Project:
    """A workflow of a stage that writes, one of `cells`, and one that must not run."""
    return make_project(
        tmp_path / "project",
        {
            "demo": Workflow(
                {"write": [WRITE], "fail": cells, "never": ["print('never')"]},
                stages=[
                    {"notebook": "write.ipynb", "writes": ["numbers"]},
                    {"notebook": "fail.ipynb", **stage},
                    {"notebook": "never.ipynb"},
                ],
            )
        },
    )


def numbers(project: Project) -> int:
    """Rows of the table, read from the working warehouse after everything has ended."""
    with duckdb.connect(str(project.warehouse), read_only=True) as conn:
        return conn.sql("select count(*) from demo_raw.numbers").fetchone()[0]


def assert_nothing_is_left(project: Project) -> None:
    def has_all_rows() -> bool:
        # A process that is killed has no environment any more before it lets go of its files.
        with contextlib.suppress(duckdb.IOException):
            return numbers(project) == 1000
        return False

    wait_until(lambda: not processes_of(project))
    wait_until(has_all_rows)


def began(project: Project, workflow: str = "demo") -> Any:
    wait_until((project.notebooks / workflow / "began").exists)


def the_run(project: Project) -> Any:
    (run,) = newest_first(project)
    return run


def test_independent_stages_fail_each_in_its_own_way(tmp_path: Path) -> None:
    failing = {
        "refused": [parameters("table: str = 'x'"), REFUSED, "b = 2"],
        "raises": ["a = 1", "rows = {}\nrows['mag']", "b = 2"],
        "exits": ["a = 1", "import os; os._exit(5)", "b = 2"],
        "killed": ["a = 1", "import os; os.kill(os.getpid(), 9)", "b = 2"],
        "slow": ["a = 1", "import time; time.sleep(300)", "b = 2"],
    }
    more = {"slow": {"timeout": 6}, "refused": {"parameters": {"table": "main.numbers"}}}
    project = make_project(
        tmp_path / "project",
        {
            "demo": Workflow(
                {"write": [WRITE], **failing, "never": ["print('never')"]},
                stages=[
                    {"notebook": "write.ipynb", "writes": ["numbers"]},
                    *(
                        {
                            "notebook": f"{name}.ipynb",
                            "after": [],
                            "timeout": 200,
                            **more.get(name, {}),
                        }
                        for name in failing
                    ),
                    {"notebook": "never.ipynb", "after": ["raises"]},
                ],
            )
        },
    )
    done = dataflow(project, "workflow", "run", "demo")
    assert done.returncode == 1
    reasons = {
        "refused": "ConfigurationError: the schema 'main' is reserved",
        "raises": "KeyError: 'mag'",
        "exits": "KernelDied: the kernel ended itself with exit code 5",
        "killed": "KernelDied: the kernel was killed by signal 9 (SIGKILL)",
        "slow": "Timeout: the notebook's time limit of 6 s ran out in this cell",
    }
    data = run_data(project, "demo")
    for stage, reason in reasons.items():
        nb = executed(project, "demo", stage)
        assert statuses(nb)[-3:] == ["completed", "failed", "pending"], stage
        assert f"{error_of(nb).ename}: {error_of(nb).evalue}".startswith(reason)
        assert data["steps"][stage]["status"] == "failed"
        assert data["steps"][stage]["error"]["message"].startswith(f"cell 2: {reason}")
    assert data["steps"]["write"]["status"] == "succeeded"
    assert data["steps"]["never"]["status"] == "not run"
    assert the_run(project).status == "failed"
    assert "stage raises failed in cell 2: KeyError: 'mag'" in done.stderr
    # The first one in full: the whole message, the cell, and the author's own line.
    assert "→ Write to the workflow's own schema" in done.stderr
    assert "save(get_duckdb_connection())" in done.stderr
    assert "  cell 2, line 4, in save(conn)" in done.stderr
    assert "----> 4     write_table(conn, [{'n': 1}], table)" in done.stderr
    shown = "".join(error_of(executed(project, "demo", "refused")).traceback)
    for ours in ("warehouse/names.py", "papermill"):
        assert ours not in done.stderr + shown
    assert f"runs/demo/{run_folder(project, 'demo').name}/refused.ipynb" in done.stderr
    assert_nothing_is_left(project)


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        pytest.param(SLEEP, signal.SIGINT, id="sleep-SIGINT"),
        pytest.param(QUERY, signal.SIGTERM, id="query-SIGTERM"),
    ],
)
def test_a_cancelled_run_stops_at_once_and_says_so(tmp_path: Path, cell: str, number: int) -> None:
    project = demo(tmp_path, ["print('first')", cell, "print('never')"])
    command = start_dataflow(project, "workflow", "run", "demo")
    began(project)
    assert kernels_of(project)
    start = time.monotonic()
    command.send_signal(number)
    _, err = command.communicate(timeout=120)
    took = time.monotonic() - start
    assert command.returncode in (1, 130), err
    assert "cancelled" in err
    assert "Traceback" not in err
    assert took < 60, "the cell takes minutes"
    nb = executed(project, "demo", "fail")
    assert statuses(nb) == ["completed", "cancelled", "pending"]
    assert error_of(nb).ename == "Cancelled"
    assert the_run(project).status == "cancelled"
    assert the_run(project).steps["never"]["status"] == "not run"
    assert_nothing_is_left(project)


def test_a_killed_command_takes_its_kernel_along(tmp_path: Path) -> None:
    project = demo(tmp_path, ["print('first')", SLEEP])
    command = start_dataflow(project, "workflow", "run", "demo")
    began(project)
    wait_until(lambda: statuses(executed(project, "demo", "fail")) == ["completed", "running"])
    command.kill()
    command.wait()
    assert_nothing_is_left(project)
    assert statuses(executed(project, "demo", "fail")) == ["completed", "running"]
    listed = dataflow(project, "runs", "list")
    assert "killed" in listed.stdout, listed
    assert dataflow(project, "runs", "show", "last").returncode == 0


def test_a_kernel_killed_from_outside_fails_the_run(tmp_path: Path) -> None:
    project = demo(tmp_path, [SLEEP])
    command = start_dataflow(project, "workflow", "run", "demo")
    began(project)
    for kernel in kernels_of(project):
        kernel.kill()
    _, err = command.communicate(timeout=120)
    assert command.returncode == 1
    assert "stage fail failed in cell 1: KernelDied" in err
    assert error_of(executed(project, "demo", "fail")).ename == "KernelDied"
    assert the_run(project).status == "failed"
    assert_nothing_is_left(project)


# -- stages beside each other: each in a process of its own ------------------------------


def beside(tmp_path: Path) -> Project:
    sleep = "open('began_{}', 'w').close()\nimport time; time.sleep(300)"
    return make_project(
        tmp_path / "project",
        {
            "demo": Workflow(
                {
                    "write": [WRITE],
                    "left": [sleep.format("left")],
                    "right": [sleep.format("right")],
                },
                stages=[
                    {"notebook": "write.ipynb", "writes": ["numbers"]},
                    {"notebook": "left.ipynb", "after": ["write"]},
                    {"notebook": "right.ipynb", "after": ["write"]},
                ],
            )
        },
    )


def start_beside(project: Project) -> Any:
    command = start_dataflow(project, "workflow", "run", "demo")
    for side in ("left", "right"):
        wait_until((project.notebooks / "demo" / f"began_{side}").exists)
    assert len(kernels_of(project)) == 2
    return command


def test_cancelling_stops_stages_that_run_beside_each_other(tmp_path: Path) -> None:
    project = beside(tmp_path)
    command = start_beside(project)
    command.send_signal(signal.SIGINT)
    wait_until(lambda: not kernels_of(project))
    _, err = command.communicate(timeout=120)
    assert command.returncode in (1, 130), err
    assert "Traceback" not in err
    for side in ("left", "right"):
        assert statuses(executed(project, "demo", side)) == ["cancelled"]
    assert the_run(project).status == "cancelled"
    assert_nothing_is_left(project)


def test_a_killed_command_takes_all_its_stages_along(tmp_path: Path) -> None:
    project = beside(tmp_path)
    command = start_beside(project)
    command.kill()
    command.wait()
    assert_nothing_is_left(project)
    assert the_run(project).status == "killed"


def test_a_killed_step_takes_its_kernel_along_and_the_run_goes_on(tmp_path: Path) -> None:
    project = beside(tmp_path)
    command = start_beside(project)
    left = run_data(project, "demo")["steps"]["left"]["process"]["pid"]
    kernels = {stage: kernels_of(project, DATAFLOW_STAGE=stage)[0] for stage in ("left", "right")}
    psutil.Process(left).kill()
    wait_until(lambda: not kernels["left"].is_running())
    assert kernels["right"].is_running()
    kernels["right"].kill()
    _, err = command.communicate(timeout=120)
    assert command.returncode == 1
    assert "left" in err
    assert statuses(executed(project, "demo", "right")) == ["failed"]
    assert_nothing_is_left(project)
