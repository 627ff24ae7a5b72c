from __future__ import annotations

import json
import threading
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from dataflow.dashboard.check import warnings_of
from dataflow.dashboard.export import export_sources, exported_files, read_manifest
from dataflow.dashboard.paths import data_folder
from dataflow.errors import ConfigurationError, DashboardError
from dataflow.project import Project


def rows(project: Project, source: str, table: str) -> list[tuple]:
    path = exported_files(project)[source][table]
    return duckdb.sql(f"SELECT * FROM read_parquet('{path}')").fetchall()


def source(project: Project, name: str, sql: str) -> Path:
    path = project.evidence / "sources" / "quakes" / f"{name}.sql"
    path.write_text(sql, encoding="utf-8")
    return path


def test_a_source_query_becomes_a_table_of_the_dashboards(project, warehouse):
    result = export_sources(project)

    assert result.tables["quakes"] == {"events": 50}
    assert len(rows(project, "quakes", "events")) == 50
    files = exported_files(project)["quakes"]
    assert files["events"].with_suffix(".schema.json").is_file()
    assert result.bytes > 0


def test_the_manifest_names_files_the_way_evidence_asks_for_them(project, warehouse):
    export_sources(project)

    manifest = json.loads((data_folder(project) / "manifest.json").read_text())
    (url,) = manifest["renderedFiles"]["quakes"]
    prefix, version, name = url.rsplit("/", 2)
    assert prefix == "static/data/quakes"
    assert (data_folder(project) / "quakes" / version / name).is_file()


def test_types_become_what_the_page_understands(project, warehouse):
    source(
        project,
        "types",
        """select 1::decimal(9, 2) as price, 170141183460469231731687303715884105727 as huge,
               9007199254740993::bigint as big, [1, 2] as list, {'a': 1} as struct,
               map {'k': 'v'} as map, timestamptz '2024-01-01 12:00:00+02' as zoned,
               timestamp_ns '2024-01-01 00:00:00.123456' as exact, date '2024-01-01' as day,
               '5c1a6a3e-7c1b-4b6e-9d3b-6a5f4d3c2b1a'::uuid as key, true as flag,
               'x'::blob as bytes, interval 90 minute as span, 'ä' as text,
               'small'::enum ('small', 'large') as size, null as nothing""",
    )
    export_sources(project)

    path = exported_files(project)["quakes"]["types"]
    found = dict(duckdb.sql(f"SELECT column_name, column_type FROM (DESCRIBE '{path}')").fetchall())
    assert found == {
        "price": "DECIMAL(9,2)",
        "huge": "DOUBLE",
        "big": "BIGINT",
        "list": "VARCHAR",
        "struct": "VARCHAR",
        "map": "VARCHAR",
        "zoned": "TIMESTAMP",
        "exact": "TIMESTAMP",
        "day": "DATE",
        "key": "VARCHAR",
        "flag": "BOOLEAN",
        "bytes": "VARCHAR",
        "span": "VARCHAR",
        "text": "VARCHAR",
        "size": "VARCHAR",
        "nothing": "INTEGER",
    }
    (row,) = rows(project, "quakes", "types")
    values = dict(zip(found, row, strict=True))
    assert values["zoned"] == datetime(2024, 1, 1, 10)
    assert values["list"] == "[1,2]"
    assert json.loads(values["struct"]) == {"a": 1}
    assert values["price"] == 1.0
    assert values["big"] == 9007199254740993
    kinds = {
        column["name"]: column["evidenceType"]
        for column in json.loads(path.with_suffix(".schema.json").read_text())
    }
    assert kinds["zoned"] == kinds["day"] == kinds["exact"] == "date"
    assert kinds["price"] == kinds["huge"] == kinds["big"] == "number"
    assert kinds["list"] == kinds["key"] == "string"
    assert kinds["flag"] == "boolean"


