"""The dbt models, built on a small warehouse by dbt itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from dataflow.dbt.command import lay_out_macros
from dataflow.project import Project

DBT = Path(__file__).parents[3] / "dbt"

EVENTS = """
create or replace table earthquakes_raw.events as
select 'e' || n as id from range(120) t(n);

create or replace table earthquakes_raw.events_clean as
select
    'e' || n as event_id,
    timestamp '2018-02-01' + to_hours(n) as occurred_at,
    timestamp '2018-02-20' as updated_at,
    (timestamp '2018-02-01' + to_hours(n - 8))::date as local_day,
    (n % 6) + 0.5 as magnitude,
    ['below 1', '1 to 2', '2 to 3', '3 to 4', '4 to 5', '5 and more'][n % 6 + 1] as magnitude_band,
    'ml' as magnitude_type,
    60::bigint as significance,
    'somewhere' as place,
    ['Alaska', 'California', 'Taiwan'][n % 3 + 1] as region,
    34.5 as latitude,
    -118.7 as longitude,
    n % 20 + 0.0 as depth_km,
    if(n % 2 = 0, 'reviewed', 'automatic') as status,
    if(n = 7, 1, 0)::bigint as tsunami,
    'https://earthquake.usgs.gov/' as url
from range(120) t(n);
"""


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    file = tmp_path / "dataflow.duckdb"
    with duckdb.connect(str(file)) as conn:
        conn.execute("create schema earthquakes_raw")
        conn.execute(EVENTS)
    return file


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the dbt project; dbt reads its files once for both tests."""
    folder = tmp_path_factory.mktemp("dbt") / "dbt"
    shutil.copytree(DBT, folder, ignore=shutil.ignore_patterns("target", "logs"))
    lay_out_macros(Project(folder.parent))
    return folder


def build(project: Path, warehouse: Path) -> subprocess.CompletedProcess[str]:
    """`dbt build` of the workflow's models."""
    select = ["--select", "path:models/earthquakes", "path:tests/earthquakes"]
    return subprocess.run(
        [sys.executable, "-m", "dbt.cli.main", "--no-use-colors", "build", *select],
        cwd=project,
        env={**os.environ, "DATAFLOW_WAREHOUSE_PATH": str(warehouse), "DO_NOT_TRACK": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_the_models_build_and_pass_their_tests_without_a_warning(project: Path, warehouse: Path):
    done = build(project, warehouse)
    assert done.returncode == 0, done.stdout
    assert "WARN=0 ERROR=0 SKIP=0" in done.stdout
    assert "deprecat" not in done.stdout.lower()

    with duckdb.connect(str(warehouse), read_only=True) as conn:

        def rows(sql: str) -> list[tuple]:
            return conn.sql(sql).fetchall()

        assert rows("select count(*), count(*) filter (is_reviewed) from earthquakes.events") == [
            (120, 60)
        ]
        assert rows("select event_id from earthquakes.events where has_tsunami_flag") == [("e7",)]
        assert rows("select count(*), sum(events) from earthquakes.daily_events") == [(30, 120)]
        assert rows("select region, events, max_magnitude from earthquakes.regions order by 1") == [
            ("Alaska", 40, 3.5),
            ("California", 40, 4.5),
            ("Taiwan", 40, 5.5),
        ]
        assert rows(
            "select count(*), min(magnitude), min(rank), max(rank) from earthquakes.largest_events"
        ) == [(50, 3.5, 1, 50)]
        assert rows("select event_id from earthquakes.largest_events where rank = 1") == [("e119",)]
        assert rows(
            "select table_schema, table_name, table_type from information_schema.tables "
            "where table_schema not like '%_raw' order by all"
        ) == [
            ("earthquakes", "daily_events", "BASE TABLE"),
            ("earthquakes", "events", "BASE TABLE"),
            ("earthquakes", "largest_events", "BASE TABLE"),
            ("earthquakes", "regions", "BASE TABLE"),
            ("earthquakes_staging", "stg_earthquakes__events", "VIEW"),
        ]


@pytest.mark.slow
def test_a_band_or_position_that_cannot_be_stops_the_marts(project: Path, warehouse: Path):
    with duckdb.connect(str(warehouse)) as conn:
        conn.execute(
            "update earthquakes_raw.events_clean set magnitude_band = 'huge', latitude = 95 "
            "where event_id = 'e3'"
        )
    done = build(project, warehouse)
    assert done.returncode == 1
    assert "Failure in test accepted_values_stg_earthquakes__events_magnitude_band" in done.stdout
    assert "Failure in test in_range_stg_earthquakes__events_latitude" in done.stdout
    with duckdb.connect(str(warehouse), read_only=True) as conn:
        assert conn.sql(
            "select count(*) from information_schema.tables where table_schema = 'earthquakes'"
        ).fetchone() == (0,)
