"""The write lock: one at a time, in order of arrival, freed when its holder dies."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time

import pytest
from projects import wait_until

from dataflow.base import lock
from dataflow.errors import WarehouseLocked
from dataflow.shared.db import get_duckdb_connection
from dataflow.warehouse.lock import read_holder, write_lock

HOLD = """
import sys, time
from dataflow.project import Project
from dataflow.warehouse.lock import write_lock
run_id = sys.argv[2] if len(sys.argv) > 2 else None
with write_lock(Project.find(), "dbt build of quakes", run_id=run_id):
    print("held", flush=True)
    sys.stdin.readline() if len(sys.argv) < 2 else time.sleep(float(sys.argv[1]))
"""
QUEUE = """
import sys
from dataflow.project import Project
from dataflow.warehouse.lock import write_lock
with write_lock(Project.find(), "waiter " + sys.argv[1]):
    open(sys.argv[2], "a").write(sys.argv[1] + " ")
"""


def queue_length(project) -> int:
    return len(list((project.warehouse.parent / "locks" / "queue").iterdir()))


def test_the_holder_can_be_read(project, monkeypatch):
    monkeypatch.setenv("DATAFLOW_RUN_ID", "20240101T000000-abcd")
    monkeypatch.setenv("DATAFLOW_WORKFLOW", "quakes")
    monkeypatch.setenv("DATAFLOW_STAGE", "ingest")
    with write_lock(project):
        holder = read_holder(project.warehouse)
        assert (holder.name, holder.pid) == ("stage ingest of quakes", os.getpid())
        assert (holder.run_id, holder.stage) == ("20240101T000000-abcd", "ingest")
    assert read_holder(project.warehouse) is None


def test_a_second_process_gives_up_after_its_time_limit_and_names_the_holder(
    project, python, caplog
):
    holder = python.start_and_wait_for("held", HOLD, 600)
    started = time.monotonic()
    with pytest.raises(WarehouseLocked) as caught, write_lock(project, timeout=1.3):
        pytest.fail("two processes held the lock")
    assert 1.2 < time.monotonic() - started < 50
    assert f"dbt build of quakes (pid {holder.pid}, since " in str(caught.value)
    assert f"kill {holder.pid}" in caught.value.hint
    assert len(caplog.messages) == 1
    assert "Waiting for the warehouse, held by dbt build of quakes" in caplog.messages[0]
    assert queue_length(project) == 0


def test_a_run_is_waited_for_longer_than_somebody_who_holds_it_by_hand(
    project, python, monkeypatch
):
    monkeypatch.setattr(lock, "DEFAULT_TIMEOUT", 0.5)
    run = python.start_and_wait_for("held", HOLD, 600, "20240101T000000-abcd")
    threading.Timer(1.5, run.kill).start()
    with write_lock(project, timeout=0.5):
        assert run.wait() == -signal.SIGKILL

    python.start_and_wait_for("held", HOLD, 600)
    with pytest.raises(WarehouseLocked), write_lock(project, timeout=0.5):
        pytest.fail("two processes held the lock")


def test_a_lock_of_a_killed_process_is_free_at_once(project, python):
    holder = python.start_and_wait_for("held", HOLD, 600)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with write_lock(project, timeout=0):
        pass


def test_waiters_are_served_in_the_order_they_came(project, python, tmp_path):
    holder = python.start_and_wait_for("held", HOLD, 600)
    order = tmp_path / "order"
    waiters = []
    for number in range(5):
        waiters.append(python.start(QUEUE, number, order))
        wait_until(lambda n=number: queue_length(project) == n + 1)
    holder.kill()
    for waiter in waiters:
        python.finish(waiter)
    assert order.read_text().split() == ["0", "1", "2", "3", "4"]


def test_a_waiter_that_was_killed_or_suspended_holds_nobody_up(
    project, python, tmp_path, monkeypatch
):
    monkeypatch.setattr("dataflow.base.lock.STALE_AFTER", 1.0)
    holder = python.start_and_wait_for("held", HOLD, 600)
    killed = python.start(QUEUE, 0, tmp_path / "order")
    wait_until(lambda: queue_length(project) == 1)
    suspended = python.start(QUEUE, 1, tmp_path / "order")
    wait_until(lambda: queue_length(project) == 2)
    killed.kill()
    suspended.send_signal(signal.SIGSTOP)
    holder.kill()
    with write_lock(project, timeout=60):
        pass
    suspended.send_signal(signal.SIGCONT)
    python.finish(suspended)


def test_the_same_thread_may_take_it_again(in_run):
    with write_lock(in_run, "dbt build"):
        with write_lock(in_run, timeout=0), get_duckdb_connection(timeout=0) as conn:
            conn.execute("CREATE SCHEMA nested")
        assert read_holder(in_run.warehouse) is not None
    assert read_holder(in_run.warehouse) is None


def test_another_thread_of_the_process_has_to_wait(project):
    seen: list[str] = []

    def wait() -> None:
        with write_lock(project, timeout=60):
            seen.append("other thread")

    with write_lock(project):
        thread = threading.Thread(target=wait)
        thread.start()
        wait_until(lambda: queue_length(project) == 1)
        seen.append("first thread")
    thread.join(60)
    assert seen == ["first thread", "other thread"]


def test_a_forked_child_neither_holds_nor_keeps_the_lock(project, python):
    code = """
        import os, time
        from dataflow.project import Project
        from dataflow.warehouse.lock import acquire
        held = acquire(Project.find().warehouse)
        if os.fork() == 0:
            time.sleep(60)
        print("forked", flush=True)
        time.sleep(60)
    """
    parent = python.start_and_wait_for("forked", code)
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(parent.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    parent.kill()
    parent.wait()
    try:
        with write_lock(project, timeout=60):
            pass
    finally:
        for child in children:
            os.kill(int(child), signal.SIGKILL)


def test_a_dead_holders_name_is_not_reported(project, python):
    holder = python.start_and_wait_for("held", HOLD, 600)
    assert read_holder(project.warehouse).pid == holder.pid
    holder.kill()
    holder.wait()
    assert read_holder(project.warehouse) is None
