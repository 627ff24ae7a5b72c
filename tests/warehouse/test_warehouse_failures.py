"""When the disk or the file is not as it should be: one clear error that says what to do."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from plain_duckdb import plain

from dataflow.errors import ConfigurationError, WarehouseError
from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection, write_table
from dataflow.warehouse import inspect
from dataflow.warehouse.backup import back_up, restore
from dataflow.warehouse.development import copy_working_to_development, reset_development
from dataflow.warehouse.inspect import check
from dataflow.warehouse.layout import Layout
from dataflow.warehouse.lock import read_holder
from dataflow.warehouse.publish import publish

SMALL = 24 * 2**20


@pytest.fixture
def read_only_disk(project: Project) -> Iterator[Path]:
    """`.duckdb` with a warehouse in it, where nothing can be written."""
    make_warehouse(project)
    folder = project.root / ".duckdb"
    bind = [["mount", "--bind", folder, folder], ["mount", "-o", "remount,ro,bind", folder]]
    if os.geteuid() == 0 and all(
        subprocess.run(c, capture_output=True).returncode == 0 for c in bind
    ):
        yield folder
        subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    paths = [*folder.rglob("*"), folder]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in reversed(paths):
        path.chmod(0o755)


def make_warehouse(project: Project) -> None:
    with get_duckdb_connection(database="working", project=project) as conn:
        write_table(conn, [{"id": 1}], "quakes_raw.events")
    publish(project, "quakes")


def fill(project: Project, rows: int) -> None:
    with get_duckdb_connection(database="working", project=project) as conn:
        data = conn.sql(
            f"SELECT i AS id, random() AS a, md5(i::VARCHAR) AS b FROM range({rows}) t(i)"
        )
        write_table(conn, data, "quakes_raw.filler", mode="append")


# A full disk


@pytest.mark.slow
def test_a_full_disk_is_one_clear_error_and_keeps_what_was_there(project, small_disk, rows):
    make_warehouse(project)
    with pytest.raises(
        WarehouseError, match="the disk is full; nothing of this write was kept"
    ) as e:
        fill(project, 3_000_000)
    assert "Free space" in e.value.hint
    assert rows("FROM quakes_raw.events") == [(1,)]
    assert rows("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'filler'") == [(0,)]
    fill(project, 1000)
    assert rows("SELECT count(*) FROM quakes_raw.filler") == [(1000,)]


def test_plain_sql_on_a_full_disk_is_the_same_error(project, small_disk, rows):
    make_warehouse(project)

    def fill_by_sql() -> None:
        with get_duckdb_connection(database="working") as conn:
            conn.execute("CREATE TABLE quakes_raw.x AS SELECT random() FROM range(8_000_000)")

    with pytest.raises(WarehouseError, match="the disk is full"):
        fill_by_sql()
    assert rows("FROM quakes_raw.events") == [(1,)]


def test_a_publish_on_a_full_disk_leaves_the_last_version(project, small_disk, rows):
    make_warehouse(project)
    fill(project, 250_000)
    (small_disk / "ballast").write_bytes(b"x" * (SMALL - used(small_disk) - 2**20))
    with pytest.raises(WarehouseError, match="the disk is full"):
        publish(project, "quakes")
    assert rows("FROM quakes_raw.events", "published") == [(1,)]
    (small_disk / "ballast").unlink()
    publish(project, "quakes")
    assert rows("SELECT count(*) FROM quakes_raw.filler", "published") == [(250_000,)]


@pytest.mark.parametrize("fails", ["in a big table's file", "in the version's own"])
def test_a_publish_on_a_full_disk_leaves_nothing_behind(project, small_disk, fails):
    make_warehouse(project)
    fill(project, 60_000)
    with get_duckdb_connection(database="working") as conn:
        conn.execute("CREATE TABLE quakes_raw.more AS FROM quakes_raw.filler")
    publish(project, "quakes", big_table_bytes=1, keep_seconds=0)
    with get_duckdb_connection(database="working") as conn:  # what is unchanged is not written
        for table in ("filler", "more"):
            conn.execute(f"COMMENT ON TABLE quakes_raw.{table} IS 'changed'")
    before = {path for path in small_disk.rglob("*") if path.is_file()}
    one_file = max(path.stat().st_size for path in before if path.suffix == ".parquet")
    room = 1.5 * one_file if fails == "in a big table's file" else 0.5 * one_file
    big = 1 if fails == "in a big table's file" else 2**30
    (small_disk / "ballast").write_bytes(b"x" * int(SMALL - used(small_disk) - room - 2**16))
    with pytest.raises(WarehouseError, match="the disk is full"):
        publish(project, "quakes", big_table_bytes=big, keep_seconds=0)
    (small_disk / "ballast").unlink()
    assert {path for path in small_disk.rglob("*") if path.is_file()} == before
    publish(project, "quakes", big_table_bytes=1, keep_seconds=0)


def used(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


# A folder where nothing can be written


@pytest.mark.parametrize(
    "use",
    [
        lambda project: get_duckdb_connection(database="working").execute("SELECT 1"),
        lambda project: get_duckdb_connection(database="development").execute("SELECT 1"),
        lambda project: publish(project, "quakes"),
        lambda project: reset_development(project),
    ],
    ids=["working", "development", "publish", "reset-dev"],
)
def test_a_read_only_folder_is_one_clear_error(project, read_only_disk, use):
    with pytest.raises(WarehouseError, match=r"cannot write in the warehouse's folder") as caught:
        use(project)
    assert "writable" in caught.value.hint


def test_readers_need_no_right_to_write(project, read_only_disk, rows):
    assert rows("FROM quakes_raw.events", "published") == [(1,)]


# A file that is damaged, or too new


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:12288] = os.urandom(8192)
    path.write_bytes(content)


def make_newer(path: Path) -> None:
    """Write the storage version of a DuckDB to come into the file's header."""
    content = bytearray(path.read_bytes())
    content[12:20] = struct.pack("<Q", 999)
    checksum = 5381
    for (word,) in struct.iter_unpack("<Q", content[8:4096]):
        checksum ^= word * 0xBF58476D1CE4E5B9 % 2**64
    content[0:8] = struct.pack("<Q", checksum)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "says", "hint"),
    [
        (
            lambda path: path.write_bytes(b"no database " * 1000),
            "is not a DuckDB database",
            "restore",
        ),
        (lambda path: path.write_bytes(b""), "is not a DuckDB database", "restore"),
        (damage, "the file is damaged", "dataflow db restore FILE"),
        (make_newer, "written by a newer DuckDB", "Install that version"),
    ],
    ids=["text", "empty", "damaged", "newer"],
)
def test_a_file_that_cannot_be_opened_says_why_and_what_to_do(project, spoil, says, hint):
    make_warehouse(project)
    spoil(project.warehouse)
    for use in (
        lambda: get_duckdb_connection(database="working").execute("SELECT 1"),
        lambda: publish(project, "quakes"),
    ):
        with pytest.raises(WarehouseError, match=says) as caught:
            use()
        assert hint in caught.value.hint
        assert str(project.warehouse) in caught.value.where
    findings = {finding.subject: finding for finding in check(project)}
    assert findings["working warehouse"].status == "broken"
    assert findings["published version 1"].status == "ok"


