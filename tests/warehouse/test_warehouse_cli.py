"""`dataflow db …`: thin over the warehouse, exit codes, output for people and programs."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dataflow.cli.db import app
from dataflow.errors import DataflowError
from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection, write_table
from dataflow.warehouse.publish import publish


@pytest.fixture
def published(project: Project) -> Project:
    (project.notebooks / "quakes" / "config.yaml").write_text("workflow: {name: Quakes}\n")
    with get_duckdb_connection(database="working", project=project) as conn:
        write_table(conn, [{"id": 1, "tags": ["a"]}, {"id": 2, "tags": None}], "quakes_raw.events")
        conn.execute("CREATE SCHEMA IF NOT EXISTS quakes")
        conn.execute("CREATE VIEW quakes.v AS SELECT id, DATE '2024-01-01' AS day, "
                     "1.5::DECIMAL(4, 1) AS price FROM quakes_raw.events")  # fmt: skip
    publish(project, "quakes")
    return project


def run(*arguments: str, stdin: str | None = None):
    """The command's result; its exit code is the one `dataflow` ends with."""
    result = CliRunner().invoke(app, list(arguments), input=stdin)
    if isinstance(result.exception, DataflowError):
        result.exit_code = result.exception.exit_code
    elif result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_tables_lists_what_is_published_with_the_run_that_wrote_it(project, monkeypatch):
    run_id = "51390686-9519-43b2-8a58-a64780c3d961"
    monkeypatch.setenv("DATAFLOW_RUN_ID", run_id)
    with get_duckdb_connection(project=project) as conn:
        write_table(conn, [{"id": 1}, {"id": 2}], "quakes_raw.events")
        conn.execute(
            "CREATE SCHEMA IF NOT EXISTS quakes; CREATE VIEW quakes.v AS FROM quakes_raw.events"
        )
    publish(project, "quakes")
    monkeypatch.setenv("DATAFLOW_RUN_ID", "not-published")
    with get_duckdb_connection(project=project) as conn:
        conn.execute("INSERT INTO quakes_raw.events VALUES (3)")
    result = run("tables")
    assert "1 table and 1 view in the published" in result.stderr
    line = next(x for x in result.stdout.splitlines() if x.startswith("quakes_raw.events"))
    shown = ["quakes_raw.events", "table", "2", "<", "1", "MB", "51390686"]
    assert line.split()[:-1] == [*shown, f"{datetime.now(UTC):%Y-%m-%d}"]
    listed = json.loads(run("tables", "--json").stdout)
    assert [(t["schema"], t["name"], t["kind"], t["rows"], t["run_id"]) for t in listed] == [
        ("quakes", "v", "view", None, run_id),
        ("quakes_raw", "events", "table", 2, run_id),
    ]
    working = json.loads(run("tables", "--database", "working", "--json").stdout)
    assert [t["run_id"] for t in working if t["name"] == "events"] == ["not-published"]
    assert "_dataflow" not in run("shell", stdin=".tables\n").stdout


def test_tables_describes_the_one_that_is_named(published):
    """By its bare name where only one schema has it; for people, and as JSON."""
    shown = [line.split() for line in run("tables", "events").stdout.splitlines()]
    assert shown[0] == ["table", "quakes_raw.events"]
    assert ["id", "BIGINT", "0", "2", "1", "2"] in shown
    assert ["tags", "[a]", "NULL"] in shown
    described = json.loads(run("tables", "quakes.V", "--json").stdout)
    assert (described["kind"], described["rows"]) == ("view", 2)
    assert described["first"][0] == {"id": "1", "day": "2024-01-01", "price": "1.5"}
    result = run("tables", "evnts")
    assert (result.exit_code, "Did you mean `events`?" in str(result.exception)) == (2, True)
    assert run("tables", "events", "-d", "development").exit_code == 0


def test_tables_of_a_project_without_a_published_version_says_what_to_do(project):
    result = run("tables")
    assert result.exit_code == 1
    assert "nothing is published yet" in str(result.exception)
    assert run("tables", "--database", "working").exit_code == 0


def test_query_prints_a_table_json_or_csv(published):
    sql = "SELECT * FROM quakes.v JOIN quakes_raw.events USING (id) ORDER BY id"
    assert [line.split() for line in run("query", sql).stdout.splitlines()[:2]] == [
        ["id", "day", "price", "tags"],
        ["1", "2024-01-01", "1.5", "['a']"],
    ]
    assert json.loads(run("query", sql, "--json").stdout) == [
        {"id": 1, "day": "2024-01-01", "price": 1.5, "tags": ["a"]},
        {"id": 2, "day": "2024-01-01", "price": 1.5, "tags": None},
    ]
    assert list(csv.reader(io.StringIO(run("query", sql, "--csv").stdout))) == [
        ["id", "day", "price", "tags"],
        ["1", "2024-01-01", "1.5", '["a"]'],
        ["2", "2024-01-01", "1.5", ""],
    ]
    assert json.loads(run("query", f"SELECT * FROM ({sql}) LIMIT 0", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["SELEC 1"], "syntax error"),
        (["SELECT nothing FROM quakes.v"], "nothing"),
        (["SELECT 1; SELECT 2"], "expected one statement, found 2"),
        (["SELECT if(i < 9, i, error('late')) FROM range(10) t(i)", "--csv"], "Error: late"),
        (["DELETE FROM quakes_raw.events", "--write"], "published data cannot be changed"),
        (["SELECT 1", "--json", "--csv"], "exclude each other"),
    ],
)
def test_a_wrong_query_ends_with_exit_code_2(published, arguments, says):
    result = run("query", *arguments)
    assert result.exit_code == 2
    assert says in str(result.exception)


