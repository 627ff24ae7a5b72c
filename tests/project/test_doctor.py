"""`dataflow doctor` and `dataflow config`: what they say about a project."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest
from projects import Workflow, dataflow, make_project, parameters

from dataflow.doctor.machine import check_packages
from dataflow.doctor.project import examine
from dataflow.project import Project


@pytest.fixture
def project(tmp_path) -> Project:
    return make_project(
        tmp_path / "project",
        {
            "sales": Workflow(
                notebooks={"orders": [parameters("token: str = ''  # the service's key")]},
                stages=[{"notebook": "orders.ipynb", "parameters": {"token": "${SHOP_TOKEN}"}}],
            )
        },
    )


def test_the_doctor_finds_what_is_wrong_and_says_how_to_fix_it(project, monkeypatch):
    monkeypatch.delenv("SHOP_TOKEN", raising=False)
    project.warehouse.parent.mkdir(parents=True)
    project.warehouse.write_text("not a database, however long this text is" * 100)
    project.warehouse.chmod(0o644)
    project.root.chmod(0o2775)

    findings = {finding.subject: finding for finding in examine(project)}

    assert findings["Python"].status == "ok"
    assert findings["kernel"].status == "ok"
    assert findings["warehouse"].status == "broken"
    assert ".duckdb/dataflow.duckdb" in findings["shared folder"].detail
    assert "SHOP_TOKEN" in findings["variables"].detail
    assert all(f.hint for f in findings.values() if f.status != "ok")


def test_the_doctor_ends_with_1_when_something_is_broken(project):
    project.warehouse.parent.mkdir(parents=True)
    project.warehouse.write_text("not a database" * 1000)

    result = dataflow(project, "doctor", "--json")

    assert result.returncode == 1, result.stderr
    statuses = {finding["subject"]: finding["status"] for finding in json.loads(result.stdout)}
    assert statuses["warehouse"] == "broken"


def test_a_secret_is_shown_as_its_name_and_whether_it_is_set(project):
    unset = dataflow(project, "config", "show", "sales")
    assert unset.returncode == 0, unset.stderr
    assert "not set" in unset.stdout

    value = "sk-very-secret-value"
    for arguments in (["show", "sales"], ["show", "sales", "--json"], ["list"]):
        shown = dataflow(project, "config", *arguments, env={"SHOP_TOKEN": value})
        assert shown.returncode == 0, shown.stderr
        assert "SHOP_TOKEN" in shown.stdout
        assert value not in shown.stdout + shown.stderr


def test_an_unset_variable_makes_the_configuration_invalid(project):
    result = dataflow(project, "config", "validate", "sales")

    assert result.returncode == 2
    assert "SHOP_TOKEN" in result.stderr
    assert "config.yaml:" in result.stderr
    fine = dataflow(project, "config", "validate", "sales", env={"SHOP_TOKEN": "x"})
    assert fine.returncode == 0, fine.stderr


def test_packages_are_compared_with_the_lock(project):
    lock = project.root / "requirements.lock"
    lock.write_text(
        "duckdb==0.0.1 \\\n    --hash=sha256:00\n"
        "pandas==0.0.1 ; sys_platform == 'no-such-system'\n"
        f"httpx=={version('httpx')}\n    # via nothing\n",
        encoding="utf-8",
    )

    (finding,) = check_packages(project)

    assert finding.status == "warning"
    assert f"duckdb {version('duckdb')} (locked: 0.0.1)" in finding.detail
    assert "httpx" not in finding.detail
    assert "pandas" not in finding.detail, "the lock is for every system"
    lock.write_text(f"duckdb=={version('duckdb')}\n", encoding="utf-8")
    assert [one.status for one in check_packages(project)] == ["ok"]
