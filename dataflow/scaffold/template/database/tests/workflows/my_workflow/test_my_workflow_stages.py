"""The stages of my_workflow, run on a small database made by the test."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa


@pytest.fixture
def database(tmp_path: Path) -> sa.Engine:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'shop.sqlite'}")
    with engine.begin() as conn:
        for statement in (
            "create table customers (customer_id integer, name text, country text)",
            "create table orders (order_id integer, customer_id integer, ordered_at timestamp, "
            "product text, quantity integer, unit_price real)",
            "insert into customers values (1, 'Ada', 'GB')",
            "insert into orders values (1, 1, '2024-01-01 09:00:00.000000', 'lamp', 2, 39.0), "
            "(2, 1, '2024-01-05 09:00:00.000000', 'map', 1, 12.0)",
        ):
            conn.execute(sa.text(statement))
    return engine


def test_the_database_it_ships_is_copied(run_stage):
    run = run_stage("my_workflow", "ingest")

    assert len(run.tables["orders"]) == run.records["orders"]["read"] > 100


def test_orders_come_with_their_customers(run_stage, database):
    run = run_stage("my_workflow", "ingest", parameters={"database_url": str(database.url)})

    orders = run.tables["orders"].set_index("order_id")
    assert orders.loc[1, ["customer", "country", "quantity"]].tolist() == ["Ada", "GB", 2]


def test_a_later_run_updates_orders_and_keeps_those_it_did_not_read(run_stage, database):
    parameters = {"database_url": str(database.url)}
    run_stage("my_workflow", "ingest", parameters=parameters)
    with database.begin() as conn:
        conn.execute(sa.text("update orders set quantity = 7 where order_id = 2"))

    run = run_stage("my_workflow", "ingest", parameters={**parameters, "since": "2024-01-05"})

    assert run.records["orders"]["read"] == 1
    quantities = run.tables["orders"].set_index("order_id")["quantity"]
    assert quantities.to_dict() == {1: 2, 2: 7}
