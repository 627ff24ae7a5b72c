"""What the warehouse costs: many writers against plain DuckDB, and a publish by size.

    python benchmarks/warehouse.py [--seconds 4] [--writers 8] [--megabytes 200] [--rows 10000]

Everything is measured in one run on one machine, in a temporary folder; the ratios carry
over to other machines, the seconds do not.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import filelock  # noqa: F401 - imported before anything is timed
import pandas as pd
import pyarrow.dataset  # noqa: F401

from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection, write_table
from dataflow.warehouse.store import publish


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=4, help="for each measurement of writing; 0 leaves it out"
    )
    parser.add_argument("--writers", type=int, default=8, help="processes that write at once")
    parser.add_argument("--rows", type=int, default=10_000, help="rows of a large batch")
    parser.add_argument("--megabytes", type=float, default=200, help="size of what is published")
    options = parser.parse_args()
    print(f"DuckDB {duckdb.__version__}, {os.cpu_count()} CPUs\n")
    for rows in (10, options.rows) if options.seconds else ():
        measure_writing(rows, options.writers, options.seconds)
    measure_publishing(options.megabytes)


def measure_writing(rows: int, writers: int, seconds: float) -> None:
    """Batches a second: plain DuckDB alone, then through the write lock, one and many."""
    print(f"Writing batches of {rows:,} rows, each its own transaction")
    frame = pd.DataFrame({"id": range(rows), "value": [0.5] * rows, "place": ["somewhere"] * rows})
    ways: list[tuple[str, int, Callable[..., Any]]] = [
        ("plain DuckDB, 1 writer, opened once", 1, write_plain_open),
        ("plain DuckDB, 1 writer, opened for each batch", 1, write_plain),
        ("DATAFLOW, 1 writer", 1, write_ours),
        (f"DATAFLOW, {writers} writers", writers, write_ours),
    ]
    baseline: list[float] = []
    print(f"  {'':48}{'batches/s':>10}{'rows/s':>12}{'of open':>9}{'of opened each':>16}")
    for name, count, write in ways:
        with temporary_project() as project:
            total = in_processes(count, write, project.root, frame, time.time() + 1, seconds)
            check(project, total * rows)
        rate = total / seconds
        baseline.append(rate)
        ratios = "".join(
            f"{rate / other:{width}.2f}"
            for other, width in zip(baseline[:2], (9, 16), strict=False)
        )
        print(f"  {name:48}{rate:10.1f}{rate * rows:12,.0f}{ratios}")
    print()


def write_plain_open(root: Path, frame: pd.DataFrame, start: float, seconds: float) -> int:
    """One plain connection, kept open; a commit for each batch."""
    connection = duckdb.connect(str(Project(root).warehouse))
    connection.execute(
        "CREATE SCHEMA bench; CREATE TABLE bench.t (id BIGINT, value DOUBLE, place VARCHAR)"
    )
    connection.register("batch", frame)
    return repeat(start, seconds, lambda: connection.execute("INSERT INTO bench.t FROM batch"))


def write_plain(root: Path, frame: pd.DataFrame, start: float, seconds: float) -> int:
    """A plain connection opened and closed for each batch: what several programs must do."""
    path = str(Project(root).warehouse)
    with duckdb.connect(path) as connection:
        connection.execute(
            "CREATE SCHEMA bench; CREATE TABLE bench.t (id BIGINT, value DOUBLE, place VARCHAR)"
        )

    def write() -> None:
        with duckdb.connect(path) as connection:
            connection.register("batch", frame)
            connection.execute("INSERT INTO bench.t FROM batch")

    return repeat(start, seconds, write)


def write_ours(root: Path, frame: pd.DataFrame, start: float, seconds: float) -> int:
    """What a stage does."""
    project = Project(root)

    def write() -> None:
        with get_duckdb_connection(database="working", project=project) as conn:
            write_table(conn, frame, "bench.t", mode="append")

    return repeat(start, seconds, write)


def repeat(start: float, seconds: float, write: Callable[[], Any]) -> int:
    """Call `write` from `start` on for some seconds; how often it was done."""
    time.sleep(max(start - time.time(), 0))
    done = 0
    while time.time() < start + seconds:
        write()
        done += 1
    return done


def in_processes(count: int, target: Callable[..., int], *arguments: Any) -> int:
    """Run `target` in `count` processes at once; the sum of what they return."""
    with multiprocessing.get_context("fork").Pool(count) as pool:
        return sum(pool.starmap(target, [arguments] * count))


def check(project: Project, rows: int) -> None:
    """The rows that were acknowledged are there, no more and no fewer."""
    with duckdb.connect(str(project.warehouse)) as connection:
        found = connection.execute("SELECT count(*) FROM bench.t").fetchone()
    assert found == (rows,), (found, rows)


def measure_publishing(megabytes: float) -> None:
    """Seconds and bytes of publishing a large workflow, again, and a small one beside it."""
    print(f"Publishing a workflow of about {megabytes:,.0f} MB")
    with temporary_project() as project:
        make_large(project, megabytes)
        size = project.warehouse.stat().st_size
        print(f"  {'working warehouse':48}{size / 1e6:10,.1f} MB")
        started = time.perf_counter()
        shutil.copyfile(project.warehouse, project.root / "copy")
        report("for comparison: copying that file", time.perf_counter() - started, size)
        (project.root / "copy").unlink()
        for name, workflow in (
            ("first publish of the large workflow", "large"),
            ("the same again", "large"),
            ("a small workflow beside it", "small"),
        ):
            done = publish(project, workflow, keep_seconds=0)
            report(name, done.seconds, done.bytes_copied, done.seconds_locked)
        started = time.perf_counter()
        with get_duckdb_connection(database="development", project=project) as conn:
            conn.execute("SELECT 1")
        report("development copy made from it", time.perf_counter() - started, None)


def make_large(project: Project, megabytes: float) -> None:
    """One table of the size wanted, and a small workflow of its own."""
    with get_duckdb_connection(database="working", project=project) as conn:
        conn.execute("CREATE SCHEMA small; CREATE TABLE small.t AS FROM range(1000)")
        conn.execute("CREATE SCHEMA large")
        conn.execute(
            "CREATE TABLE large.events AS SELECT i AS id, random() AS magnitude, random() AS "
            "latitude, random() AS longitude, 'place ' || (random() * 100000)::INT || ' of region '"
            "|| (i % 50) AS place, TIMESTAMPTZ '2024-01-01' + to_seconds(i) AS at, "
            "(random() * 10000)::INT AS significance FROM range(?) t(i)",
            [int(megabytes * 1e6 / 32)],
        )


def report(name: str, seconds: float, size: int | None, locked: float | None = None) -> None:
    """One line."""
    written = "" if size is None else f"{size / 1e6:10,.1f} MB written"
    waited = "" if locked is None else f", writers locked out for {locked:.2f} s"
    print(f"  {name:48}{seconds:10.2f} s {written}{waited}")


@contextlib.contextmanager
def temporary_project() -> Iterator[Project]:
    """An empty project in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="dataflow-benchmark-") as folder:
        root = Path(folder)
        (root / "pyproject.toml").write_text("[tool.dataflow]\n")
        (root / ".duckdb").mkdir()
        yield Project(root)


if __name__ == "__main__":
    main()
