"""The columns that identify a row of a model or source, as dbt's tests say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dataflow.base.sql import TableName

# What lists the columns in the arguments of a test that they are unique together.
_COMBINATIONS = {
    "unique_combination": "columns",
    "unique_combination_of_columns": "combination_of_columns",  # of dbt_utils
    "expect_compound_columns_to_be_unique": "column_list",  # of dbt_expectations
}


def unique_keys(manifest: dict[str, Any]) -> dict[TableName, tuple[str, ...]]:
    """The key of each model, seed, snapshot and source that a test of uniqueness names.

    A single column without NULL comes first, then columns that are unique together, then a single
    one that may be NULL; of several the first. A test of some rows only says nothing.

    Args:
        manifest: dbt's.
    """
    nodes = {**manifest["nodes"], **manifest.get("sources", {})}
    tests = [node for node in manifest["nodes"].values() if node["resource_type"] == "test"]
    never_null = {
        (table, column)
        for test in tests
        if _name(test) == "not_null"
        for table in _tables(test)
        for column in _columns(test)
    }
    found: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
    for test in tests:
        if _name(test) != "unique" and _name(test) not in _COMBINATIONS:
            continue
        if (test.get("config") or {}).get("where"):
            continue
        columns = _columns(test)
        for table in _tables(test):
            rank = 1 if len(columns) > 1 else 0 if (table, columns[0]) in never_null else 2
            found.setdefault(table, []).append((rank, columns))
    return {
        TableName(node["schema"], node.get("alias") or node.get("identifier") or node["name"]): min(
            keys, key=lambda key: key[0]
        )[1]
        for table, keys in found.items()
        if (node := nodes.get(table)) is not None
    }


def _name(test: dict[str, Any]) -> str:
    return str((test.get("test_metadata") or {}).get("name"))


def _columns(test: dict[str, Any]) -> tuple[str, ...]:
    arguments = test["test_metadata"].get("kwargs") or {}
    # Quoted in the file where the name needs it.
    listed = arguments.get(_COMBINATIONS.get(_name(test), "")) or [arguments.get("column_name")]
    return tuple(str(column).strip('"') for column in listed)


def _tables(test: dict[str, Any]) -> Iterator[str]:
    """The ids of the models or sources that a test is about."""
    if test.get("attached_node"):
        yield test["attached_node"]
    else:  # of a source
        yield from (test.get("depends_on") or {}).get("nodes", [])[:1]