def test_a_damaged_published_version_is_found_by_check(project):
    make_warehouse(project)
    path = project.root / ".duckdb" / "published" / "1" / "dataflow.duckdb"
    path.chmod(0o644)
    damage(path)
    assert [f.subject for f in check(project) if f.status != "ok"] == ["published version 1"]


# Backup and restore


def test_a_backup_can_be_restored(project, rows, tmp_path):
    make_warehouse(project)
    with get_duckdb_connection(database="working") as conn:
        conn.execute("CREATE VIEW quakes_raw.v AS FROM dataflow.quakes_raw.events")
    made = back_up(project, tmp_path / "backup of monday.duckdb")
    assert (made.tables, made.rows) == (2, 2)
    with get_duckdb_connection(database="working") as conn:
        conn.execute("DROP SCHEMA quakes_raw CASCADE")
    assert restore(project, made.path).rows == 2
    assert rows("FROM quakes_raw.v") == [(1,)]
    assert project.warehouse.with_name("dataflow.duckdb.before-restore").exists()


def test_a_restore_over_a_damaged_warehouse_works(project, rows, tmp_path):
    make_warehouse(project)
    made = back_up(project, tmp_path / "backup.duckdb")
    damage(project.warehouse)
    restore(project, made.path)
    assert rows("FROM quakes_raw.events") == [(1,)]


@pytest.mark.parametrize("spoil", [damage, make_newer], ids=["damaged", "newer"])
def test_a_restore_that_fails_leaves_the_old_one(project, rows, tmp_path, spoil):
    make_warehouse(project)
    made = back_up(project, tmp_path / "backup.duckdb")
    spoil(made.path)
    with get_duckdb_connection(database="working") as conn:
        write_table(conn, [{"id": 2}], "quakes_raw.events", mode="append")
    with pytest.raises(WarehouseError, match="nothing was replaced") as caught:
        restore(project, made.path)
    assert caught.value.where == str(made.path)
    assert rows("SELECT count(*) FROM quakes_raw.events") == [(2,)]
    assert not list(project.warehouse.parent.glob(".*draft"))


