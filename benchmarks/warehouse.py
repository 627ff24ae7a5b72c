"""The warehouse: writing tables, publishing, the dashboard's data."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import plain
import ways
import workflow_runs
from harness import Place, Ratio, Ways, case, command, inside, run, timed

from dataflow.project import Project

CHAPTER = "Warehouse"
SOURCES = {"pandas": "a data frame", "arrow": "an Arrow table", "files": "Parquet files"}
MILLIONS = (1, 10, 50)
ROWS = """\
SELECT i AS id, (i * 7919 % 1000003) / 7.0 AS value, 'place ' || (i % 1000) AS place
FROM range({}) t(i)"""
# Random numbers, which nothing compresses.
BIG = """\
SELECT i AS id, random() AS a, random() AS b, random() AS c, (random() * 1e9)::INT AS d
FROM range({}) t(i)"""


def write_table(source: str, millions: int, place: Place) -> Iterator[Ways]:
    """Replace a table, each time with a connection of its own, in one process."""
    rows = place.size(millions * 1_000_000, millions * 10_000)
    project = _project(place.folder)
    with inside(project.root, ways.environment(), _writing, source, rows) as both:
        yield both


for _source, _words in SOURCES.items():
    for _number in MILLIONS:
        case(
            CHAPTER,
            f"`write_table` of {_number} million rows from {_words}",
            Ratio(
                f"`write_table` of {_number} million rows from {_words}",
                "DATAFLOW",
                "DuckDB's `CREATE TABLE AS`",
                1.05 if (_source, _number) == ("arrow", 10) else None,
            ),
            pairs=2 if _number == 50 else 7,
            name=f"write-{_source}-{_number}m",
        )(partial(write_table, _source, _number))


def _writing(source: str, rows: int) -> Ways:
    from dataflow.shared.db import get_duckdb_connection, write_table

    data: Any = duckdb.sql(ROWS.format(rows))
    if source == "files":
        data.write_parquet("data.parquet", row_group_size=122_880)
    elif source == "arrow":
        data = data.to_arrow_table()
    else:
        data = data.df()

    def ours() -> None:
        with get_duckdb_connection(database="working") as connection:
            given = connection.read_parquet("data.parquet") if source == "files" else data
            write_table(connection, given, "bench.t")

    def plainly() -> None:
        with duckdb.connect("plain.duckdb") as connection:
            if source != "files":
                connection.register("data", data)
            given = "'data.parquet'" if source == "files" else "data"
            connection.execute(f"CREATE OR REPLACE TABLE t AS FROM {given}")

    return {"DATAFLOW": timed(ours), "DuckDB's `CREATE TABLE AS`": timed(plainly)}


@case(
    CHAPTER,
    "Publishing a small table that changed",
    Ratio(
        "publish of a small change beside 1 GB",
        "beside 1 GB of its workflow",
        "published alone",
        1.5,
    ),
    Ratio(
        "publish of a small change beside another workflow's 1 GB",
        "beside 1 GB of another workflow",
        "published alone",
    ),
)
def publish(place: Place) -> Iterator[Ways]:
    """A thousand rows; the big table is the same as in the version before."""
    rows = place.size(28_000_000, 100_000)
    with inside(place.folder, ways.environment(), _publishing, rows) as found:
        yield found


def _publishing(rows: int) -> Ways:
    from dataflow.shared.db import get_duckdb_connection
    from dataflow.warehouse.store import publish

    found = {}
    for name, big in {
        "published alone": None,
        "beside 1 GB of its workflow": "small",
        "beside 1 GB of another workflow": "large",
    }.items():
        project = _project(Path.cwd() / name.replace(" ", "-"))
        connect = partial(get_duckdb_connection, database="working", project=project)

        def change(connect: Any = connect) -> None:
            with connect() as connection:
                connection.execute("CREATE SCHEMA IF NOT EXISTS small")
                connection.execute(
                    "CREATE OR REPLACE TABLE small.t AS SELECT random() AS r FROM range(1000)"
                )

        change()
        if big:
            with connect() as connection:
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {big}")
                connection.execute(f"CREATE TABLE {big}.big AS {BIG.format(rows)}")
            publish(project, big, keep_seconds=0)
        show = partial(publish, project, "small", keep_seconds=0)
        found[name] = timed(show, change)
    return found


WRITE = f"""\
from dataflow.shared.db import get_duckdb_connection

with get_duckdb_connection() as connection:
    connection.execute('''CREATE OR REPLACE TABLE bench_raw.events AS {ROWS}''')
"""


@case(
    CHAPTER,
    "The dashboard's data, a million rows, as a command",
    Ratio("dashboard data", "`dataflow workflow run --only dashboard`", "`evidence sources`"),
    pairs=2,
)
def dashboard_data(place: Place) -> Iterator[Ways]:
    """DATAFLOW's command also checks the queries of pages and shows the data."""
    project, environment = plain.earthquakes(place, "dataflow")
    cells = [WRITE.format(place.size(1_000_000, 10_000))]
    workflow_runs.workflow(project.root, "bench", {"write": cells})
    source = project.evidence / "sources" / "bench"
    source.mkdir()
    connection = (project.evidence / "sources" / "earthquakes" / "connection.yaml").read_text()
    (source / "connection.yaml").write_text(connection.replace("earthquakes", "bench"))
    (source / "events.sql").write_text("select * from bench_raw.events")
    words = [*plain.DATAFLOW, "workflow", "run", "bench", "--quiet"]
    run(words, project.root, environment)
    yield {
        "`dataflow workflow run --only dashboard`": command(
            [*words, "--only", "dashboard"], project.root, environment
        ),
        "`evidence sources`": command(plain.sources(project), project.evidence, environment),
    }


def _project(root: Path) -> Project:
    """An empty project."""
    root.mkdir(exist_ok=True)
    (root / "pyproject.toml").write_text(ways.PYPROJECT, "utf-8")
    (root / ".duckdb").mkdir()
    return Project(root)
