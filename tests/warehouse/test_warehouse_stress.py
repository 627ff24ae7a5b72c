"""Many processes at once, and processes that are killed: nothing is lost, nothing half seen."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import signal
import time
from pathlib import Path

import pytest
import warehouse_crowd as crowd
from projects import CAMPAIGN, wait_until

from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection
from dataflow.warehouse import versions
from dataflow.warehouse.inspect import check
from dataflow.warehouse.layout import Layout
from dataflow.warehouse.lock import lock_folder, read_holder

pytestmark = pytest.mark.slow

SECONDS = 10


@pytest.fixture(scope="module")
def processes():
    """Processes that start in milliseconds: forked from one that has everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["warehouse_crowd"])
    with pytest.MonkeyPatch.context() as patch:
        # The server starts with the first process, and finds the module by this only.
        patch.setenv("PYTHONPATH", str(Path(crowd.__file__).parent))
        yield context


@pytest.fixture
def crowded(project: Project) -> Project:
    crowd.prepare(project)
    return project


def test_eight_writers_four_readers_an_idle_notebook_and_dbt_get_along(
    crowded, processes, rows, tmp_path
):
    """No error, exact counts, complete versions, and nobody starves."""
    results = processes.Queue()
    stop = tmp_path / "stop"
    roles = [("writer", n) for n in range(8)] + [("reader", n) for n in range(4)]
    roles += [("idler", 0), ("builder", 0)]
    started = [
        processes.Process(target=crowd.run, args=(role, crowded.root, number, stop, results))
        for role, number in roles
    ]
    for process in started:
        process.start()
    wait_for_versions(crowded, 5)
    stop.touch()
    told = [results.get(timeout=60) for _ in started]
    for process in started:
        process.join(30)
        assert process.exitcode == 0
    assert [result["error"] for _, _, result in told if "error" in result] == []

    written = {number: result["batches"] for role, number, result in told if role == "writer"}
    counts = rows(
        "SELECT worker, count(DISTINCT batch), max(batch) + 1, count(*) FROM quakes_raw.events "
        "GROUP BY worker ORDER BY worker"
    )
    assert counts == [(n, b, b, b * crowd.ROWS_PER_BATCH) for n, b in sorted(written.items())]
    assert rows("SELECT count(*) FROM quakes_raw.batches") == [(sum(written.values()),)]
    assert min(written.values()) > 0.5 * max(written.values()), f"somebody starved: {written}"

    readers = [result for role, _, result in told if role == "reader"]
    assert all(result["reads"] > 5 and result["versions"] >= 2 for result in readers), readers
    assert all(result["versions_open"] for role, _, result in told if role == "idler")
    crowd.build(crowded)
    assert len(versions.all_versions(Layout.of(crowded))) == 1
    assert rows(crowd.SUMMARY, "published") == rows(crowd.SUMMARY)


def test_kills_at_random_moments_lose_nothing_that_was_acknowledged(
    crowded, processes, tmp_path, rows
):
    """After each `kill -9` of writes, builds and publishes everything opens and is complete."""
    source = random.Random(20240101)
    kills = 20 * CAMPAIGN
    log = tmp_path / "log"
    interrupted = 0
    for number in range(kills):
        log.write_bytes(b"")
        process = processes.Process(
            target=crowd.work_until_killed, args=(crowded.root, log, number)
        )
        process.start()
        wait_for_start(log, process)
        time.sleep(source.uniform(0, source.choice([0.1, 0.3])))
        os.kill(process.pid, signal.SIGKILL)
        process.join()

        lines = log.read_text().splitlines()
        interrupted += lines[-1].startswith("ready")
        acknowledged = int(lines[-1].split()[-1])
        with get_duckdb_connection(database="working", project=crowded, timeout=60) as conn:
            events, batches = conn.execute(
                "SELECT (SELECT count(*) FROM quakes_raw.events), "
                "(SELECT count(*) FROM quakes_raw.batches)"
            ).fetchone()
        assert events == crowd.ROWS_PER_BATCH * batches
        # What was acknowledged is there; at most the one write under way may be there too.
        assert batches - acknowledged in (0, 1)
        assert read_holder(crowded.warehouse) is None
        check_published(crowded, lines, rows)

    assert interrupted > kills / 2, "most kills should come in the middle of something"
    crowd.build(crowded)
    assert [version.number for version in versions.all_versions(Layout.of(crowded))] == [
        versions.current(Layout.of(crowded)).number
    ]
    assert list((lock_folder(crowded.warehouse) / "queue").iterdir()) == []
    assert all(finding.status == "ok" for finding in check(crowded))


def wait_for_versions(project: Project, count: int) -> None:
    """Let them work for some seconds, on a busy machine until enough was published."""
    started = time.monotonic()
    while time.monotonic() < started + 90:
        time.sleep(0.1)
        enough = versions.current(Layout.of(project)).number >= count
        if enough and time.monotonic() >= started + SECONDS:
            return


def wait_for_start(log, process) -> None:
    wait_until(lambda: b"ready" in log.read_bytes() or not process.is_alive(), every=0.002)
    assert b"ready" in log.read_bytes(), "the worker failed"


def check_published(project: Project, lines: list[str], rows) -> None:
    """The published version is whole, and not older than the last one acknowledged."""
    events, batches, built_events, built_batches = rows(crowd.SUMMARY, "published")[0]
    assert events == built_events == crowd.ROWS_PER_BATCH * batches
    assert batches == built_batches
    acknowledged = [re.fullmatch(r"version (\d+) with (\d+)", line) for line in lines]
    numbers = [(int(match[1]), int(match[2])) for match in acknowledged if match]
    if numbers:
        version, with_batches = numbers[-1]
        assert versions.current(Layout.of(project)).number >= version
        assert batches >= with_batches
