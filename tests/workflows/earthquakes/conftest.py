"""A copy of the workflow in a folder of its own, run by hand as its author would."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dataflow.engine.output import RESULT
from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection, write_table

REPOSITORY = Path(__file__).parents[3]
SOURCE = REPOSITORY / "notebooks" / "earthquakes"


@dataclass
class ByHand:
    """The workflow in a temporary project; its tables are in the development copy."""

    project: Project
    outputs: Path
    notebooks: list[Any] = field(default_factory=list)

    def run(self, stage: str, **parameters: Any) -> dict[str, dict[str, Any]]:
        """Run a stage's notebook with plain papermill; returns its checks by name."""
        import papermill

        folder = self.project.notebooks / "earthquakes"
        notebook = papermill.execute_notebook(
            folder / f"{stage}.ipynb",
            self.outputs / f"{stage}.ipynb",
            parameters=parameters,
            cwd=folder,
            progress_bar=False,
        )
        self.notebooks.append(notebook)
        return {r["name"]: r for r in self.results(notebook) if r["kind"] == "check"}

    @staticmethod
    def results(notebook: Any) -> list[dict[str, Any]]:
        """Everything the stage recorded and checked, in order."""
        return [
            output["data"][RESULT]
            for cell in notebook.cells
            for output in cell.get("outputs", [])
            if RESULT in output.get("data", {})
        ]

    @property
    def record(self) -> dict[str, Any]:
        """The figures that the last notebook recorded."""
        records = [r for r in self.results(self.notebooks[-1]) if r["kind"] == "record"]
        return records[0]["metadata"]

    def query(self, sql: str) -> pd.DataFrame:
        """Rows from the development copy."""
        with get_duckdb_connection(database="development", project=self.project) as conn:
            return conn.sql(sql).df()

    def put(self, table: str, rows: pd.DataFrame) -> None:
        """Put a table into the development copy, in place of a stage that would write it."""
        with get_duckdb_connection(database="development", project=self.project) as conn:
            write_table(conn, rows, table, mode="replace")


@pytest.fixture
def by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ByHand:
    for name in [name for name in os.environ if name.startswith("DATAFLOW_")]:
        monkeypatch.delenv(name)
    root = tmp_path / "project"
    (root / "notebooks").mkdir(parents=True)
    (root / "pyproject.toml").write_text("[tool.dataflow]\n", encoding="utf-8")
    shutil.copytree(
        SOURCE,
        root / "notebooks" / "earthquakes",
        ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"),
    )
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    return ByHand(Project(root), outputs)


@pytest.fixture(scope="session")
def snapshot() -> dict[str, Any]:
    """The embedded week as it was delivered."""
    with gzip.open(SOURCE / "data" / "earthquakes.json.gz", "rt", encoding="utf-8") as file:
        return json.load(file)