@pytest.mark.parametrize("database", ["published", "working", "development"])
def test_without_write_nothing_is_changed_and_the_refusal_names_it(published, database):
    """Statements that change a database or a file are refused on every database."""
    with get_duckdb_connection(database="working", project=published) as conn:
        conn.execute("CREATE SEQUENCE quakes.numbers")
    before = sorted(Path.cwd().iterdir())
    for sql in (
        "INSERT INTO quakes_raw.events VALUES (3, NULL)",
        "WITH a AS (SELECT 3) DELETE FROM quakes_raw.events USING a",
        "EXPLAIN (ANALYZE) COPY quakes_raw.events TO 'events.csv'",
        "COPY quakes_raw.events TO 'events.csv'",
        "ATTACH 'other.duckdb'",
        "CREATE TABLE quakes.t AS PIVOT quakes_raw.events ON id USING count(*)",
        *(["SELECT nextval('quakes.numbers')"] if database == "working" else []),
    ):
        result = run("query", sql, "-d", database)
        assert result.exit_code == 2
        assert "without --write only queries run" in str(result.exception)
    assert sorted(Path.cwd().iterdir()) == before


def test_a_pivot_is_a_query(published):
    """DuckDB runs a PIVOT as two statements, the first a CREATE; that is no change."""
    result = run("query", "PIVOT quakes_raw.events ON id USING count(*)", "--csv", "-d", "working")
    assert result.stdout.splitlines()[0] == "tags,1,2"


def test_with_write_the_development_copy_changes_and_nothing_else(published, rows):
    """`--write` runs a DELETE with its WHERE at once, on the database that is named."""
    command = ["query", "DELETE FROM quakes_raw.events WHERE id < 9", "-d", "development"]
    assert run(*command, "--write").exit_code == 0
    assert rows("FROM quakes_raw.events", "development") == []
    assert len(rows("FROM quakes_raw.events", "working")) == 2
    assert run("reset-dev", "--yes").exit_code == 0
    assert len(rows("FROM quakes_raw.events", "development")) == 2


@pytest.mark.parametrize("database", ["published", "working", "development"])
def test_a_value_that_a_statement_cannot_use_is_told_in_duckdbs_words(published, database):
    """An error while it runs ends the transaction; its text is not lost with it."""
    sql = "SELECT concat('x', id)::INT FROM quakes_raw.events"
    for result in (run("query", sql, "-d", database), run("shell", "-d", database, stdin=sql)):
        assert result.exit_code == 2
        assert "Could not convert string 'x1'" in str(result.exception)


def test_what_destroys_data_wants_a_yes(published, rows):
    """Without a terminal to ask on it is refused, and names the database and `--yes`."""
    change = ("query", "-d", "working", "--write")
    assert run(*change, "CREATE OR REPLACE TABLE quakes_raw.other AS SELECT 1").exit_code == 0
    for sql in (
        "CREATE OR REPLACE TABLE quakes_raw.other AS SELECT 2",
        "DROP TABLE quakes_raw.other",
        "ALTER TABLE quakes_raw.events DROP tags",
        "TRUNCATE quakes_raw.events",
        "DELETE FROM quakes_raw.events",
    ):
        result = run(*change, sql)
        assert result.exit_code == 2
        assert f"not confirmed: working warehouse: {sql}" in str(result.exception)
        assert "--yes" in str(result.exception)
    assert len(rows("SELECT tags FROM quakes_raw.events")) == 2
    assert rows("FROM quakes_raw.other") == [(1,)]
    assert run(*change, "--yes", "DELETE FROM quakes_raw.events").exit_code == 0
    assert rows("FROM quakes_raw.events") == []


def test_publish_takes_one_workflow_or_all(published, rows):
    with get_duckdb_connection(database="working", project=published) as conn:
        conn.execute("DELETE FROM quakes_raw.events")
    assert "Published quakes as version 2" in run("publish").stderr
    assert rows("FROM quakes_raw.events", "published") == []
    assert run("publish", "quakes").exit_code == 0
    assert run("publish", "quaks").exit_code == 2