def test_a_block_damaged_in_the_middle_of_a_backup_is_found(project, tmp_path):
    make_warehouse(project)
    fill(project, 200_000)
    made = back_up(project, tmp_path / "backup.duckdb")
    content = bytearray(made.path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = os.urandom(64)
    made.path.write_bytes(content)
    with pytest.raises(WarehouseError, match="nothing was replaced"):
        restore(project, made.path)


@contextlib.contextmanager
def committed_beside(project: Project) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection of this process that stays open; its commit is in DuckDB's log only."""
    make_warehouse(project)
    with plain(project.warehouse) as other:
        other.execute("CREATE TABLE quakes_raw.late AS SELECT 7 AS id")
        assert project.warehouse.with_name("dataflow.duckdb.wal").stat().st_size
        yield other


COPIES = {
    "backup": lambda project, file: back_up(project, file).path,
    "debug copy": lambda project, file: (
        copy_working_to_development(project) or Layout.of(project).development
    ),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_a_copy_has_what_another_connection_of_the_process_committed(project, tmp_path, copy):
    with committed_beside(project):
        path = copy(project, tmp_path / "b.duckdb")
        with plain(path, read_only=True) as copied:
            assert copied.execute("FROM quakes_raw.late").fetchall() == [(7,)]


def test_a_publish_while_this_process_has_the_file_open_says_so(project):
    with (
        committed_beside(project),
        pytest.raises(WarehouseError, match="open in this program") as caught,
    ):
        publish(project, "quakes")
    assert "Close" in caught.value.hint
    publish(project, "quakes")
    with get_duckdb_connection(read_only=True) as conn:
        assert conn.execute("FROM quakes_raw.late").fetchall() == [(7,)]


def test_a_copy_on_a_full_disk_has_the_log_or_fails(project, small_disk, tmp_path, python):
    make_warehouse(project)
    code = """
        import duckdb, os, sys
        conn = duckdb.connect(sys.argv[1])
        conn.execute("CREATE TABLE quakes_raw.late AS SELECT range AS id FROM range(90000)")
        os._exit(0)
    """
    python.finish(python.start(code, project.warehouse))
    (small_disk / "ballast").write_bytes(b"x" * (SMALL - used(small_disk) - 2**16))
    with pytest.raises(WarehouseError, match="the disk is full"):
        back_up(project, tmp_path / "b.duckdb")
    (small_disk / "ballast").unlink()
    assert back_up(project, tmp_path / "b.duckdb").rows == 90_001


def test_every_restore_keeps_what_it_replaced(project, tmp_path):
    make_warehouse(project)
    made = back_up(project, tmp_path / "backup.duckdb")
    for number in (2, 3):
        with get_duckdb_connection(database="working") as conn:
            write_table(conn, [{"id": number}], "quakes_raw.events")
        kept = restore(project, made.path).replaced
        assert kept is not None
        assert kept.name == "dataflow.duckdb.before-restore" + ("-2" if number == 3 else "")
    for number, name in ((2, "before-restore"), (3, "before-restore-2")):
        with plain(Path(f"{project.warehouse}.{name}"), read_only=True) as old:
            assert old.execute("FROM quakes_raw.events").fetchall() == [(number,)]


def test_the_check_reads_while_others_write(project, monkeypatch):
    make_warehouse(project)
    publish(project, "quakes")
    with get_duckdb_connection(database="development") as conn:
        conn.execute("CREATE TABLE mine AS SELECT 1 AS id")
    free, read = [], inspect.read_everything

    def reading(connection):
        layout = Layout.of(project)
        free.append([read_holder(path) for path in (layout.working, layout.development)])
        return read(connection)

    monkeypatch.setattr(inspect, "read_everything", reading)
    before = sorted(Layout.of(project).folder.rglob("*"))
    assert all(finding.status == "ok" for finding in inspect.check(project))
    assert free == [[None, None]] * 3
    assert sorted(Layout.of(project).folder.rglob("*")) == before


def test_the_check_of_a_warehouse_that_the_disk_has_no_room_to_copy_waits_for_its_end(
    project, small_disk, monkeypatch
):
    make_warehouse(project)
    (small_disk / "ballast").write_bytes(b"x" * (SMALL - used(small_disk) - 2**16))
    held, read = [], inspect.read_everything
    monkeypatch.setattr(
        inspect,
        "read_everything",
        lambda connection: (held.append(read_holder(project.warehouse)), read(connection))[1],
    )
    assert all(finding.status == "ok" for finding in inspect.check(project))
    assert [holder and holder.name for holder in held] == ["dataflow db check", None]


def test_memory_has_a_limit_that_can_be_set_and_is_named_when_it_is_too_low(project, monkeypatch):
    def limit() -> str:
        with get_duckdb_connection(database="working", project=project) as conn:
            return conn.execute("SELECT current_setting('memory_limit')").fetchone()[0]

    with contextlib.closing(duckdb.connect()) as plain:
        size = plain.execute("SELECT current_setting('memory_limit')").fetchone()[0].split()[0]
    assert limit() == limit()
    assert float(limit().split()[0]) == pytest.approx(float(size) / 4, rel=0.05)
    monkeypatch.setenv("DATAFLOW_MEMORY_LIMIT", "50MB")
    assert limit() == "47.6 MiB"
    with (
        pytest.raises(WarehouseError, match="more memory than it may take") as caught,
        get_duckdb_connection(database="working", project=project) as conn,
    ):
        conn.execute("SELECT list(i ORDER BY hash(i)) FROM range(20_000_000) t(i)")
    assert "DATAFLOW_MEMORY_LIMIT" in caught.value.hint
    monkeypatch.setenv("DATAFLOW_MEMORY_LIMIT", "lots")
    with pytest.raises(ConfigurationError, match="DATAFLOW_MEMORY_LIMIT is 'lots'"):
        limit()
