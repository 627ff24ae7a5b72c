"""The stages' graph in real runs: order, parallel stages, retries, and doing only what is needed."""

from __future__ import annotations

import json

import pytest
from projects import Workflow, dataflow, make_project, parameters, run_data

from dataflow.runs.record import newest_first

pytestmark = pytest.mark.slow

# Ends only beside the other: each waits until that has begun. A file that its code names in one
# piece would be a part of that code.
BESIDE = """
import time
from pathlib import Path
Path("../../began_" + "{own}").touch()
end = time.monotonic() + 100
while not Path("../../began_" + "{other}").exists():
    assert time.monotonic() < end, "{other} does not begin"
    time.sleep(0.02)
"""
COUNT = """
from pathlib import Path
tries = Path("tries.txt")
n = int(tries.read_text()) + 1 if tries.exists() else 1
tries.write_text(str(n))
assert n > 1, "the first try fails"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """a, then b and c side by side, then d."""
    return make_project(
        tmp_path_factory.mktemp("graph") / "project",
        {
            "graph": Workflow(
                notebooks={
                    "a": [parameters("n: int = 1"), "print('n is', n)"],
                    "b": [BESIDE.format(own="b", other="c")],
                    "c": [BESIDE.format(own="c", other="b")],
                    "d": ["print('last')"],
                },
                stages=[
                    {"notebook": "a.ipynb"},
                    {"notebook": "b.ipynb", "after": ["a"]},
                    {"notebook": "c.ipynb", "after": ["a"]},
                    {"notebook": "d.ipynb", "after": ["b", "c"]},
                ],
            )
        },
    )


def run(project, *arguments: str) -> dict:
    result = dataflow(project, "workflow", "run", "graph", "--json", *arguments)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout) if result.stdout else {}


def done(run: dict) -> set[str]:
    return {name for name, step in run["steps"].items() if step["status"] == "succeeded"}


def test_independent_stages_run_at_the_same_time_and_nothing_runs_twice(project):
    steps = run(project)["steps"]

    assert steps["b"]["started_at"] < steps["c"]["ended_at"]
    assert steps["c"]["started_at"] < steps["b"]["ended_at"]
    assert steps["a"]["ended_at"] <= min(steps["b"]["started_at"], steps["c"]["started_at"])
    assert max(steps["b"]["ended_at"], steps["c"]["ended_at"]) <= steps["d"]["started_at"]

    unchanged = dataflow(project, "workflow", "run", "graph", "--changed")
    assert unchanged.returncode == 0
    assert "nothing was run" in unchanged.stderr

    assert done(run(project, "--only", "b")) == {"b"}
    # b is newer than d now: what follows from it is done again, c is not.
    assert done(run(project, "--changed")) == {"d", "publish"}
    # Another value makes a stale, and with it all that follows.
    assert done(run(project, "--from", "d", "-p", "n", "2")) == {"a", "b", "c", "d", "publish"}
    assert len(list(newest_first(project))) == 4


def test_a_failed_stage_is_tried_again_and_both_tries_are_kept(tmp_path):
    project = make_project(
        tmp_path / "project",
        {
            "again": Workflow(
                notebooks={"flaky": [COUNT, "print('done')"]},
                stages=[{"notebook": "flaky.ipynb", "retries": 1}],
            )
        },
    )

    result = dataflow(project, "workflow", "run", "again")

    assert result.returncode == 0, result.stderr
    assert "will be retried" in result.stderr
    run = run_data(project, "again")
    assert run["steps"]["flaky"]["attempt"] == 2
    [archived] = newest_first(project)
    assert [path.name for path in archived.notebooks] == ["flaky.ipynb", "flaky.try2.ipynb"]
