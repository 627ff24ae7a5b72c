"""How a run stands is worked out from its archive."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.runs.archive import RunArchive
from dataflow.runs.index import find_run, list_runs

STEPS = [{"name": "a", "kind": "stage"}, {"name": "b", "kind": "stage"}]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def archive(project: Project, run_id: str = "r1", **facts) -> RunArchive:
    made = RunArchive(project, "sales", run_id)
    made.begin(STEPS, **facts)
    return made


def status(project: Project) -> str:
    [run] = list_runs(project)
    return run.status


def test_a_run_goes_from_running_to_succeeded(project):
    run = archive(project)
    run.step_started("a")
    assert status(project) == "running"
    run.step_ended("a", "succeeded")
    assert status(project) == "running", "between two steps its process is still there"
    run.step_started("b")
    run.step_ended("b", "skipped")
    assert status(project) == "succeeded"


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
def test_a_run_ends_as_its_step_did(project, ending):
    run = archive(project)
    run.step_started("a")
    run.step_ended("a", ending)

    assert status(project) == ending


def test_a_running_step_whose_process_is_gone_was_killed(project):
    run = archive(project)
    run.step_started("a")
    run.step("a", process={"pid": os.getpid(), "process_started": 1.0})

    assert status(project) == "killed", "another process has that id now"


def test_a_run_of_some_steps_succeeds_with_these(project):
    run = archive(project, selection=["b"])
    run.step_started("b")
    run.step_ended("b", "succeeded")

    assert status(project) == "succeeded"


def test_only_the_first_step_begins_the_run(project):
    archive(project, parameters={"a": {"n": 1}})
    archive(project, parameters={})

    assert RunArchive(project, "sales", "r1").read()["parameters"] == {"a": {"n": 1}}


def test_a_run_is_found_by_the_beginning_of_its_id(project):
    archive(project, "abc1")
    archive(project, "abd2")

    assert find_run(project, "abc").run_id == "abc1"
    with pytest.raises(ConfigurationError, match="could be 2 runs"):
        find_run(project, "ab")
    with pytest.raises(ConfigurationError, match="no run `x`"):
        find_run(project, "x")


def test_what_is_no_run_is_left_out(project):
    (project.runs / "sales" / "half").mkdir(parents=True)
    (project.runs / "sales" / "half" / "run.json").write_text('{"run_id": ')
    archive(project)

    assert [run.run_id for run in list_runs(project)] == ["r1"]