def test_backup_and_restore(published, tmp_path, rows):
    file = tmp_path / "b.duckdb"
    assert run("backup", str(file)).exit_code == 0
    again = run("backup", str(file))
    assert again.exit_code == 2
    assert "--force" in str(again.exception)
    assert run("backup", str(file), "--force").exit_code == 0
    assert run("restore", str(file), stdin="n\n").exit_code == 1
    assert run("restore", str(file), "--yes").exit_code == 0
    assert run("restore", str(tmp_path / "none"), "--yes").exit_code == 2
    (tmp_path / "text").write_text("no database")
    assert run("restore", str(tmp_path / "text"), "--yes").exit_code == 1
    assert len(rows("FROM quakes_raw.events")) == 2


def test_check_tells_what_it_looked_at_and_fails_when_something_is_wrong(published):
    result = run("check")
    assert result.exit_code == 0
    assert "✓ working warehouse: 2 tables, 4 rows" in result.stdout
    assert "✓ published version 1" in result.stdout
    published.warehouse.write_bytes(b"no database")
    result = run("check")
    assert result.exit_code == 1
    assert "✗ working warehouse" in result.stdout
    findings = json.loads(run("check", "--json").stdout)
    assert {f["what"]: f["ok"] for f in findings}["working warehouse"] is False


def test_the_shell_ends_at_a_mistake_in_a_pipe_and_says_where(published):
    """What stands before is run, what comes after is not; the error has line and statement."""
    sql = "-- no statement;\nSELECT 1; SELECT count(*) AS n\nFROM quakes.v;\n\nSELEC;\nSELECT 0 AS later;\n"
    result = run("shell", stdin=sql)
    assert result.exit_code == 2
    assert "n" in result.stdout.split()
    assert "later" not in result.stdout
    assert "standard input, line 5 (statement 3): Parser Error" in str(result.exception)
    assert "price" in run("shell", stdin=".schema quakes.v\n.quit\nSELEC;").stdout


def test_nothing_is_cut_in_a_pipe(published):
    """Neither columns nor rows nor long values, from the shell or a query; one row is `1 row`."""
    columns = ", ".join(f"repeat('{number % 10}', 50) AS c{number}" for number in range(30))
    from_shell = run("shell", stdin=f"SELECT {columns} FROM range(100);").stdout
    from_query = run("query", f"SELECT {columns}")
    for shown, rows in ((from_shell, 100), (from_query.stdout, 1)):
        assert all(shown.count(str(number) * 50) == 3 * rows for number in range(10))
        assert all(f"c{number}" in shown for number in range(30))
    assert from_query.stderr == "1 row\n"


def test_the_shell_changes_data_with_write_only(published, rows):
    """From a pipe, too: one refused statement keeps those after it from running."""
    one = "DELETE FROM quakes_raw.events WHERE id = 1;\nFROM quakes_raw.events;\n"
    result = run("shell", "--database", "development", stdin=one)
    assert (result.exit_code, "--write" in str(result.exception)) == (2, True)
    assert len(rows("FROM quakes_raw.events", "development")) == 2
    assert run("shell", "--database", "development", "--write", stdin=one).exit_code == 0
    assert rows("SELECT id FROM quakes_raw.events", "development") == [(2,)]
    everything = "BEGIN; DELETE FROM quakes_raw.events; COMMIT;"
    result = run("shell", "-d", "development", "--write", stdin=everything)
    assert (result.exit_code, "--yes" in str(result.exception)) == (2, True)
    assert rows("SELECT id FROM quakes_raw.events", "development") == [(2,)]
    assert run("shell", "-d", "development", "--write", "--yes", stdin=everything).exit_code == 0
    assert rows("FROM quakes_raw.events", "development") == []


@pytest.mark.parametrize("form", ["--csv", "--json"])
def test_a_result_larger_than_the_memory_comes_row_by_row(published, tmp_path, form):
    sql = "SELECT i, repeat('x', 500) AS text FROM range(600_000) t(i)"  # 300 MB
    # A file: in a program without one DuckDB shows how far it is.
    script = tmp_path / "query.py"
    script.write_text(
        "import sys\n"
        "from dataflow.cli.main import run\n"
        "code = run(sys.argv[1:])\n"
        # Not `ru_maxrss`: that counts what this process took before it became the script, too.
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "sys.exit(code or int(status['VmHWM'].split()[0]) // 10_000)\n"
    )
    command = [sys.executable, str(script), "db", "query", sql, form]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = sum(1 for _ in process.stdout)
    assert lines == (600_001 if form == "--csv" else 600_002)
    assert 5 < process.returncode < 25, "tens of MB that it took at most"


def test_who_reads_the_result_of_a_query_slowly_keeps_no_writer_waiting(published):
    sql = "SELECT i FROM range(1_000_000) t(i)"
    command = [sys.executable, "-m", "dataflow", "db", "query", sql, "--csv", "-d", "working"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"i\n"
        with get_duckdb_connection(database="working", project=published, timeout=0.5) as conn:
            conn.execute("DELETE FROM quakes_raw.events")
        process.kill()
