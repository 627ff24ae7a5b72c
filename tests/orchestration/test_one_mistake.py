"""One author's mistake stays theirs: other workflows load, run and validate as if it were not there."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from projects import Workflow, copy_dbt, dataflow, make_project

from dataflow.orchestration.build import BROKEN_TAG, build_definitions
from dataflow.orchestration.dagster_names import check_name
from dataflow.project import Project
from dataflow.validation.workflow import examine_workflow, stray_folders
from dataflow.workflows.registry import read_workflows

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
    "umläut": "lower-case letters",
    "takes": "good_raw.t",
    "syntax": "not valid Python",
    "in_circles": "good_in_circles",
    "endless": "RecursionError",
    "skips": "Skipped",
    "alias": "in itself",
    "nested": "nested too deeply",
    "latin": "cannot be read",
    "list": "not a mapping",
    "cron": "99 6 * * *",
    "twice": "given twice",
    "zone": "Mars/One",
    "links": "no notebook `work.ipynb`",
    "empty_notebook": "not a valid notebook",
    "odd name!": "lower-case letters",
}
# What a config.yaml holds, by the workflow.
CONFIGS = {
    "alias": b"workflow: &w\n  name: *w\n",
    "nested": b"workflow:\n  name: " + b"[" * 3000,
    "latin": b"workflow:\n  name: \xe4\n",
    "list": b"- workflow\n",
    "twice": b"workflow:\n  name: a\nworkflow:\n  name: b\n",
    "zone": b"workflow:\n  name: a\n  schedule: '0 6 * * *'\n  timezone: Mars/One\n",
    "cron": b"workflow:\n  name: a\n  schedule: '99 6 * * *'\n",
}
# What a dagster_job.py holds, by the workflow.
JOB_FILES = {
    "syntax": "def whole(:\n",
    "in_circles": "from .good_in_circles import whole\n",
    "endless": "def whole():\n    whole()\n\nwhole()\n",
    "skips": "import pytest\npytest.skip('not here', allow_module_level=True)\n",
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
            "links": Workflow({}, [{"notebook": "work.ipynb"}]),
            "empty_notebook": plain,
            "odd name!": plain,
            **dict.fromkeys(CONFIGS, plain),
            # Right each by itself, and one step's name together.
            "pair": {"of__names": ["1"]},
            "pair__of": {"names": ["1"]},
            **FINE,
            "named": Workflow(plain, config={"workflow": {"name": "Named", **names}}),
        },
    )
    (made.notebooks / "merged" / "work.ipynb").write_text(CONFLICT)
    (made.notebooks / "empty_notebook" / "work.ipynb").write_text("")
    (made.notebooks / "links" / "work.ipynb").symlink_to("work.ipynb")
    (made.notebooks / "links" / "again").symlink_to("..")
    for name, content in CONFIGS.items():
        (made.notebooks / name / "config.yaml").write_bytes(content)
    for name, code in JOB_FILES.items():
        folder = write_config(made, name, f"workflow:\n  name: {name}\n")
        (folder / "dagster_job.py").write_text(code)
    (made.notebooks / "in_circles" / "good_in_circles.py").write_text(
        "from .dagster_job import whole\n"
    )
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


@pytest.mark.slow
def test_a_good_workflow_runs_beside_all_the_mistakes(project):
    ran = dataflow(project, "workflow", "run", "good", timeout=400)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.slow
def test_dagster_shows_broken_workflows_as_broken_and_keeps_their_schedules(project, repository):
    jobs = {job.name: job for job in repository.get_all_jobs()}
    broken = {name for name, job in jobs.items() if BROKEN_TAG in job.tags}
    assert len(broken) == len(BROKEN) + 1  # and the later one of the pair
    for name, said in BROKEN.items():
        found = [
            job for job in jobs.values() if f"workflow {name} is broken" in (job.description or "")
        ]
        assert len(found) == 1, name
        assert said in found[0].description, name
        failed = found[0].execute_in_process(raise_on_error=False)
        assert not failed.success
    assert "pair__of" in broken
    assert {"good", "named", "pair", *FINE} <= set(jobs) - broken
    assert [schedule.name for schedule in repository.schedule_defs] == ["typo_schedule"]


@pytest.mark.parametrize("name", BROKEN)
def test_validate_says_what_is_wrong_and_where(project, name):
    problems = examine_workflow(project, project.notebooks / name).problems
    assert problems, name
    assert any(problem.path is not None for problem in problems)


def test_workflows_with_odd_names_of_checks_tags_and_owners_are_fine(project):
    for name in ("good", "named", *FINE):
        assert examine_workflow(project, project.notebooks / name).problems == [], name


@pytest.mark.slow  # the first test of this file runs and publishes
@pytest.mark.parametrize(
    "command",
    [
        ("workflow", "list"),
        ("runs", "list"),
        ("db", "tables"),
        ("workflow", "validate", "good"),
        ("config", "show", "good"),
    ],
)
def test_commands_about_all_workflows_work_beside_broken_ones(project, command):
    done = dataflow(project, *command)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr


def test_doctor_lists_the_broken_workflows(project):
    done = dataflow(project, "doctor")
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
    assert "alias" in done.stdout + done.stderr


def test_a_broken_workflow_is_refused_with_what_is_wrong(project):
    ran = dataflow(project, "workflow", "run", "takes")
    assert ran.returncode in (1, 2)
    assert "good_raw.t" in ran.stderr


def test_different_checks_have_different_names_in_dagster():
    names = ["rows > 0", "rows < 0", "rows 0", "Rows 0", "rows_0", "größer", "no negative depths"]
    assert len({check_name(name) for name in names}) == len(names)
    assert check_name("no negative depths") == "no_negative_depths"
    assert all(name.isascii() for name in map(check_name, names))


def test_a_folder_that_cannot_be_read_is_named_and_nothing_else_is_hindered():
    with tempfile.TemporaryDirectory() as home:
        project = make_project(Path(home) / "project", {"good": {"work": ["1"]}})
        (project.notebooks / "closed").mkdir(mode=0)
        for folder in (Path(home), project.root, project.notebooks, project.notebooks / "good"):
            folder.chmod(0o755)
        with anybody():
            problems = stray_folders(project)
            found = [entry.id for entry in read_workflows(project)]
    assert [(problem.path, "cannot be read" in problem.message) for problem in problems] == [
        (project.notebooks / "closed", True)
    ]
    assert found == ["good"]


@contextlib.contextmanager
def anybody() -> Iterator[None]:
    """Without the rights of the machine's administrator, whom no permission keeps out."""
    administrator = os.geteuid() == 0
    if administrator:
        os.seteuid(65534)
    try:
        yield
    finally:
        if administrator:
            os.seteuid(0)


