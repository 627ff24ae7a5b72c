"""Full disks and kills, many of them: nothing that was committed is lost, and what is said is true.

The disk is a small tmpfs; where it cannot be mounted, the sweep over full disks is skipped.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from projects import CAMPAIGN

from dataflow.errors import WarehouseError
from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection, write_table
from dataflow.warehouse.inspect import check

pytestmark = pytest.mark.slow

LOGGED = "SELECT range AS i, hash(range) AS h FROM range({rows})"
FULL = "the disk is full; nothing of this write was kept, earlier data is intact"
ROWS = "SELECT i AS id, random() AS a, md5(i::VARCHAR) AS b FROM range({rows}) t(i)"


def append(conn, batch: int, rows: int) -> None:
    write_table(conn, conn.sql(ROWS.format(rows=rows)), f"s.t{batch}", mode="append")


def replace(conn, batch: int, rows: int) -> None:
    write_table(conn, conn.sql(ROWS.format(rows=rows)), f"s.t{batch}")
    write_table(conn, conn.sql(ROWS.format(rows=rows)), f"s.t{batch}")


def by_sql(conn, batch: int, rows: int) -> None:
    conn.execute(f"CREATE TABLE s.t{batch} AS {ROWS.format(rows=rows)}")
    conn.execute(f"UPDATE s.t{batch} SET a = a + 1 WHERE id % 3 = 0")


def by_rows(conn, batch: int, rows: int) -> None:
    conn.execute(f"CREATE TABLE s.t{batch} (id BIGINT, a DOUBLE, b VARCHAR PRIMARY KEY)")
    conn.execute(f"INSERT INTO s.t{batch} {ROWS.format(rows=min(rows, 50_000))}")


WRITES: list[Callable[..., None]] = [append, replace, by_sql, by_rows]


def state(conn) -> dict[str, tuple[int, int]]:
    """Each table's rows and a sum over all its values."""
    names = conn.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 's'")
    return {
        name: conn.execute(f"SELECT count(*), bit_xor(hash(t)) FROM s.{name} t").fetchone()
        for (name,) in names.fetchall()
    }


def free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def leave_a_log(project: Project, number: int, rows: int) -> bool:
    """Commit a table into DuckDB's log only, as a process does that is killed; whether it fit."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            conn = duckdb.connect(str(project.warehouse))
            conn.execute(f"CREATE TABLE s.logged{number} AS {LOGGED.format(rows=rows)}")
            os._exit(0)
        os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def one_full_disk(project: Project, disk: Path, seed: int) -> str:
    """Write until the disk is full; returns what happened at the end."""
    dice = random.Random(seed)
    for path in disk.rglob("*"):
        if path.is_file():
            path.unlink()
    with get_duckdb_connection(database="working", project=project) as conn:
        conn.execute("CREATE SCHEMA s; CREATE TABLE s.first AS SELECT range AS i FROM range(3000)")
    ballast = disk / "ballast"
    left = int(dice.uniform(0.3, 8) * 2**20)
    ballast.write_bytes(b"x" * max(free(disk) - left, 0))
    with get_duckdb_connection(database="working", project=project) as conn:
        known = state(conn)
    ended = "fits"
    for batch in range(dice.randint(1, 6)):
        if dice.random() < 0.4:
            rows = dice.choice([100, 5000, 50_000])
            if leave_a_log(project, batch, rows):
                sums = duckdb.execute(
                    f"SELECT count(*), bit_xor(hash(t)) FROM ({LOGGED.format(rows=rows)}) t"
                )
                known[f"logged{batch}"] = sums.fetchone()
        write, rows = dice.choice(WRITES), dice.choice([1000, 30_000, 100_000, 300_000])
        try:
            with get_duckdb_connection(database="working", project=project) as conn:
                write(conn, batch, rows)
                wanted = state(conn)
            known = wanted
        except WarehouseError as error:
            ended = error.message
            break
    ballast.unlink()
    with get_duckdb_connection(database="working", project=project) as conn:
        assert state(conn) == known, f"{seed}: {ended}"
    assert all(finding.status == "ok" for finding in check(project)), seed
    return ended


def test_what_is_committed_survives_full_disks(project, small_disk):
    """Whatever the disk has room for: all that was committed is there, and the file is sound."""
    if not small_disk.is_mount():
        pytest.skip("NOT TESTED: full disks, as no tmpfs can be mounted (that needs root)")
    seeds = (8, 56, 78, 83, 99) if CAMPAIGN == 1 else range(5 * CAMPAIGN)
    ends = [one_full_disk(project, small_disk, seed) for seed in seeds]
    assert ends.count(FULL) > len(ends) / 2
    assert set(ends) <= {FULL, "fits"}
