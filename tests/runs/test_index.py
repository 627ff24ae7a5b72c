"""How a run stands is worked out from its archive."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest

from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.runs.record import RunRecord, find_run, newest_first

STEPS = [{"name": "a", "kind": "stage"}, {"name": "b", "kind": "stage"}]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def archive(project: Project, run_id: str = "r1", **facts) -> RunRecord:
    made = RunRecord(project, "sales", run_id)
    made.begin(STEPS, **facts)
    return made


def status(project: Project) -> str:
    [run] = newest_first(project)
    return run.status


def test_a_run_goes_from_running_to_its_end(project):
    run = archive(project)
    run.step_started("a")
    assert status(project) == "running"
    run.step_ended("a", "succeeded")
    assert status(project) == "running", "between two steps its process is still there"
    run.note(waiting_for="another run")
    assert status(project) == "waiting"
    run.note(waiting_for=None)
    run.step_started("b")
    run.step_ended("b", "skipped")
    assert run.end() == status(project) == "succeeded"
    assert run.end(cancelled=True) == "succeeded", "an end is final"


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
def test_a_run_ends_as_its_step_did(project, ending):
    run = archive(project)
    run.step_started("a")
    run.step_ended("a", ending)

    assert run.end() == status(project) == ending
    assert run.read()["steps"]["b"]["status"] == "not run"


def test_a_run_that_is_broken_off_leaves_no_step_at_work(project):
    run = archive(project)
    run.step_started("a")

    assert run.end(error="no space left") == "failed"
    assert [step["status"] for step in run.read()["steps"].values()] == ["failed", "not run"]
    assert run.read()["error"] == {"message": "no space left"}


def test_a_run_whose_process_is_gone_was_killed_in_its_running_step(project):
    run = archive(project)
    run.step_started("a")
    run.note(process={"pid": os.getpid(), "process_started": 1.0})

    assert status(project) == "killed", "another process has that id now"
    [found] = newest_first(project)
    assert [step["status"] for step in found.steps.values()] == ["killed", "not run"]


def test_a_run_that_ends_after_it_was_read_was_not_killed(project):
    run = archive(project)
    run.step_started("a")
    run.note(process={"pid": os.getpid(), "process_started": 1.0})
    [before] = newest_first(project)
    run.end(cancelled=True)

    assert before.status == "cancelled", "its process ended when it had noted that"
    assert before.steps["b"]["status"] == "not run"


def test_a_step_of_the_clock_makes_no_running_run_a_killed_one(project):
    run = archive(project)
    process = run.read()["process"]
    run.note(process={**process, "process_started": process["process_started"] - 3600})
    assert status(project) == "running"
    run.note(process={**process, "ticks": process["ticks"] + 1})
    assert status(project) == "killed"
    run.note(process={**process, "host": "elsewhere", "pid": 2**22 + 1})
    assert status(project) == "running", "nobody here can tell"


def test_a_run_that_version_0_1_0_made_is_judged_by_its_steps(project):
    run = archive(project)
    for format_1, step_status in (("succeeded", "skipped"), ("failed", "pending")):
        run.note(format=1)
        run.step("a", status=format_1)
        run.step("b", status=step_status)
        assert status(project) == format_1


def test_a_run_of_some_steps_succeeds_with_these(project):
    run = archive(project, selection=["b"])
    run.step_started("b")
    run.step_ended("b", "succeeded")

    assert run.end() == "succeeded"


def test_only_the_first_step_begins_the_run(project):
    archive(project, parameters={"a": {"n": 1}})
    archive(project, parameters={})

    assert RunRecord(project, "sales", "r1").read()["parameters"] == {"a": {"n": 1}}


def test_a_run_is_found_by_the_beginning_of_its_id(project):
    archive(project, "abc1")
    archive(project, "abd2")

    assert find_run(project, "abc").run_id == "abc1"
    with pytest.raises(ConfigurationError, match="could be 2 runs"):
        find_run(project, "ab")
    with pytest.raises(ConfigurationError, match="no run `x`"):
        find_run(project, "x")


def test_folders_sort_by_time_and_those_of_version_0_1_0_are_read_beside_them(project):
    for name, started in (
        ("20260102T000000Z_bbbb2222", "2026-01-02T00:00:00.000+00:00"),
        ("aaaa1111-0000", "2026-01-01T00:00:00.000+00:00"),
        ("20260102T000000Z_cccc3333", "2026-01-02T00:00:00.500+00:00"),
        ("dddd4444-0000", "2026-01-03T00:00:00.000+00:00"),
    ):
        folder = project.runs / "sales" / name
        folder.mkdir(parents=True)
        run_id = name.rpartition("_")[2].replace("-0000", "") + "-0000"
        (folder / "run.json").write_text(
            json.dumps({"run_id": run_id, "workflow": "sales", "started_at": started, "steps": {}})
        )
    archive(project, "eeee5555-0000")

    assert [run.run_id[:4] for run in newest_first(project)] == [
        "eeee",
        "dddd",
        "cccc",
        "bbbb",
        "aaaa",
    ]
    assert next(newest_first(project)).folder.name.endswith("Z_eeee5555")
    assert RunRecord(project, "sales", "dddd4444-0000").folder.name == "dddd4444-0000"
    assert RunRecord(project, "sales", "bbbb2222-0000").folder.name.endswith("_bbbb2222")
    for name in ("bbbb2222-0000", "bbbb", "20260102T000000Z_bbbb2222"):
        assert find_run(project, name).run_id == "bbbb2222-0000"
    # Another run whose id begins alike has a folder of its own.
    assert "bbbb2222-1" not in RunRecord(project, "sales", "bbbb2222-1111").folder.name
    archive(project, "bbbb2222-1111")
    assert find_run(project, "bbbb2222-1").folder != find_run(project, "bbbb2222-0").folder


def test_the_newest_of_many_runs_are_listed_without_reading_the_others(project, monkeypatch):
    for number in range(300):
        folder = (
            project.runs / "sales" / f"20260101T{number // 60:02}{number % 60:02}00Z_{number:08}"
        )
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(
            json.dumps(
                {
                    "run_id": f"{number:08}-0000",
                    "workflow": "sales",
                    "started_at": f"2026-01-01T{number // 60:02}:{number % 60:02}:00.000+00:00",
                    "steps": {},
                }
            )
        )
    read: list[Path] = []
    whole = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda self, *a: read.append(self) or whole(self, *a))

    newest = list(itertools.islice(newest_first(project), 20))

    assert [int(run.run_id[:8]) for run in newest] == list(range(299, 279, -1))
    assert len(read) <= 22


def test_what_is_no_run_is_left_out(project):
    (project.runs / "sales" / "half").mkdir(parents=True)
    (project.runs / "sales" / "half" / "run.json").write_text('{"run_id": ')
    archive(project)

    assert [run.run_id for run in newest_first(project)] == ["r1"]
