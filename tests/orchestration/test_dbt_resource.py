"""dbt as dagster-dbt starts it: one process for one command, and nothing asked of the network."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import psutil
import pytest
from projects import REPOSITORY, copy_dbt, has_ended, make_project, wait_until

from dataflow.dbt.build import ProjectDbt, dbt_resource, time_limit
from dataflow.dbt.command import dbt_environment
from dataflow.dbt.results import RESULTS, read_results

pytestmark = pytest.mark.slow


def test_one_command_is_one_process_that_knows_the_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "project", {})
    copy_dbt(project)
    for name, value in dbt_environment(project).items():
        monkeypatch.setenv(name, value)
    calls, counting = tmp_path / "calls.txt", tmp_path / "dbt"
    counting.write_text(
        f'#!/bin/sh\necho "$@" >> "{calls}"\nexec "{sys.executable}" -m dbt.cli.main "$@"\n'
    )
    counting.chmod(0o755)
    given = dbt_resource(project, project.dbt)
    dbt = ProjectDbt(
        project_dir=given.project_dir,
        profiles_dir=given.profiles_dir,
        dbt_executable=str(counting),
    )

    done = dbt.cli(["parse"], target_path=tmp_path / "target", raise_on_error=False).wait()

    assert done.is_successful()
    assert [line.split()[-1] for line in calls.read_text().splitlines()] == ["parse"]
    assert done.cli_version.major == 1


def test_a_dbt_that_never_ends_is_ended_at_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATAFLOW_DBT_TIMEOUT", "0.5")
    project = make_project(tmp_path / "project", {})
    for part in ("dbt_project.yml", "profiles.yml"):
        project.dbt.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / "dbt" / part, project.dbt / part)
    for name, value in dbt_environment(project).items():
        monkeypatch.setenv(name, value)
    hanging = tmp_path / "dbt"
    hanging.write_text("#!/bin/sh\nexec sleep 100\n")
    hanging.chmod(0o755)
    given = dbt_resource(project, project.dbt)
    dbt = ProjectDbt(
        project_dir=given.project_dir,
        profiles_dir=given.profiles_dir,
        dbt_executable=str(hanging),
    )
    invocation = dbt.cli(["build"], target_path=tmp_path / "target", raise_on_error=False)

    def build() -> None:
        with time_limit(invocation, project.settings.dbt_timeout):
            invocation.wait()

    with pytest.raises(dg.Failure, match=r"longer than 0\.5 seconds"):
        build()
    assert invocation.process.poll() is not None


def test_dbt_ends_with_its_run_even_by_kill_9(tmp_path: Path) -> None:
    starts = (
        "import subprocess, sys, time; from pathlib import Path;"
        "from dataflow.dbt.build import tied_command;"
        "command = tied_command(Path(sys.argv[1]), sys.argv[2]);"
        "print(subprocess.Popen([command, '600']).pid, flush=True); time.sleep(600)"
    )
    sleep = shutil.which("sleep")
    assert sleep
    run = subprocess.Popen(
        [sys.executable, "-c", starts, str(tmp_path), sleep], stdout=subprocess.PIPE, text=True
    )
    assert run.stdout
    dbt = psutil.Process(int(run.stdout.readline()))
    wait_until(lambda: dbt.name() == "sleep")

    run.kill()
    run.wait()

    wait_until(lambda: has_ended(dbt))


def test_a_test_that_dbt_skipped_is_no_check_that_passed(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", {})
    statuses = {"model.p.m": "error", "test.p.passed.1": "pass", "test.p.skipped.2": "skipped"}
    results = [{"unique_id": one, "status": status} for one, status in statuses.items()]
    (tmp_path / RESULTS).write_text(json.dumps({"results": results}))

    found = read_results(project, tmp_path)

    assert [(check["name"], check["passed"]) for check in found.checks] == [("passed", True)]
    assert found.failures == ["node model.p.m failed: error"]
