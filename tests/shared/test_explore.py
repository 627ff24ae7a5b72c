"""Looking at tables by hand: functions, the IPython extension, and what they refuse."""

from __future__ import annotations

import pandas as pd
import pytest
from projects import copy_repository, make_project, write_notebook

from dataflow.base.sql import TableName
from dataflow.dbt.keys import unique_keys
from dataflow.dbt.project import models_of, read_manifest
from dataflow.dbt.readers import makers_of, readers_of
from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection, write_table
from dataflow.shared.explore import describe, query, tables
from dataflow.workflows.registry import get_workflow


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Project:
    """A project whose development copy holds a table and a view."""
    project = make_project(tmp_path / "project", {"lab": {"ingest": ["print()"]}})
    monkeypatch.chdir(project.notebooks / "lab")
    with get_duckdb_connection() as conn:
        write_table(conn, [{"id": "a", "weight": 2.5}, {"id": "b", "weight": 4.0}], "samples")
        conn.execute("CREATE VIEW lab_raw.heavy AS FROM lab_raw.samples WHERE weight > 3")
    return project


def test_tables_lists_what_the_notebook_wrote(lab):
    found = tables()

    assert list(found["table"]) == ["lab_raw.heavy", "lab_raw.samples"]
    assert list(found["kind"]) == ["view", "table"]
    assert found["rows"][1] == 2
    assert pd.isna(found["rows"][0])
    assert list(found["columns"]) == [2, 2]


def test_tables_of_one_schema_only_and_of_an_empty_one(lab):
    assert len(tables("lab_raw")) == 2
    assert tables("lab").empty


def test_describe_displays_columns_first_rows_and_who_makes_and_reads_a_table(lab):
    """What a table holds comes from the data, where it comes from and goes from the files."""
    (lab.notebooks / "lab" / "config.yaml").write_text(
        "workflow: {name: Lab}\nstages: [{notebook: ingest.ipynb, writes: [samples]}]\n"
    )
    write_notebook(lab.notebooks / "lab" / "look.ipynb", ["query('FROM lab_raw.samples')"])
    write_notebook(lab.notebooks / "lab" / "other.ipynb", ["query('FROM lab_raw.samples_2')"])
    for name, text in {
        "dbt/models/lab/staging/stg.sql": "select * from {{ source('lab', 'samples') }}",
        "dbt/models/lab/_lab__sources.yml": "sources: [{name: lab, schema: lab_raw, "
        "tables: [{name: samples}]}]",
        "evidence/sources/lab/heavy.sql": "select * from lab_raw.heavy",
    }.items():
        (lab.root / name).parent.mkdir(parents=True, exist_ok=True)
        (lab.root / name).write_text(text)

    found = describe("SAMPLES")

    weight = found.columns().iloc[1].to_dict()
    assert weight == {"name": "weight", "type": "DOUBLE", "nulls": 0, "distinct": 2,
                      "min": "2.5", "max": "4.0"}  # fmt: skip
    assert found.first()["id"].tolist() == ["a", "b"]
    assert found.made_by == ("notebooks/lab/ingest.ipynb",)
    assert found.read_by == ("dbt/models/lab/staging/stg.sql", "notebooks/lab/look.ipynb")
    assert "notebooks/lab/look.ipynb" in found._repr_html_()
    assert describe("lab_raw.heavy").read_by == ("evidence/sources/lab/heavy.sql",)
    assert describe("heavy").found.rows == 1
    with pytest.raises(ConfigurationError, match=r"no table lab_raw\.sample") as caught:
        describe("lab_raw.sample")
    assert "lab_raw.samples" in caught.value.hint


def test_values_of_any_type_can_be_described(lab):
    """Types without an order have no smallest value, and empty tables no values at all."""
    with get_duckdb_connection() as conn:
        conn.execute("CREATE TABLE lab_raw.odd AS SELECT [1] AS l, {'a': 1} AS s, MAP {1: 2} AS m, "
                     "'x'::BLOB AS b, NULL AS n, 'a'::ENUM('a') AS e, '{}'::JSON AS j, "
                     "uuid() AS u, INTERVAL 1 DAY AS i, '1'::BIT AS t")  # fmt: skip
        conn.execute("CREATE TABLE lab_raw.empty AS FROM lab_raw.odd WHERE false")

    odd = {column.name: column for column in describe("odd").found.columns}

    assert [name for name, column in odd.items() if column.min is None] == list("lsmbnt")
    assert {column.nulls for column in odd.values()} == {0, 1}
    assert describe("empty").found.rows == 0
    assert "empty" in describe("empty")._repr_html_()


