"""The warehouse and a real dbt: builds beside writers and readers, and builds killed half-way."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
from pathlib import Path

import duckdb
import pytest
from projects import copy_repository, dataflow, environment, start_dataflow

from dataflow.dbt.command import dbt_command, dbt_environment
from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection
from dataflow.warehouse.lock import write_lock
from dataflow.warehouse.provenance import provenance
from dataflow.warehouse.publish import publish

pytestmark = pytest.mark.slow

SCHEMAS = ["earthquakes_raw", "earthquakes_staging", "earthquakes"]
EVENTS = """
CREATE SCHEMA IF NOT EXISTS earthquakes_raw;
CREATE OR REPLACE TABLE earthquakes_raw.events_clean AS
SELECT 'e' || i AS event_id, TIMESTAMP '2024-01-01' + to_minutes(i) AS occurred_at,
       (TIMESTAMP '2024-01-01' + to_minutes(i))::DATE AS local_day, (i % 6) + 0.5 AS magnitude,
       ['below 1', '1 to 2', '2 to 3', '3 to 4', '4 to 5', '5 and more'][i % 6 + 1]
           AS magnitude_band, 'ml' AS magnitude_type, 'Place ' || i AS place,
       'Region ' || (i % 3) AS region, 1.0 AS latitude, 2.0 AS longitude, 10.0 AS depth_km,
       100 AS significance, 'reviewed' AS status, 0 AS tsunami, 'https://x/' || i AS url,
       TIMESTAMP '2024-01-02' AS updated_at, 1 AS felt_reports, 'us' AS network,
       'earthquake' AS event_type
FROM range(3000) AS t(i);
CREATE OR REPLACE TABLE earthquakes_raw.events AS
SELECT event_id AS id FROM earthquakes_raw.events_clean;
CREATE OR REPLACE TABLE earthquakes_raw.ledger (i INTEGER);
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = copy_repository(tmp_path / "project")
    monkeypatch.setenv("DATAFLOW_PROJECT", str(project.root))
    monkeypatch.setenv("DATAFLOW_WORKFLOW", "earthquakes")
    with get_duckdb_connection(database="working") as connection:
        connection.execute(EVENTS)
    return project


def dbt(project: Project) -> subprocess.Popen[str]:
    return subprocess.Popen(
        dbt_command(project, "run", "--select", "path:models/earthquakes"),
        cwd=project.dbt,
        env={**environment(), **dbt_environment(project)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def published(project: Project) -> int:
    with get_duckdb_connection(read_only=True) as connection:
        return connection.execute("SELECT count(*) FROM earthquakes.events").fetchone()[0]


def test_writers_wait_for_a_real_build_and_readers_do_not(project):
    """A build holds the lock; what was written before and after it is all there."""
    with write_lock(project, holder="dbt build of earthquakes"):
        first = dbt(project)
        output, _ = first.communicate(timeout=120)
    assert first.returncode == 0, output
    publish(project, "earthquakes", SCHEMAS)
    written, failures = [], []
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            try:
                with get_duckdb_connection(database="working") as connection:
                    connection.execute("INSERT INTO earthquakes_raw.ledger VALUES (1)")
                written.append(1)
                assert published(project) == 3000
            except Exception as error:
                failures.append(error)
                return

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        with write_lock(project, holder="dbt build of earthquakes", timeout=60):
            before = len(written)
            second = dbt(project)
            output, _ = second.communicate(timeout=120)
            during = len(written) - before
        assert second.returncode == 0, output
    finally:
        stop.set()
        for writer in writers:
            writer.join(timeout=60)

    assert failures == []
    assert during <= len(writers), "each may have noted one write that was done before"
    with get_duckdb_connection(database="working") as connection:
        assert connection.execute("SELECT count(*) FROM earthquakes_raw.ledger").fetchone() == (
            len(written),
        )


def test_dbt_by_hand_waits_for_its_turn_and_ends_as_dbt_does(project):
    select = ("--select", "path:models/earthquakes")
    with write_lock(project, holder="ingest of earthquakes"):
        waiting = start_dataflow(project, "dbt", "run", *select)
        assert "held by ingest of earthquakes" in waiting.stderr.readline()
        listed = dataflow(project, "dbt", "--quiet", "ls", *select, "--resource-type", "model")
        assert "dataflow.earthquakes.marts.earthquakes__regions" in listed.stdout.splitlines()
    out, err = waiting.communicate(timeout=120)

    assert waiting.returncode == 0, out + err
    assert "Completed successfully" in out
    with get_duckdb_connection(database="working") as connection:
        assert connection.execute("SELECT count(*) FROM earthquakes.events").fetchone() == (3000,)
        made = provenance(connection)["earthquakes", "events"]
    assert made.run is None
    compiled = dataflow(project, "dbt", "compile", *select)
    assert compiled.returncode == 0
    with get_duckdb_connection(database="working") as connection:
        assert provenance(connection)["earthquakes", "events"] == made, "nothing was built"
    wrong = dataflow(project, "dbt", "run", "--select", "path:models/nowhere", "--nonsense")
    assert wrong.returncode == 2
    assert "--nonsense" in wrong.stderr + wrong.stdout
    assert dataflow(project, "dbt").returncode == 2


def test_a_killed_build_leaves_the_warehouse_and_what_is_published(project):
    with write_lock(project, holder="dbt build of earthquakes"):
        build = dbt(project)
        output, _ = build.communicate(timeout=120)
    assert build.returncode == 0, output
    publish(project, "earthquakes", SCHEMAS)
    dice = random.Random(7)
    for _ in range(5):
        with write_lock(project, holder="dbt build of earthquakes"):
            build = dbt(project)
            try:
                build.communicate(timeout=dice.uniform(1.0, 4.5))
            except subprocess.TimeoutExpired:
                build.send_signal(signal.SIGKILL)
                build.communicate()
        with get_duckdb_connection(database="working", timeout=20) as connection:
            connection.execute("INSERT INTO earthquakes_raw.ledger VALUES (1)")
            rows = connection.execute("SELECT count(*) FROM earthquakes_raw.events_clean")
            assert rows.fetchone() == (3000,)
        assert published(project) == 3000
    with duckdb.connect(str(project.warehouse)) as connection:
        assert connection.execute("SELECT sum(i) FROM earthquakes_raw.ledger").fetchone() == (5,)
