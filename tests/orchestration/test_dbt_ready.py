"""dbt that is forked builds what a new one builds, and leaves nothing."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest
from projects import (
    PATIENCE,
    command_of,
    copy_dbt,
    has_ended,
    make_project,
    run_data,
    run_folder,
    start_dataflow,
    variables_of,
    wait_until,
    write_files,
)

from dataflow.base.forked import PREFIX, Forked
from dataflow.dbt.build import building
from dataflow.dbt.ready import dbt_ready
from dataflow.project import Project
from dataflow.runs.record import Run, RunRecord, Step
from dataflow.warehouse.lock import write_lock

pytestmark = pytest.mark.slow

SECRET = "tok-77c1e2-only-for-this-test"
FILES = {
    "models/flow/numbers.sql": (
        'select 1 as n, \'{{ env_var("CITY", "") }}\' as city, {{ twice(4) }} as eight,'
        " current_setting('TimeZone') as zone"
    ),
    "models/flow/more.sql": "select n + 1 as n from {{ ref('numbers') }} cross join {{ ref('ten') }}",
    "models/flow/last.sql": "select n from {{ ref('more') }}",
    "models/flow/broken.sql": "select n / 'x'::integer as n from {{ ref('more') }}",
    "models/flow/flow.yml": """
models:
  - name: numbers
    columns: [{name: n, data_tests: [unique, not_null]}]
  - name: last
    columns: [{name: n, data_tests: [{accepted_values: {arguments: {values: [3]}}}]}]
  - name: more
    columns: [{name: n, data_tests: [not_null]}]
unit_tests:
  - name: adds
    model: more
    given:
      - {input: ref('numbers'), rows: [{n: 4}]}
      - {input: ref('ten'), rows: [{ten: 10}]}
    expect: {rows: [{n: 5}]}
""",
    "seeds/flow/ten.csv": "ten\n10\n",
    "snapshots/flow/kept.sql": (
        "{% snapshot kept %}{{ config(unique_key='n', strategy='check', check_cols='all',"
        " schema='flow') }} select * from {{ ref('more') }}{% endsnapshot %}"
    ),
    "macros/twice.sql": "{% macro twice(n) %}{{ n * 2 }}{% endmacro %}",
}
EDITED = {
    "models/flow/numbers.sql": FILES["models/flow/numbers.sql"] + ", 'edited' as other",
    "models/flow/added.sql": "select 'added' as a from {{ ref('numbers') }}",
    "macros/twice.sql": "{% macro twice(n) %}{{ n * 2 }} + 1{% endmacro %}",
    "seeds/flow/ten.csv": "ten\n10\n11\n",
}


def a_project(folder: Path) -> Project:
    project = make_project(folder, {"flow": {"stage": ["print(1)"]}})
    copy_dbt(project)
    write_files(project.dbt, FILES)
    return project


def build(project: Project, run_id: str) -> tuple[Any, dict[str, Any], str, dict[str, Any]]:
    """Build; returns the process, the results, what was printed, and the tables."""
    record = RunRecord(project, "flow", run_id)
    record.begin([{"name": "dbt", "kind": "dbt", "after": []}], trigger="test")
    with building(project, "flow", Step(record, "dbt", {"T": SECRET}), select="flow") as built:
        built.invocation.wait()
    record.end()
    results = built.results
    models = {name: model["status"] for name, model in results.models.items()}
    found = {"models": models, "failures": sorted(results.failures)}
    found["checks"] = sorted(results.checks, key=lambda check: check["name"])
    found["queries"] = results.queries
    with duckdb.connect(str(project.warehouse), read_only=True) as connection:
        names = connection.sql(
            "select table_name from information_schema.tables where table_schema = 'flow'"
        ).fetchall()
        tables = {
            name: connection.sql(
                f"select columns(c -> c not like 'dbt%') from flow.{name}"
            ).fetchall()
            for (name,) in names
        }
    return built.invocation.process, found, (record.folder / "dbt.log").read_text(), tables


def lines(log: str) -> list[str]:
    """What dbt said, but for times, numbers of threads' turns and ids."""
    said = [json.loads(line)["info"]["msg"] for line in log.splitlines() if line.startswith("{")]
    plain = [
        re.sub(r"\d+ of \d+|[\d.]+s\b|\d+(\.\d+)? seconds?|\d\d:\d\d:\d\d", "#", s) for s in said
    ]
    return sorted(re.sub(r"\x1b\[\d+m|0x\w+|/\S+/", "", line) for line in plain)


@pytest.fixture(autouse=True)
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("CITY", "Lima")
    with caplog.at_level(logging.INFO, logger="dataflow"):
        yield caplog


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return a_project(tmp_path_factory.mktemp("ready") / "project")


