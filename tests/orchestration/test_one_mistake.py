"""One author's mistake stays theirs: other workflows load, run and validate as if it were not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from projects import Workflow, dataflow, make_project

from dataflow.orchestration.build import BROKEN_TAG, build_definitions
from dataflow.orchestration.names import check_name
from dataflow.project import Project
from dataflow.workflows.validate import examine_workflow

STAGE = "from dataflow import stage"
CONFLICT = '{"cells": [\n<<<<<<< ours\n=======\n>>>>>>> theirs\n]}'
JOB = """
from dagster import job, op
from dataflow.workflows.registry import register_workflow

@op
def {op}():
    pass

@job
def whole():
    {op}()

register_workflow(workflow_id="{id}", job=whole)
{more}
"""
# Each a workflow with a mistake, by its id, and a part of what Dagster and `validate` say of it.
BROKEN = {
    "merged": "merged",
    "published_by_hand": "publish",
    "config": "config",
    "input": "input",
    "leaves": "SystemExit",
    "op_publish": "publish",
    "typo": "shedule",
    "umläut": "small letters",
    "takes": "good_raw.t",
}
# Odd, and still no mistake.
FINE = {
    "compares": {"work": [STAGE, 'stage.check("rows > 0", 1)\nstage.check("rows < 0", 1)']},
    "spells": {"work": [STAGE, 'stage.check("Größe über 0", True)']},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    plain: dict[str, Any] = {"work": ["1"]}
    writes = [{"notebook": "work.ipynb", "writes": ["t"]}]
    takes = [{"notebook": "work.ipynb", "writes": ["good_raw.t"]}]
    make = [
        "from dataflow.shared.db import get_duckdb_connection\n"
        "with get_duckdb_connection() as conn:\n"
        "    conn.execute('CREATE SCHEMA IF NOT EXISTS good_raw')\n"
        "    conn.execute('CREATE OR REPLACE TABLE good_raw.t AS SELECT 1 AS a')"
    ]
    names = {"tags": ["two words", "ümlaut"], "owner": "@jane"}
    made = make_project(
        tmp_path_factory.mktemp("mistakes") / "project",
        {
            "good": Workflow({"work": make}, writes),
            "merged": plain,
            "published_by_hand": {"publish": ["1"]},
            "config": plain,
            "input": plain,
            "umläut": plain,
            "takes": Workflow({"work": make}, takes),
            **FINE,
            "named": Workflow(plain, config={"workflow": {"name": "Named", **names}}),
        },
    )
    (made.notebooks / "merged" / "work.ipynb").write_text(CONFLICT)
    write_config(made, "typo", "workflow:\n  name: Typo\n  schedule: '0 6 * * *'\nshedule: x\n")
    (made.notebooks / "typo" / "config.yaml").write_text(
        "workflow:\n  name: Typo\n  schedule: '0 6 * * *'\nstages:\n  - shedule: x\n"
    )
    for name, op, more in (
        ("leaves", "one", "import sys; sys.exit(3)"),
        ("op_publish", "publish", ""),
    ):
        write_config(made, name, f"workflow:\n  name: {name}\n")
        job = JOB.format(op=op, id=name, more=more)
        (made.notebooks / name / "dagster_job.py").write_text(job)
    return made


def write_config(project: Project, name: str, text: str) -> Path:
    folder = project.notebooks / name
    folder.mkdir()
    (folder / "config.yaml").write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="module")
def repository(project: Project) -> Any:
    return build_definitions(project).get_repository_def()


def test_a_good_workflow_runs_beside_all_the_mistakes(project):
    ran = dataflow(project, "workflow", "run", "good")
    assert ran.returncode == 0, ran.stderr


def test_dagster_shows_broken_workflows_as_broken_and_keeps_their_schedules(project, repository):
    jobs = {job.name: job for job in repository.get_all_jobs()}
    broken = {name for name, job in jobs.items() if BROKEN_TAG in job.tags}
    assert len(broken) == len(BROKEN)
    for name, said in BROKEN.items():
        found = [
            job for job in jobs.values() if f"workflow {name} is broken" in (job.description or "")
        ]
        assert len(found) == 1, name
        assert said in found[0].description, name
        failed = found[0].execute_in_process(raise_on_error=False)
        assert not failed.success
    assert {"good", "named", *FINE} <= set(jobs) - broken
    assert [schedule.name for schedule in repository.schedule_defs] == ["typo_schedule"]


@pytest.mark.parametrize("name", BROKEN)
def test_validate_says_what_is_wrong_and_where(project, name):
    problems = examine_workflow(project, project.notebooks / name).problems
    assert problems, name
    assert any(problem.path is not None for problem in problems)


def test_workflows_with_odd_names_of_checks_tags_and_owners_are_fine(project):
    for name in ("good", "named", *FINE):
        assert examine_workflow(project, project.notebooks / name).problems == [], name


@pytest.mark.parametrize(
    "command",
    [("workflow", "list"), ("runs", "list"), ("db", "tables"), ("workflow", "validate", "good")],
)
def test_commands_about_all_workflows_work_beside_broken_ones(project, command):
    done = dataflow(project, *command)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr


def test_a_broken_workflow_is_refused_with_what_is_wrong(project):
    ran = dataflow(project, "workflow", "run", "takes")
    assert ran.returncode in (1, 2)
    assert "good_raw.t" in ran.stderr


def test_different_checks_have_different_names_in_dagster():
    names = ["rows > 0", "rows < 0", "rows 0", "Rows 0", "rows_0", "größer", "no negative depths"]
    assert len({check_name(name) for name in names}) == len(names)
    assert check_name("no negative depths") == "no_negative_depths"
    assert all(name.isascii() for name in map(check_name, names))