def test_numbers_are_exact_and_what_a_page_cannot_show_is_said(project, warehouse):
    exact = {
        "price": ("12345678901234.56::decimal(18, 2)", Decimal("12345678901234.56")),
        "total": ("sum(i)", Decimal(3)),  # a HUGEINT, as models have them
        "large": ("9007199254740992::ubigint", Decimal(2**53)),
        "until": ("date '9999-12-31'", date(9999, 12, 31)),
    }
    rounded = {
        "sum": ("99999999999999999.99::decimal(38, 2)", Decimal("99999999999999999.99")),
        "id": ("-9007199254740993::bigint", -9007199254740993),
        "key": ("18446744073709551615::ubigint", Decimal(2**64 - 1)),
        "huge": ("(10::hugeint ** 38)::hugeint", 1e38),
        "forever": ("timestamp 'infinity'", None),
    }
    columns = exact | rounded
    selected = ", ".join(f'{sql} as "{name}"' for name, (sql, _) in columns.items())
    source(project, "events", "select 1 as a")
    source(project, "numbers", f"select {selected} from range(3) t(i)")
    source(project, "empty", f"select {selected} from range(3) t(i) having count(*) > 9")
    export_sources(project)

    path = exported_files(project)["quakes"]["numbers"]
    (row,) = duckdb.sql(f"SELECT * REPLACE (NULL AS forever) FROM '{path}'").fetchall()
    assert row == tuple(value for _, value in columns.values())
    schema = json.loads(path.with_suffix(".schema.json").read_text())
    assert {c["name"] for c in schema if c["typeFidelity"] == "inferred"} == rounded.keys()
    found = warnings_of(project, "quakes", exported_files(project)["quakes"])
    assert [(w.path.name, w.message.rpartition(" ")[2]) for w in found] == [
        ("numbers.sql", name) for name in rounded
    ]
    assert "nullif(forever, 'infinity')" in found[-1].hint


def test_a_table_without_rows_is_a_table(project, warehouse):
    source(project, "events", "select * from quakes.events where magnitude > 100;  -- none\n")
    result = export_sources(project)

    assert result.tables["quakes"] == {"events": 0}
    assert rows(project, "quakes", "events") == []


def test_rows_keep_the_order_of_the_query(project, warehouse):
    source(project, "events", "select event_id from quakes.events order by event_id desc")
    export_sources(project)

    assert [row[0] for row in rows(project, "quakes", "events")] == list(range(49, -1, -1))


def test_a_failing_query_says_file_and_line_and_leaves_the_old_data(project, warehouse):
    export_sources(project)
    before = read_manifest(project)
    path = source(
        project, "events", "-- all of them\nselect event_id,\n  magnitud\nfrom quakes.events\n"
    )

    with pytest.raises(DashboardError) as caught:
        export_sources(project)

    assert caught.value.where == "evidence/sources/quakes/events.sql:3"
    assert "magnitud" in caught.value.message
    assert "magnitude" in (caught.value.hint or "")
    assert read_manifest(project) == before
    assert len(rows(project, "quakes", "events")) == 50
    path.write_text("select 'x'::integer as number from quakes.events", encoding="utf-8")
    with pytest.raises(DashboardError, match="Could not convert"):
        export_sources(project)
    versions = [p.name for p in (data_folder(project) / "quakes").iterdir()]
    assert len(versions) == 1, "the failed export's half is gone"


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("", "none"),
        ("-- nothing but a comment\n", "none"),
        ("select 1 as a; select 2 as b", "SELECT, SELECT"),
        ("create table x as select 1", "CREATE"),
        ("select from where", "syntax error"),
        ("select * from quakes.evnts", "evnts"),
    ],
)
def test_a_file_that_is_not_one_select_is_refused(project, warehouse, sql, words):
    source(project, "events", sql)

    with pytest.raises(DashboardError, match=words) as caught:
        export_sources(project)
    assert (caught.value.where or "").startswith("evidence/sources/quakes/events.sql")


