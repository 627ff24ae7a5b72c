"""What a stage says of itself decides what happens after it: checks stop, warnings and skips don't."""

from __future__ import annotations

from pathlib import Path

import pytest
from projects import Workflow, dataflow, error_of, executed, make_project, run_data, statuses

from dataflow.runs.record import newest_first

IMPORT = "from dataflow import stage"
# Checks that fail, and that no display of the executed notebook need show.
HIDDEN = {
    "in a loop": 'for ok in (True, False, True): stage.check("in a loop", ok)',
    "warned first": (
        'for how in ("warn", "error", "warn"): stage.check("warned first", False, severity=how)'
    ),
    "cleared": (
        'from IPython.display import clear_output\nstage.check("cleared", False)\nclear_output()'
    ),
    "captured": '%%capture\nstage.check("captured", False)',
    "in a thread": (
        "import threading\n"
        "asked = threading.Thread(target=stage.check, args=('in a thread', False))\n"
        "asked.start()\nasked.join()"
    ),
    "after much": (
        "from IPython.display import display\nfor _ in range(4): display('x' * 9_000_000)\n"
        'stage.check("after much", False)'
    ),
}


@pytest.mark.slow
def test_a_failed_check_stops_what_follows_and_a_warning_or_a_skip_does_not(
    tmp_path: Path,
) -> None:
    stages = {
        "wrong": [
            IMPORT,
            'stage.check("no negative depths", False, negative=3)\nstage.check("rows there", True)\n'
            'for n in (1, 2): stage.check(f"part {n} is whole", n == 1)',
            "print('the rest of the notebook runs')",
        ],
        "doubtful": [IMPORT, 'stage.check("all gauges report", False, severity="warn")'],
        "idle": [
            IMPORT,
            'try:\n    stage.skip("no new file")\nexcept Exception:\n    pass',
            'stage.check("never made", False)',
        ],
        "hidden": [IMPORT, *HIDDEN.values()],
        "unsaid": ["import rich.traceback\nrich.traceback.install()", "1 / 0"],
    }
    after = {f"after_{name}": ["print('after it')"] for name in stages}
    project = make_project(
        tmp_path / "project",
        {
            "demo": Workflow(
                {**stages, **after},
                stages=[
                    *({"notebook": f"{name}.ipynb", "after": []} for name in stages),
                    *({"notebook": f"after_{n}.ipynb", "after": [n]} for n in stages),
                ],
            )
        },
    )
    done = dataflow(project, "workflow", "run", "demo", timeout=240)
    assert done.returncode == 1, done.stderr
    steps = run_data(project, "demo")["steps"]
    assert {name: step["status"] for name, step in steps.items()} == {
        "wrong": "failed",
        "doubtful": "succeeded",
        "idle": "skipped",
        "unsaid": "failed",
        "hidden": "failed",
        **{f"after_{name}": "not run" for name in ("wrong", "hidden", "unsaid")},
        "after_doubtful": "succeeded",
        "after_idle": "succeeded",
        "publish": "not run",
    }
    assert statuses(executed(project, "demo", "wrong")) == ["completed"] * 3
    assert statuses(executed(project, "demo", "idle")) == ["completed", "completed", "pending"]
    assert steps["idle"]["skipped"] == "no new file"
    boxes = executed(project, "demo", "doubtful").cells[1].outputs
    assert [output.output_type for output in boxes] == ["display_data"]  # and no `True` below it
    made = {c["name"]: (c["passed"], c["severity"]) for c in steps["wrong"]["checks"]}
    assert made["no negative depths"] == (False, "error")
    assert made["rows there"] == made["part 1 is whole"] == (True, "error")
    assert made["part 2 is whole"] == (False, "error")
    assert "no negative depths (negative 3)" in done.stderr
    (run,) = newest_first(project)
    assert run.status == "failed"
    assert steps["unsaid"]["error"]["message"] == "cell 2: ZeroDivisionError: division by zero"
    assert error_of(executed(project, "demo", "unsaid")).ename == "ZeroDivisionError"
    assert set(HIDDEN) == set(
        steps["hidden"]["error"]["message"][len("check failed: ") :].split("; ")
    )
