"""What a stage says of itself decides what happens after it: checks stop, warnings and skips don't."""

from __future__ import annotations

from pathlib import Path

from projects import Workflow, dataflow, error_of, executed, make_project, run_data, statuses

from dataflow.runs.record import list_runs

IMPORT = "from dataflow import stage"
# Checks that fail, and that no display of the executed notebook need show.
HIDDEN = {
    "in_a_loop": ['for ok in (True, False, True): stage.check("whole", ok)'],
    "first_warned": [
        'stage.check("whole", False, severity="warn")',
        'stage.check("whole", False)',
        'stage.check("whole", False, severity="warn")',
    ],
    "cleared": [
        'from IPython.display import clear_output\nstage.check("whole", False)\nclear_output()'
    ],
    "captured": ['%%capture\nstage.check("whole", False)'],
    "in_a_thread": [
        "import threading\nasked = threading.Thread(target=stage.check, args=('whole', False))\n"
        "asked.start()\nasked.join()"
    ],
    "after_much": [
        "from IPython.display import display\nfor _ in range(4): display('x' * 9_000_000)\n"
        'stage.check("whole", False)'
    ],
}


def test_a_failed_check_stops_what_follows_and_a_warning_or_a_skip_does_not(
    tmp_path: Path,
) -> None:
    stages = {
        "wrong": [
            IMPORT,
            'stage.check("no negative depths", False, negative=3)\nstage.check("rows there", True)',
            "print('the rest of the notebook runs')",
        ],
        "computed": [IMPORT, 'for n in (1, 2): stage.check(f"part {n} is whole", n == 1)'],
        "doubtful": [IMPORT, 'stage.check("all gauges report", False, severity="warn")'],
        "idle": [
            IMPORT,
            'try:\n    stage.skip("no new file")\nexcept Exception:\n    pass',
            'stage.check("never made", False)',
        ],
        **{name: [IMPORT, *cells] for name, cells in HIDDEN.items()},
        "unsaid": ["import rich.traceback\nrich.traceback.install()", "1 / 0"],
    }
    after = {f"after_{name}": [f"print('after {name}')"] for name in stages}
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
        "computed": "failed",
        "doubtful": "succeeded",
        "idle": "skipped",
        "unsaid": "failed",
        **dict.fromkeys(HIDDEN, "failed"),
        **{f"after_{name}": "not run" for name in ("wrong", "computed", "unsaid", *HIDDEN)},
        "after_doubtful": "succeeded",
        "after_idle": "succeeded",
        "publish": "not run",
    }
    assert statuses(executed(project, "demo", "wrong")) == ["completed"] * 3
    assert statuses(executed(project, "demo", "idle")) == ["completed", "completed", "pending"]
    assert steps["idle"]["skipped"] == "no new file"
    made = {c["name"]: (c["passed"], c["severity"]) for c in steps["wrong"]["checks"]}
    assert made["no negative depths"] == (False, "error")
    assert made["rows there"] == (True, "error")
    assert "no negative depths (negative 3)" in done.stderr
    (run,) = list_runs(project)
    assert run.status == "failed"
    assert steps["unsaid"]["error"]["message"] == "cell 2: ZeroDivisionError: division by zero"
    assert error_of(executed(project, "demo", "unsaid")).ename == "ZeroDivisionError"
    for name in HIDDEN:
        assert "check failed: whole" in steps[name]["error"]["message"], name