@pytest.mark.slow
def test_makers_and_readers_of_models_tables_are_those_that_dbt_knows(tmp_path):
    """The rule for schemas and aliases is dbt's, read from the files without dbt."""
    project = copy_repository(tmp_path / "project")
    odd = project.dbt / "models" / "earthquakes" / "marts" / "odd.sql"
    odd.write_text(
        "{{ config(schema='Elsewhere', alias='x') }} select * from {{ ref('readings') }}"
    )
    odd.with_name("_odd.yml").write_text(
        """models:
  - name: odd
    data_tests:
      - unique_combination: {arguments: {columns: ['"First Name"', b]}}
    columns:
      - name: n
        data_tests: [unique]
      - name: part
        data_tests: [not_null, {unique: {config: {where: "n > 1"}}}]
"""
    )
    (project.dbt / "seeds" / "earthquakes").mkdir(parents=True, exist_ok=True)
    (project.dbt / "seeds" / "earthquakes" / "readings.csv").write_text("id\n1\n")

    workflow = get_workflow(project, "earthquakes")
    manifest = read_manifest(project, workflow)
    models = models_of(manifest, workflow)

    assert len(models) > 5
    assert unique_keys(manifest) == {
        TableName("earthquakes_raw", "events_clean"): ("event_id",),
        TableName("earthquakes_staging", "stg_earthquakes__events"): ("event_id",),
        TableName("earthquakes", "events"): ("event_id",),
        TableName("earthquakes", "daily_events"): ("day", "magnitude_band"),
        TableName("earthquakes", "largest_events"): ("rank",),
        TableName("earthquakes", "regions"): ("region",),
        TableName("Elsewhere", "x"): ("First Name", "b"),
    }
    for name, node in models.items():
        table = node["schema"], node["alias"]
        assert makers_of(project, *table) == [project.dbt / node["original_file_path"]]
        readers = {
            project.dbt / other["original_file_path"]
            for other in models.values()
            if name in other.get("depends_on", {}).get("nodes", [])
        }
        assert readers <= {reader.path for reader in readers_of(project, *table) if reader.direct}


def test_query_gives_a_data_frame_and_takes_parameters(lab):
    assert list(query("from lab_raw.samples where weight > ?", [3]).id) == ["b"]
    assert list(query("from lab_raw.samples where id = $id", {"id": "a"}).weight) == [2.5]


def test_a_query_may_name_the_callers_own_frames(lab):
    names = pd.DataFrame({"id": ["a"], "name": ["Ann"]})

    joined = query("select name, weight from lab_raw.samples join names using (id)")

    assert joined.to_dict("records") == [{"name": "Ann", "weight": 2.5}]
    assert len(names) == 1


def test_a_query_cannot_write_and_a_mistake_is_said_with_a_fix(lab):
    with pytest.raises(ConfigurationError, match="only reads") as caught:
        query("delete from lab_raw.samples")
    assert "write_table" in caught.value.hint
    with pytest.raises(ConfigurationError, match="Did you mean"):
        query("from lab_raw.sample")
    assert len(query("from lab_raw.samples")) == 2


def test_the_extension_gives_a_notebook_tables_query_and_a_cell_magic(lab, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    # Not the process's one shell: what stages display depends on whether there is one.
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))

    shell.run_line_magic("load_ext", "dataflow")

    assert len(shell.user_ns["tables"]()) == 2
    assert shell.user_ns["describe"]("samples").name == "lab_raw.samples"
    assert len(shell.run_cell_magic("query", "", "from lab_raw.samples")) == 2
    assert shell.run_cell_magic("query", "heavy", "from lab_raw.heavy") is None
    assert list(shell.user_ns["heavy"].id) == ["b"]


def test_the_package_itself_imports_nothing_heavy():
    import subprocess
    import sys

    code = "import dataflow, sys; print([m for m in ('pandas', 'IPython') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
