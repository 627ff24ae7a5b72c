"""Several users of one machine: in a folder that is the group's, all of them can work."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dataflow.base.lock import acquire, first_ticket
from dataflow.project import Project
from dataflow.runs.record import RunRecord
from dataflow.runs.turn import turn
from dataflow.shared.db import get_duckdb_connection, write_table
from dataflow.warehouse import versions
from dataflow.warehouse.development import reset_development
from dataflow.warehouse.inspect import check
from dataflow.warehouse.layout import Layout
from dataflow.warehouse.lock import lock_folder, write_lock
from dataflow.warehouse.publish import publish

GROUP = 20_000
JANE, JOE = 20_001, 20_002

WORK = """
import os
os.umask(0o022)
from dataflow.project import Project
project = Project.find()
from dataflow.orchestration.code_version import _salt
from dataflow.orchestration.instance import open_instance
from tests.warehouse.test_warehouse_users import work
work(project, "first")
_salt(project)
with open_instance(project) as instance:
    instance.get_runs(limit=1)
    instance.all_asset_keys()
"""


def work(project: Project, name: str) -> None:
    """What a run and a person do: write, publish, record, look."""
    with (
        turn(project, "quakes", name, print),
        get_duckdb_connection(database="working", project=project) as conn,
    ):
        rows = write_table(conn, [{"id": name}], "quakes_raw.events", mode="append")
        conn.execute(f"CREATE TABLE quakes_raw.{name} AS SELECT 1 AS a")
        assert rows == 1
    publish(project, "quakes", keep_seconds=0, big_table_bytes=1)
    assert len(versions.all_versions(Layout.of(project))) == 1
    with get_duckdb_connection(database="development", project=project) as conn:
        conn.execute("DELETE FROM quakes_raw.events")
    RunRecord(project, "quakes", name).begin([{"name": "ingest", "kind": "stage"}])
    assert all(finding.status == "ok" for finding in check(project))


@pytest.mark.parametrize("shared", [True, False], ids=["group's folder", "own folder"])
def test_what_is_made_in_a_folder_of_the_groups_is_the_groups(project, python, shared):
    project.root.chmod(0o2775 if shared else 0o755)
    here = str(Path(__file__).parents[2])
    python.finish(python.start(WORK, PYTHONPATH=here))
    found = [path for top in (".duckdb", "runs", ".dagster", ".dataflow")
             for path in [project.root / top, *(project.root / top).rglob("*")]
             if not path.is_symlink()]  # fmt: skip
    # Published versions are nobody's to write.
    writable = {path for path in found if path.stat().st_mode & stat.S_IWGRP}
    kept = {path for path in found if "published" in path.parts and path.suffix == ".duckdb"}
    assert any(path.suffix == ".db" for path in found)
    assert set(found) - kept - writable == (set() if shared else set(found) - kept)
    if shared:
        assert all(path.stat().st_mode & stat.S_ISGID for path in found if path.is_dir())


@pytest.fixture
def shared(project: Project) -> Iterator[Path]:
    """A project in a folder of a group's, where users without a name get to it, too."""
    # What is imported on first use has to be there: other users may not read our Python.
    work(project, "before")
    root = Path(tempfile.mkdtemp(prefix="shared-"))
    os.chown(root, -1, GROUP)
    (root / "pyproject.toml").write_text("[tool.dataflow]\n")
    (root / "notebooks").mkdir()
    root.chmod(0o2775)
    yield root
    shutil.rmtree(root)


def as_user(user: int, root: Path, do: Callable[[Project], object]) -> int:
    """Do it in a process of another user; its id."""
    child = os.fork()
    if child:
        return child
    try:
        os.setgroups([])
        os.setgid(GROUP)
        os.setuid(user)
        os.umask(0o022)
        os.chdir(root)
        do(Project.find())
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def ends_well(child: int) -> bool:
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two other users")
def test_two_users_of_a_group_work_in_one_project(shared):
    assert ends_well(as_user(JANE, shared, lambda project: work(project, "janes")))
    assert ends_well(as_user(JOE, shared, lambda project: work(project, "joes")))
    assert ends_well(as_user(JANE, shared, lambda project: work(project, "janes_again")))
    copies = sorted(path.name for path in (shared / ".duckdb" / "development").iterdir())
    assert copies == [str(JANE), str(JOE)]
    assert ends_well(as_user(JOE, shared, lambda project: reset_development(project)))

    from projects import wait_until  # what subprocesses import of this file goes without

    # They wait for each other, and a ticket that cannot be read keeps its place.
    def hold(project: Project) -> None:
        with write_lock(project, "jane's work"):
            (shared / "held").touch()
            wait_until((shared / "waits").exists, every=0.01)

    holder = as_user(JANE, shared, hold)
    wait_until((shared / "held").exists, every=0.01)
    seen: list[str] = []

    def waits(text: str) -> None:
        seen.append(text)
        (shared / "waits").touch()

    def wait(project: Project) -> None:
        with acquire(lock_folder(project.warehouse), "the warehouse", on_wait=waits):
            assert "jane's work" in seen[0]

    assert ends_well(as_user(JOE, shared, wait))
    assert ends_well(holder)
    tickets = lock_folder(shared / ".duckdb" / "dataflow.duckdb") / "queue"
    hers = tickets / "00000000000000000001-1-1"
    hers.touch(mode=0o600)
    os.chown(hers, JANE, GROUP)

    def look(project: Project) -> None:
        assert first_ticket(tickets) == hers.name

    assert ends_well(as_user(JOE, shared, look))
    os.utime(hers, (0, 0))

    def pass_by(project: Project) -> None:
        assert first_ticket(tickets) is None

    assert ends_well(as_user(JOE, shared, pass_by))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_user_who_may_only_read_reads(shared):
    assert ends_well(as_user(JANE, shared, lambda project: work(project, "janes")))
    for folder in (shared / ".duckdb").rglob("*"):
        if folder.is_dir():
            folder.chmod(0o755)
    versions.current(Layout(shared / ".duckdb" / "dataflow.duckdb")).path.with_name(
        "readers.lock"
    ).unlink()

    def read(project: Project) -> None:
        with get_duckdb_connection(database="published", project=project) as conn:
            assert conn.execute("FROM quakes_raw.events").fetchall() == [("janes",)]

    assert ends_well(as_user(JOE, shared, read))
