"""`writes` in config.yaml is enforced: a clear check tells what differs."""

from __future__ import annotations

from projects import Workflow, dataflow, make_project, run_data

WRITE = """
import pandas as pd
from dataflow.shared.db import get_duckdb_connection, write_table

with get_duckdb_connection() as conn:
    write_table(conn, pd.DataFrame({{"x": [1]}}), "{}")
"""


def stages(project, *steps: str) -> dict:
    return {step: run_data(project, "shop")["steps"][step] for step in steps}


def test_what_is_written_is_held_against_what_is_declared(tmp_path):
    project = make_project(
        tmp_path / "project",
        {
            "shop": Workflow(
                notebooks={
                    "right": [WRITE.format("orders")],
                    "extra": [WRITE.format("more")],
                    "missing": ["1 + 1"],
                    "foreign": [WRITE.format("elsewhere.prices")],
                },
                stages=[
                    {"notebook": "right.ipynb", "writes": ["orders"], "after": []},
                    {"notebook": "extra.ipynb", "after": []},
                    {"notebook": "missing.ipynb", "writes": ["never"], "after": []},
                    {"notebook": "foreign.ipynb", "after": []},
                ],
            )
        },
    )

    result = dataflow(project, "workflow", "run", "shop", "-q")

    assert result.returncode == 1
    found = stages(project, "right", "extra", "missing", "foreign", "publish")
    assert found["right"]["checks"][0]["passed"]
    assert found["extra"]["status"] == "succeeded"
    assert found["extra"]["checks"][0]["severity"] == "warn"
    assert found["extra"]["checks"][0]["metadata"] == {"written and not declared": "shop_raw.more"}
    assert found["missing"]["status"] == "failed"
    assert "declared and not written shop_raw.never" in found["missing"]["error"]["message"]
    assert found["foreign"]["status"] == "failed"
    assert found["publish"]["status"] == "not run", "nothing is published"
    assert "writes what it declares" in result.stderr
