"""One time zone for a project: a time is the same day in stages, models and dashboards."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from projects import Workflow, copy_dbt, dataflow, make_project

from dataflow.dashboard.export import exported_files
from dataflow.shared.db import get_duckdb_connection

pytestmark = pytest.mark.slow

# 20:00 in UTC, 5:00 of the next day in Tokyo, 15:00 in New York.
STAGE = """
import time
from dataflow.shared.db import get_duckdb_connection
with get_duckdb_connection() as conn:
    conn.execute("CREATE OR REPLACE TABLE clock_raw.t AS "
        "SELECT TIMESTAMPTZ '2024-01-01 20:00:00+00' AS moment, "
        "TIMESTAMPTZ '2024-01-01 20:00:00+00'::DATE AS day, ? AS kernel", [time.tzname[0]])
"""


def test_a_time_is_the_same_day_in_stages_models_and_dashboards(tmp_path: Path):
    project = make_project(
        tmp_path / "project",
        {"clock": Workflow({"read": [STAGE]}, [{"notebook": "read.ipynb", "writes": ["t"]}])},
    )
    settings = project.root / "pyproject.toml"
    settings.write_text(
        settings.read_text().replace("[tool.dataflow]", '[tool.dataflow]\ntimezone = "Asia/Tokyo"')
    )
    models = project.dbt / "models" / "clock"
    models.mkdir(parents=True)
    copy_dbt(project)
    (models / "days.sql").write_text(
        "{{ config(schema='clock', materialized='table') }}\n"
        "select *, moment::date as model_day from clock_raw.t"  # not named as a source
    )
    (project.evidence / "sources" / "clock").mkdir(parents=True)
    (project.evidence / "sources" / "clock" / "days.sql").write_text("select * from clock.days")
    there = {"TZ": "America/New_York", "DATAFLOW_NO_BUILD": "1"}

    ran = dataflow(project, "workflow", "run", "clock", env=there)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    with get_duckdb_connection(database="published", project=project) as conn:
        kernel, day, model_day, text = conn.execute(
            "SELECT kernel, day::VARCHAR, model_day::VARCHAR, moment::VARCHAR FROM clock.days"
        ).fetchone()
    assert (kernel, day, model_day) == ("JST", "2024-01-02", "2024-01-02")
    assert text == "2024-01-02 05:00:00+09"
    file = exported_files(project)["clock"]["days"]
    shown = duckdb.sql(f"SELECT moment::VARCHAR, day::VARCHAR FROM '{file}'").fetchone()
    assert shown == ("2024-01-02 05:00:00", "2024-01-02")

    wrong = dataflow(project, "workflow", "run", "clock", env={"DATAFLOW_TIMEZONE": "Tokio"})
    assert wrong.returncode == 2
    assert "DATAFLOW_TIMEZONE is 'Tokio', which is not a time zone" in wrong.stderr
    assert "Traceback" not in wrong.stderr