def test_a_forked_dbt_builds_what_a_started_one_builds(project, said, monkeypatch):
    monkeypatch.setenv("DATAFLOW_TIMEZONE", "Asia/Tokyo")
    with dbt_ready(project):
        ours = build(project, "1" * 32)
    theirs = build(project, "2" * 32)
    assert isinstance(ours[0], Forked), said.text
    assert not isinstance(theirs[0], Forked)
    assert ours[1] == theirs[1]
    assert ours[1]["models"] == {
        **dict.fromkeys(
            ("flow.numbers", "flow.more", "flow.last", "flow.ten", "flow.kept"), "success"
        ),
        "flow.broken": "error",
    }
    assert [c["name"] for c in ours[1]["checks"] if not c["passed"]] == [
        "accepted_values_last_n__3"
    ]
    assert len(ours[1]["checks"]) == 5
    assert lines(ours[2]) == lines(theirs[2])
    assert ours[3] == theirs[3]
    assert ours[3]["numbers"] == [(1, "Lima", 8, "Asia/Tokyo")]


def test_what_was_edited_after_dbt_was_ready_is_what_is_built(project, said):
    profiles = project.dbt / "profiles.yml"
    before = profiles.read_text()
    with ready(project):
        write_files(project.dbt, EDITED)
        (project.dbt / "models/flow/broken.sql").unlink()
        profiles.write_text(before.replace("threads: 4", "threads: 1"))
        process, found, log, tables = build(project, "3" * 32)
    profiles.write_text(before)
    assert isinstance(process, Forked), said.text
    assert "flow.broken" not in found["models"]
    assert tables["numbers"] == [(1, "Lima", 9, "UTC", "edited")]
    assert tables["added"] == [("added",)]
    assert tables["ten"] == [(10,), (11,)]
    assert "Concurrency: 1 threads" in log


def test_a_variable_that_was_changed_after_dbt_was_ready_counts(project, said, monkeypatch):
    with ready(project):
        monkeypatch.setenv("CITY", "Oslo")
        process, _, _, tables = build(project, "4" * 32)
    assert not isinstance(process, Forked)
    assert "the environment differs: CITY" in said.text
    assert tables["numbers"][0][1] == "Oslo"


def test_dbt_that_got_ready_leaves_nothing_and_writes_no_variables_value(
    project, said, monkeypatch
):
    monkeypatch.setenv("CITY", SECRET)
    monkeypatch.setattr(tempfile, "tempdir", str(project.state / "temporary"))
    (project.state / "temporary").mkdir()
    with ready(project) as server:
        [folder] = Path(tempfile.gettempdir()).glob(f"{PREFIX}*")
        files = [*folder.rglob("*"), *project.state.rglob("*"), *project.dbt.rglob("*")]
        texts = [path.read_bytes() for path in files if path.is_file()]
        assert len(texts) > 5
        assert [text for text in texts if SECRET.encode() in text] == []
    assert not folder.exists()
    assert has_ended(server)


def test_a_run_goes_on_without_the_process_in_which_dbt_was_ready(project, said):
    with ready(project) as server:
        server.kill()
        process, found, _, _ = build(project, "5" * 32)
    assert not isinstance(process, Forked)
    assert "dbt is started anew: its server does not answer" in said.text
    assert found["models"]["flow.added"] == "success"


@contextlib.contextmanager
def ready(project: Project) -> Iterator[psutil.Process]:
    """Wait until dbt is ready; yields its process."""
    before = psutil.Process().children()
    with dbt_ready(project):
        [server] = [child for child in psutil.Process().children() if child not in before]
        # It has read the project when it waits for somebody to ask.
        wait_until(lambda: "epoll" in Path(f"/proc/{server.pid}/wchan").read_text())
        yield server


@pytest.mark.parametrize(
    ("how", "status"),
    [(signal.SIGINT, "cancelled"), (signal.SIGTERM, "cancelled"), (signal.SIGKILL, "killed")],
)
def test_a_forked_dbt_ends_with_its_run(tmp_path, how, status):
    project = make_project(tmp_path / "project", {"slow": {"stage": ["print(1)"]}})
    copy_dbt(project)
    query = "select count(*) as n from range(10000000) a, range(10000000) b"
    one_core = '{{ config(pre_hook="SET threads TO 1") }}'
    write_files(project.dbt, {"models/slow/endless.sql": f"{one_core} {query}"})

    def at_work() -> list[psutil.Process]:
        warehouse = str(project.warehouse)
        return [
            process
            for process in psutil.process_iter()
            if variables_of(process).get("DATAFLOW_WAREHOUSE_PATH") == warehouse
        ]

    run = start_dataflow(project, "workflow", "run", "slow")
    wait_until(lambda: any("START sql" in log.read_text() for log in project.runs.rglob("dbt.log")))
    commands = [command_of(process) for process in at_work()]
    assert [command for command in commands if " build " in command and "sh " not in command]

    run.send_signal(how)
    run.communicate(timeout=PATIENCE)

    wait_until(lambda: not at_work())
    assert Run(run_folder(project, "slow"), run_data(project, "slow")).status == status
    with write_lock(project, holder="test", timeout=5):
        pass
