"""Candidates: versions kept aside for review, published as they were seen or not at all."""

from __future__ import annotations

import shutil

import duckdb
import pytest

from dataflow.errors import WarehouseError
from dataflow.project import Project
from dataflow.warehouse import versions
from dataflow.warehouse.layout import Layout
from dataflow.warehouse.publish import (
    Published,
    candidate_hash,
    candidate_path,
    candidate_runs,
    publish,
    publish_candidate,
    published_path,
    remove_candidates,
)

RUN = "11111111-aaaa"


def keep(project: Project, run_id: str = RUN, workflow: str = "quakes", **more) -> Published:
    return publish(project, workflow, run_id=run_id, for_review=True, keep_seconds=0, **more)


def approve(project: Project, run_id: str = RUN) -> Published:
    return publish_candidate(project, "quakes", run_id, keep_seconds=0)


def test_readers_see_a_candidate_when_it_is_published_and_then_exactly_it(project, sql, rows):
    """Neither the making of a candidate nor what is written later changes what readers get."""
    sql("CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS SELECT 1 AS a")
    publish(project, "quakes", keep_seconds=0)
    sql("UPDATE quakes.t SET a = 2")
    kept = keep(project)
    sql("UPDATE quakes.t SET a = 3")
    assert rows("FROM quakes.t", "published") == [(1,)]
    assert kept.path == candidate_path(project, "quakes", RUN)
    with duckdb.connect(kept.path, read_only=True) as candidate:
        assert candidate.execute("FROM quakes.t").fetchall() == [(2,)]
    approve(project)
    assert rows("FROM quakes.t", "published") == [(2,)]


def test_what_others_published_meanwhile_stays(project, sql, rows):
    """A candidate replaces its own workflow's schemas and nothing else."""
    sql("CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS SELECT 1 AS a")
    sql("CREATE SCHEMA rivers; CREATE TABLE rivers.r AS SELECT 1 AS a")
    publish(project, "rivers", keep_seconds=0)
    keep(project)
    sql("UPDATE rivers.r SET a = 7")
    publish(project, "rivers", keep_seconds=0)
    approve(project)
    assert rows("FROM rivers.r", "published") == [(7,)]
    assert rows("FROM quakes.t", "published") == [(1,)]


def test_big_tables_are_published_by_their_files_with_keys_comments_and_views(project, sql, rows):
    """Approving copies no big table, and the next publishes of others keep it."""
    sql(
        "CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.big (id INTEGER PRIMARY KEY, took INTERVAL)",
        "INSERT INTO quakes.big SELECT i, to_days(i) FROM range(1000) t(i)",
        "COMMENT ON TABLE quakes.big IS 'measured'; COMMENT ON COLUMN quakes.big.took IS 'when'",
        "CREATE VIEW quakes.some AS SELECT * FROM dataflow.quakes.big WHERE id < 3",
    )
    keep(project, big_table_bytes=1)
    before = sorted(path.name for path in Layout.of(project).data.iterdir())
    publish(project, "rivers", keep_seconds=0, big_table_bytes=1)  # cleans up, too
    approve(project)
    remove_candidates(project, "quakes", [RUN])
    publish(project, "rivers", keep_seconds=0, big_table_bytes=1)
    assert sorted(path.name for path in Layout.of(project).data.iterdir()) == before
    assert rows("SELECT count(*), max(took) FROM quakes.big", "published") == rows(
        "SELECT 1000, to_days(999)"
    )
    assert rows("SELECT count(*) FROM quakes.some", "published") == [(3,)]
    told = "SELECT comment FROM duckdb_views() WHERE view_name = 'big'"
    assert rows(told, "published") == [("measured",)]
    told = "SELECT comment FROM duckdb_columns() WHERE table_name = 'big' AND column_name = 'took'"
    assert rows(told, "published") == [("when",)]
    metadata = versions.current(Layout.of(project)).metadata
    assert "PRIMARY KEY" in metadata.definitions["quakes.big"]


def test_approving_again_changes_nothing(project, sql):
    """A publish that was killed after its last step, and called again, does not publish twice."""
    sql("CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS SELECT 1 AS a")
    keep(project)
    first = approve(project)
    remove_candidates(project, "quakes", [RUN])
    assert approve(project).version == first.version
    assert published_path(project) == first.path


def test_the_hash_tells_any_difference(project, sql):
    """The hash of a candidate covers its database and the files of its own big tables."""
    sql("CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS FROM range(1000)")
    publish(project, "quakes", keep_seconds=0, big_table_bytes=1)
    path = keep(project, big_table_bytes=1).path  # with the file that is published already
    seen = candidate_hash(project, "quakes", RUN)
    assert seen == candidate_hash(project, "quakes", RUN)
    (data,) = Layout.of(project).data.iterdir()
    content = data.read_bytes()
    data.write_bytes(content[:-1] + b"?")
    assert candidate_hash(project, "quakes", RUN) != seen
    data.write_bytes(content)
    path.chmod(0o644)
    with path.open("ab") as file:
        file.write(b"?")
    assert candidate_hash(project, "quakes", RUN) != seen
    assert candidate_hash(project, "quakes", "another") is None


def test_a_candidate_that_is_gone_is_named(project, sql):
    """Publishing what was removed is an error with a next step, and publishes nothing."""
    sql("CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS SELECT 1 AS a")
    keep(project)
    remove_candidates(project, "quakes", ["another"])
    assert candidate_runs(project, "quakes") == [RUN]
    remove_candidates(project, "quakes", [RUN])
    assert candidate_runs(project, "quakes") == []
    with pytest.raises(WarehouseError, match="candidate version of run 11111111 is gone"):
        approve(project)
    assert published_path(project) is None


def test_a_killed_removal_is_finished_and_keeps_no_data(project, sql):
    """What a removal left when it was killed neither stops the next one nor keeps big tables."""
    sql("CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS FROM range(1000)")
    folder = keep(project, big_table_bytes=1).path.parent
    shutil.copytree(folder, folder.with_name(f".{folder.name}"))
    remove_candidates(project, "quakes", [RUN])
    assert not folder.parent.exists()
    folder = keep(project, big_table_bytes=1).path.parent
    folder.rename(folder.with_name(f".{folder.name}"))
    publish(project, "rivers", keep_seconds=0)
    assert list(Layout.of(project).candidates.glob("*/*")) == []
    assert list(Layout.of(project).data.iterdir()) == []


def test_older_data_does_not_replace_newer(project, sql, rows):
    """A candidate made before its workflow was published again stays unpublished."""
    sql("CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS SELECT 1 AS a")
    keep(project)
    sql("UPDATE quakes.t SET a = 2")
    publish(project, "quakes", keep_seconds=0)
    with pytest.raises(WarehouseError, match="newer data of quakes was published"):
        approve(project)
    assert rows("FROM quakes.t", "published") == [(2,)]


def test_the_newer_try_of_a_run_replaces_its_candidate(project, sql):
    """A step that is tried again leaves one candidate, the last."""
    sql("CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS SELECT 1 AS a")
    keep(project)
    sql("UPDATE quakes.t SET a = 2")
    keep(project)
    assert [v.folder.name for v in versions.candidates(Layout.of(project))] == [RUN]
    with duckdb.connect(candidate_path(project, "quakes", RUN), read_only=True) as candidate:
        assert candidate.execute("FROM quakes.t").fetchall() == [(2,)]