@pytest.mark.slow
def test_dbt_files_that_dbt_cannot_read_break_their_own_workflow_only(tmp_path, monkeypatch):
    write = (
        "from dataflow.shared.db import get_duckdb_connection, write_table\n"
        "with get_duckdb_connection() as conn:\n"
        "    write_table(conn, conn.sql('select 1 as a'), 't')"
    )
    made = Workflow({"work": [write]}, [{"notebook": "work.ipynb", "writes": ["t"]}])
    wrong = {
        "jinja": ("m_jinja.sql", b"select {{ a"),
        "yml": ("models.yml", b"models:\n  - name: b\n   columns: ["),
        "latin": ("m_latin.sql", b"select '\xe4' as a"),
    }
    project = make_project(tmp_path / "project", dict.fromkeys(["good", *wrong], made))
    copy_dbt(project)
    models = project.dbt / "models"
    for workflow_id in ("good", *wrong):
        (models / workflow_id).mkdir(parents=True)
        source = {"name": f"{workflow_id}_raw", "tables": [{"name": "t"}]}
        (models / workflow_id / "sources.yml").write_text(yaml.safe_dump({"sources": [source]}))
        model = f"select * from {{{{ source('{workflow_id}_raw', 't') }}}}"
        (models / workflow_id / f"m_of_{workflow_id}.sql").write_text(model)
    for workflow_id, (name, content) in wrong.items():
        (models / workflow_id / name).write_bytes(content)

    ran = dataflow(project, "workflow", "run", "good", timeout=400)
    refused = dataflow(project, "workflow", "run", "jinja")
    checked = dataflow(project, "workflow", "validate")

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "m_of_good" in dataflow(project, "db", "tables").stdout
    assert refused.returncode == 2
    assert "models/jinja/m_jinja.sql" in refused.stderr
    assert checked.returncode == 2
    for file in ("m_jinja.sql", "yml/models.yml", "m_latin.sql"):
        assert file in checked.stderr
    monkeypatch.setenv("DATAFLOW_PROJECT", str(project.root))
    repository = build_definitions(project).get_repository_def()
    jobs = {job.name: job for job in repository.get_all_jobs()}
    assert {name for name in wrong if BROKEN_TAG in jobs[name].tags} == set(wrong)
    assert BROKEN_TAG not in jobs["good"].tags
    assert "m_latin.sql is not in UTF-8" in jobs["latin"].description
