"""What the processes of the stress and crash tests do; each works until told to stop.

One fact holds at all times: every row in `batches` has exactly ten in `events`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import time
import traceback
from pathlib import Path
from typing import Any

import duckdb
import filelock  # noqa: F401 - imported here once, not by every process under the lock
import pandas as pd  # noqa: F401
import pyarrow
import pyarrow.dataset

from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection, write_table
from dataflow.warehouse.lock import write_lock
from dataflow.warehouse.publish import publish

ROWS_PER_BATCH = 10
SUMMARY = (
    "SELECT (SELECT count(*) FROM quakes_raw.events), (SELECT count(*) FROM quakes_raw.batches), "
    "(SELECT events FROM quakes.summary), (SELECT batches FROM quakes.summary)"
)


def prepare(project: Project) -> None:
    """Make the tables, empty, and publish them."""
    with get_duckdb_connection(database="working", project=project) as conn:
        conn.execute("CREATE SCHEMA IF NOT EXISTS quakes_raw; CREATE SCHEMA IF NOT EXISTS quakes")
        conn.execute("CREATE TABLE quakes_raw.events (worker BIGINT, batch BIGINT, value DOUBLE)")
        conn.execute("CREATE TABLE quakes_raw.batches (worker BIGINT, batch BIGINT)")
    build(project)


def write_batch(project: Project, worker: int, batch: int, values: list[float]) -> None:
    """Ten events and the batch they belong to, in one transaction."""
    with get_duckdb_connection(database="working", project=project, timeout=120) as conn:
        rows = pyarrow.table(
            {
                "worker": [worker] * ROWS_PER_BATCH,
                "batch": [batch] * ROWS_PER_BATCH,
                "value": values,
            }
        )
        write_table(conn, rows, "quakes_raw.events", mode="append")
        conn.execute("INSERT INTO quakes_raw.batches VALUES (?, ?)", [worker, batch])


def build(project: Project, big_table_bytes: int = 2**30) -> int:
    """What dbt and the publish after it do: a connection of its own, under the write lock."""
    with write_lock(project, "dbt build of quakes", timeout=120):
        with contextlib.closing(duckdb.connect(str(project.warehouse))) as connection:
            connection.execute(
                "CREATE OR REPLACE TABLE quakes.summary AS SELECT "
                "(SELECT count(*) FROM quakes_raw.events) AS events, "
                "(SELECT count(*) FROM quakes_raw.batches) AS batches"
            )
        return publish(project, "quakes", keep_seconds=0, big_table_bytes=big_table_bytes).version


def writer(project: Project, worker: int, stop: Path) -> dict[str, Any]:
    """Write batches one after the other; counts those that were acknowledged."""
    source = random.Random(worker)
    for batch in itertools.count():
        if stop.exists():
            return {"batches": batch}
        write_batch(project, worker, batch, [source.random() for _ in range(ROWS_PER_BATCH)])
    raise AssertionError


def builder(project: Project, worker: int, stop: Path) -> dict[str, Any]:
    """Build and publish again and again."""
    version = 0
    while not stop.exists():
        version = build(project, big_table_bytes=1 if version % 2 else 2**30)
        time.sleep(0.3)
    return {"version": version}


def reader(project: Project, worker: int, stop: Path) -> dict[str, Any]:
    """Look at the published version again and again: complete, and never an older one."""
    last, reads, seen = (0, 0), 0, set()
    while not stop.exists():
        with get_duckdb_connection(database="published", project=project) as conn:
            number = int(conn.path.parent.name)
            events, batches, built_events, built_batches = conn.execute(SUMMARY).fetchone()
        assert events == built_events == ROWS_PER_BATCH * batches, (events, batches, built_events)
        assert batches == built_batches
        assert (number, batches) >= last, (number, batches, last)
        last = (number, batches)
        seen.add(number)
        reads += 1
        time.sleep(0.02)
    return {"reads": reads, "versions": len(seen)}


def idler(project: Project, worker: int, stop: Path) -> dict[str, Any]:
    """Keep one published version open all the time, as a notebook in JupyterLab does."""
    with get_duckdb_connection(database="published", project=project) as conn:
        first = conn.execute(SUMMARY).fetchone()
        while not stop.exists():
            assert conn.execute(SUMMARY).fetchone() == first
            time.sleep(0.2)
        return {"versions_open": conn.path.exists()}


def run(role: str, root: Path, worker: int, stop: Path, results: Any) -> None:
    """One process: do a role's work and put its result, or its traceback, into a queue."""
    try:
        result = globals()[role](Project(root), worker, stop)
    except BaseException:
        result = {"error": traceback.format_exc()}
    results.put((role, worker, result))


def work_until_killed(root: Path, log: Path, seed: int) -> None:
    """Write, build and publish at random; log each thing once it was acknowledged.

    Each line of the log says how many batches were acknowledged until then.
    """
    project, source = Project(root), random.Random(seed)
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with get_duckdb_connection(database="working", project=project) as conn:
        row = conn.execute("SELECT count(*) FROM quakes_raw.batches").fetchone()
    batches = row[0]
    while True:
        os.write(handle, b"ready with %d\n" % batches)
        if source.random() < 0.6:
            write_batch(project, 0, batches, [0.5] * ROWS_PER_BATCH)
            batches += 1
            os.write(handle, b"batches %d\n" % batches)
        else:
            version = build(project, big_table_bytes=source.choice([1, 2**30]))
            os.write(handle, b"version %d with %d\n" % (version, batches))
