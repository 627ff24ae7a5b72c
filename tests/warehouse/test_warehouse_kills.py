"""`publish` killed at any moment, beside a reader: one whole version is always there to read."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from projects import CAMPAIGN

from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection
from dataflow.warehouse import versions
from dataflow.warehouse.inspect import check
from dataflow.warehouse.layout import BLOCK_BYTES, Layout
from dataflow.warehouse.publish import publish

pytestmark = pytest.mark.slow

TABLES = ("quakes_raw.small", "quakes.big", "quakes_staging.seen")

# Reads each table of a version, in a transaction of its own for each: all of one number, that never
# goes back, also in a version that stays open while others come.
READER = """
import pathlib, sys, time
from dataflow.shared.db import get_duckdb_connection
reads, last = 0, 0
while not pathlib.Path(sys.argv[1]).exists():
    with get_duckdb_connection(database="published", timeout=5) as conn:
        for again in range(1 + (reads % 7 == 0)):
            found = {
                row for table in TABLES
                for row in conn.execute(f"SELECT min(n), max(n), count(*) FROM {table}").fetchall()
            }
            assert len(found) == 1, found
            least, most, rows = found.pop()
            assert least == most >= last and rows == 20_000, (least, most, rows, last)
            last = least
            time.sleep(0.1 * again)
    reads += 1
    if reads == 1:
        print("reads", flush=True)
print(reads, last)
"""


def write(project: Project, number: int) -> None:
    """Put `number` into every row of every table."""
    with get_duckdb_connection(database="working", project=project) as conn:
        for table, more in (("quakes_raw.small", ""), ("quakes.big", ", md5(i::VARCHAR) AS x")):
            conn.execute(f"CREATE SCHEMA IF NOT EXISTS {table.split('.')[0]}")
            conn.execute(
                f"CREATE OR REPLACE TABLE {table} AS "
                f"SELECT {number} AS n{more} FROM range(20_000) t(i)"
            )
        conn.execute("CREATE SCHEMA IF NOT EXISTS quakes_staging")
        conn.execute("CREATE OR REPLACE VIEW quakes_staging.seen AS FROM quakes.big")


def publish_now(project: Project) -> int:
    # The big table becomes a file, the small one stays inside.
    return publish(project, "quakes", keep_seconds=0, big_table_bytes=2 * BLOCK_BYTES).version


def killed_publish(project: Project, seconds: float) -> bool:
    """Publish in a process that is killed after so many seconds; whether it was still at it."""
    child = os.fork()
    if child == 0:
        try:
            publish_now(project)
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_readers_have_one_whole_version_whenever_publish_is_killed(project, python, tmp_path):
    kills = 12 * CAMPAIGN
    dice = random.Random(kills)
    layout = Layout.of(project)
    write(project, 1)
    started = time.monotonic()
    publish_now(project)
    usual = time.monotonic() - started
    reader = python.start_and_wait_for("reads", f"TABLES = {TABLES!r}\n{READER}", tmp_path / "stop")
    at_work = 0
    for number in range(2, kills + 2):
        write(project, number)
        at_work += killed_publish(project, dice.uniform(0, usual))
        assert reader.poll() is None, reader.stderr.read()
        if dice.random() < 0.3:
            version = publish_now(project)
            current = versions.current(layout)
            assert current is not None
            assert current.number == version
            left = {path.name for path in layout.published.iterdir()}
            numbers = {name for name in left if name.isdigit()}
            assert left - numbers == {"current", "data", "locks"}
            assert len(numbers) <= 2, "the reader's own may stay"
            assert len(list(layout.data.iterdir())) <= len(numbers)
            assert list((layout.published / "locks" / "queue").iterdir()) == []
            with get_duckdb_connection(database="published", project=project) as conn:
                assert conn.execute("SELECT max(n) FROM quakes.big").fetchone() == (number,)
    assert at_work > kills / 3
    last = publish_now(project)
    (tmp_path / "stop").touch()
    out = python.finish(reader)
    assert int(out.split()[-2]) > kills
    publish_now(project)
    assert [version.number for version in versions.all_versions(layout)] == [last + 1]
    assert all(finding.status == "ok" for finding in check(project))