def test_a_source_query_cannot_change_the_warehouse(project, warehouse):
    source(project, "events", "delete from quakes.events")
    with pytest.raises(DashboardError, match="DELETE"):
        export_sources(project)

    with duckdb.connect(warehouse, read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM quakes.events").fetchone() == (50,)


def test_only_the_asked_for_sources_are_exported_and_the_others_stay(project, warehouse):
    other = project.evidence / "sources" / "other"
    other.mkdir()
    (other / "one.sql").write_text("select 1 as one")
    export_sources(project)
    before = read_manifest(project)

    result = export_sources(project, ["quakes"])

    assert set(result.tables) == {"quakes"}
    after = read_manifest(project)
    assert after["other"] == before["other"]
    assert after["quakes"] != before["quakes"]


def test_the_generation_before_stays_for_pages_that_are_loading(project, warehouse):
    files = []
    for _ in range(3):
        export_sources(project, ["quakes"])
        files.append(exported_files(project)["quakes"]["events"])

    assert not files[0].exists()
    assert files[1].is_file()
    assert files[2].is_file()


def test_a_workflow_that_was_never_published_is_skipped_unless_asked_for(project, warehouse):
    (project.notebooks / "later").mkdir()
    later = project.evidence / "sources" / "later"
    later.mkdir()
    (later / "rows.sql").write_text("select * from later.rows")

    result = export_sources(project)

    assert result.skipped == ["later"]
    assert "later" not in read_manifest(project)
    with pytest.raises(DashboardError, match="rows"):
        export_sources(project, ["later"])


def test_a_source_that_was_removed_is_no_longer_shown(project, warehouse):
    gone = project.evidence / "sources" / "gone"
    gone.mkdir()
    (gone / "one.sql").write_text("select 1 as one")
    export_sources(project)
    (gone / "one.sql").unlink()

    export_sources(project)

    assert set(read_manifest(project)) == {"quakes", "dataflow"}


def test_the_workflows_table_lists_what_it_is_given(project, warehouse):
    page = project.evidence / "pages" / "my-quakes" / "index.md"
    page.parent.mkdir(parents=True)
    page.write_text("# Quakes")
    finished = datetime(2024, 5, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    export_sources(
        project,
        workflows=[
            {"id": "my_quakes", "name": "Quakes", "description": "Shakes", "owner": "me",
             "schedule": "0 0 * * *", "schedule_in_words": "At 00:00, every day (UTC)",
             "run_id": "r1", "finished_at": finished},
            {"id": "new_one"},
        ],
    )  # fmt: skip

    first, second = rows(project, "dataflow", "workflows")
    assert first == (
        "my_quakes", "Quakes", "Shakes", "me", "0 0 * * *", "At 00:00, every day (UTC)",
        "/my-quakes", True, "r1", "/runs/my_quakes/r1/", datetime(2024, 5, 1, 12), None,
    )  # fmt: skip
    assert second[:2] == ("new_one", "new_one")
    assert second[7:] == (False, None, None, None, None)


def test_without_a_list_of_workflows_the_old_one_stays(project, warehouse):
    export_sources(project, workflows=[{"id": "quakes"}])
    export_sources(project)

    assert [row[0] for row in rows(project, "dataflow", "workflows")] == ["quakes"]


def test_the_environment_names_another_warehouse(project, warehouse, tmp_path, monkeypatch):
    with duckdb.connect(tmp_path / "another.duckdb") as connection:
        connection.execute("CREATE SCHEMA quakes; CREATE TABLE quakes.events AS SELECT 1 AS one")
    monkeypatch.setenv("EVIDENCE_DUCKDB_PATH", str(tmp_path / "another.duckdb"))

    assert export_sources(project).tables["quakes"] == {"events": 1}

    monkeypatch.setenv("EVIDENCE_DUCKDB_PATH", "missing.duckdb")
    with pytest.raises(DashboardError, match="EVIDENCE_DUCKDB_PATH"):
        export_sources(project)


def test_without_a_published_warehouse_the_error_says_what_to_do(project):
    with pytest.raises(DashboardError, match="published") as caught:
        export_sources(project)
    assert "workflow run" in (caught.value.hint or "")


def test_a_warehouse_that_is_not_one_is_one_clear_error(project, tmp_path, monkeypatch):
    broken = tmp_path / "broken.duckdb"
    broken.write_bytes(b"not a database" * 1000)

    monkeypatch.setenv("EVIDENCE_DUCKDB_PATH", str(broken))

    with pytest.raises(DashboardError, match="cannot be read"):
        export_sources(project)


def test_the_name_of_the_projects_own_source_is_refused(project, warehouse):
    taken = project.evidence / "sources" / "dataflow"
    taken.mkdir()
    (taken / "x.sql").write_text("select 1 as one")

    with pytest.raises(ConfigurationError, match="dataflow"):
        export_sources(project)


def test_a_reader_always_finds_whole_files(project, warehouse):
    """While exports follow each other, what the manifest names can always be read."""
    export_sources(project)
    stop = threading.Event()
    problems: list[str] = []

    def read() -> None:
        while not stop.is_set():
            path = exported_files(project)["quakes"]["events"]
            try:
                data = path.read_bytes()
            except OSError as error:
                problems.append(str(error))
                continue
            if data[-4:] != b"PAR1":
                problems.append("half a file")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(15):
            export_sources(project, ["quakes"])
    finally:
        stop.set()
        reader.join()
    assert problems == []


def test_exports_at_the_same_time_do_not_disturb_each_other(project, warehouse):
    problems: list[BaseException] = []

    def export() -> None:
        try:
            export_sources(project)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=export) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert problems == []
    assert len(rows(project, "quakes", "events")) == 50


def test_times_without_a_zone_are_taken_as_utc(project, warehouse):
    export_sources(
        project,
        workflows=[{"id": "quakes", "finished_at": "2024-05-01T12:00:00"}],
    )
    assert rows(project, "dataflow", "workflows")[0][-2] == datetime(2024, 5, 1, 12)
