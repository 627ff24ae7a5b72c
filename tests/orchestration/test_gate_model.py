"""The gate as a model: whatever is done in whatever order, readers see only what passed.

A small workflow of two stages is edited, run, failed, cancelled, killed, restored and run twice at
once, in sequences that hypothesis makes up. A simple oracle knows what each stage was told to do at
each attempt. After every action what is published has to be the output of stages that all passed,
the second one on what the first one of the same value had made.

More sequences: DATAFLOW_TEST_CAMPAIGN=10 python -m pytest tests/orchestration/test_gate_model.py
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from projects import (
    CAMPAIGN,
    Workflow,
    dataflow,
    make_project,
    processes_of,
    start_dataflow,
    wait_until,
)

from dataflow.shared.db import get_duckdb_connection

# What a stage is told to do: it writes its rows first, so that all that fails leaves some behind.
STAGE = """
import json, os, time
from pathlib import Path
from IPython.display import clear_output
from dataflow import stage
from dataflow.shared.db import get_duckdb_connection
plan = json.loads(Path("../../plan.json").read_text())
name = os.environ["DATAFLOW_STAGE"]
value = plan["value"] if name == "make" else "(SELECT v FROM flow_raw.made)"
with get_duckdb_connection() as conn:
    conn.execute("CREATE SCHEMA IF NOT EXISTS flow_raw")
    conn.execute(f"CREATE OR REPLACE TABLE flow_raw.{'made' if name == 'make' else 'used'} "
                 f"AS SELECT {value} AS v")
if plan[name] == "raise":
    raise ValueError("told to")
if plan[name] == "fail a check":
    stage.check("told to pass", False)
if plan[name] == "fail a hidden check":
    stage.check("told to pass", False)
    clear_output()
if plan[name] == "sleep":
    Path(f"../../asleep-{plan['value']}-{name}").touch()
    time.sleep(60)
"""
MOODS = ["pass", "pass", "pass", "raise", "fail a check", "fail a hidden check"]
SELECTIONS = [
    (),
    ("--changed",),
    ("--from", "use"),
    ("--from", "publish"),
    ("--only", "make"),
    ("--only", "use"),
    ("--only", "publish"),
]


class Gate(RuleBasedStateMachine):
    """The actions, and what has to hold after each."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="gate-"))
        self.plan: dict[str, Any] = {"value": 0, "make": "pass", "use": "pass"}
        self.made = (0, False)  # what the first table holds, and whether its maker passed
        self.passed: set[int] = set()  # values that both stages passed on
        self.seen: set[Path] = set()
        self.backups = 0

    @initialize()
    def begin(self) -> None:
        self.project = make_project(
            self.folder / "project",
            {
                "flow": Workflow(
                    {"make": [STAGE], "use": [STAGE]},
                    stages=[
                        {"notebook": "make.ipynb", "writes": ["made"]},
                        {"notebook": "use.ipynb", "writes": ["used"]},
                    ],
                )
            },
        )
        self.edit("pass", "pass")
        self.run(())

    @rule(make=st.sampled_from(MOODS), use=st.sampled_from(MOODS))
    def edit(self, make: str, use: str) -> None:
        self.plan = {"value": self.plan["value"] + 1, "make": make, "use": use}
        (self.project.root / "plan.json").write_text(json.dumps(self.plan))

    @rule(selection=st.sampled_from(SELECTIONS))
    def run(self, selection: tuple[str, ...]) -> None:
        done = dataflow(self.project, "workflow", "run", "flow", "-q", *selection)
        assert done.returncode in (0, 1), done.stderr
        self._learn()

    @rule(stage=st.sampled_from(["make", "use"]), number=st.sampled_from(["INT", "TERM", "KILL"]))
    def end_in_the_middle(self, stage: str, number: str) -> None:
        self.edit("pass", "pass")
        (self.project.root / "plan.json").write_text(json.dumps({**self.plan, stage: "sleep"}))
        process = start_dataflow(self.project, "workflow", "run", "flow", "-q")
        asleep = self.project.root / f"asleep-{self.plan['value']}-{stage}"
        wait_until(asleep.exists)
        os.killpg(process.pid, getattr(signal, f"SIG{number}"))
        process.communicate(timeout=60)
        assert process.returncode != 0
        self.plan[stage] = "sleep"
        self._learn()
        self.edit("pass", "pass")

    @rule(first=st.sampled_from(SELECTIONS), second=st.sampled_from(SELECTIONS))
    def run_two_at_once(self, first: tuple[str, ...], second: tuple[str, ...]) -> None:
        both = [
            start_dataflow(self.project, "workflow", "run", "flow", "-q", *selection)
            for selection in (first, second)
        ]
        for process in both:
            process.communicate(timeout=180)
            assert process.returncode in (0, 1)
        self._learn()

    @rule()
    def back_up(self) -> None:
        file = self.folder / f"{self.backups}.duckdb"
        assert dataflow(self.project, "db", "backup", str(file)).returncode == 0
        self.backups += 1

    @precondition(lambda self: self.backups)
    @rule()
    def restore(self) -> None:
        file = self.folder / f"{self.backups - 1}.duckdb"
        assert dataflow(self.project, "db", "restore", "--yes", str(file)).returncode == 0
        self.made = (0, False)

    @precondition(lambda self: self.project.warehouse.exists())
    @rule()
    def move_the_warehouse_away(self) -> None:
        self.project.warehouse.rename(self.folder / f"away-{time.monotonic_ns()}.duckdb")
        self.made = (0, False)

    def _learn(self) -> None:
        """What each attempt since the last look was told to do, and so what passed."""
        attempts = []
        for path in self.project.runs.glob("flow/*/run.json"):
            if path not in self.seen:
                self.seen.add(path)
                steps = json.loads(path.read_text())["steps"]
                attempts += [
                    (steps[name]["started_at"], name)
                    for name in ("make", "use")
                    if steps[name].get("started_at")
                ]
        for _, name in sorted(attempts):
            told = self.plan[name] == "pass"
            if name == "make":
                self.made = (self.plan["value"], told)
            elif told and self.made[1]:
                self.passed.add(self.made[0])

    @invariant()
    def readers_see_only_what_passed(self) -> None:
        if not hasattr(self, "project"):
            return
        with get_duckdb_connection(database="published", project=self.project) as conn:
            [(made, used)] = conn.execute(
                "SELECT m.v, u.v FROM flow_raw.made m, flow_raw.used u"
            ).fetchall()
        assert made == used, "one run's rows beside another's"
        assert made in self.passed, f"{made} did not pass; {sorted(self.passed)} did"

    def teardown(self) -> None:
        for process in processes_of(self.project):
            process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.mark.slow
def test_readers_see_only_what_passed_whatever_is_done_in_whatever_order():
    run_state_machine_as_test(
        Gate,
        settings=settings(
            max_examples=2 * CAMPAIGN,
            stateful_step_count=8,
            deadline=None,
            derandomize=CAMPAIGN == 1,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )
