"""Looking at tables by hand: functions, the IPython extension, and what they refuse."""

from __future__ import annotations

import pandas as pd
import pytest
from projects import make_project

from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection, write_table
from dataflow.shared.explore import query, tables


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
    assert len(shell.run_cell_magic("query", "", "from lab_raw.samples")) == 2
    assert shell.run_cell_magic("query", "heavy", "from lab_raw.heavy") is None
    assert list(shell.user_ns["heavy"].id) == ["b"]


def test_the_package_itself_imports_nothing_heavy():
    import subprocess
    import sys

    code = "import dataflow, sys; print([m for m in ('pandas', 'IPython') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
