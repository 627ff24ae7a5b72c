"""The stages of my_workflow, each run on small files in a warehouse of the test's own."""

from __future__ import annotations

import json
from pathlib import Path

ORDER = {
    "order_id": 1,
    "ordered_at": "2024-01-01T09:00:00",
    "customer": "Ada",
    "country": "GB",
    "product": "lamp",
    "quantity": 2,
    "unit_price": 39.0,
}


def write_csv(path: Path, *orders: dict) -> None:
    lines = [",".join(ORDER), *(",".join(str(value) for value in o.values()) for o in orders)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_the_files_it_ships_become_one_table(run_stage):
    run = run_stage("my_workflow", "ingest")

    orders = run.tables["orders"]
    assert set(orders["source_file"]) == {"2024-01.csv", "2024-02.parquet", "2024-03.json"}
    assert orders["order_id"].is_unique
    assert orders["quantity"].dtype.kind == "i"


def test_files_of_different_formats_are_put_together(run_stage, tmp_path):
    write_csv(tmp_path / "a.csv", ORDER)
    (tmp_path / "b.json").write_text(json.dumps([{**ORDER, "order_id": 2}]), encoding="utf-8")

    run = run_stage("my_workflow", "ingest", parameters={"folder": str(tmp_path)})

    orders = run.tables["orders"].sort_values("order_id")
    assert orders["source_file"].tolist() == ["a.csv", "b.json"]


def test_an_order_in_two_files_fails_the_stage(run_stage, tmp_path):
    write_csv(tmp_path / "a.csv", ORDER)
    write_csv(tmp_path / "b.csv", ORDER)

    run = run_stage(
        "my_workflow", "ingest", parameters={"folder": str(tmp_path)}, expect_failure=True
    )

    assert run.checks["no order is in two files"].metadata["twice"] == 1


def test_a_file_without_the_columns_is_named(run_stage, tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n", encoding="utf-8")

    run = run_stage(
        "my_workflow", "ingest", parameters={"folder": str(tmp_path)}, expect_failure=True
    )

    assert run.error is not None
    assert "other.csv cannot be read" in run.error.evalue
