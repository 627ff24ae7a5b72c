"""Write a data frame, an Arrow table or a relation as a table of the warehouse."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from dataflow.errors import ConfigurationError

if TYPE_CHECKING:
    from dataflow.warehouse.connect import Connection

Mode = Literal["replace", "append", "upsert", "delete+insert"]


def write_table(
    conn: Connection,
    data: Any,
    table: str,
    *,
    mode: Mode = "replace",
    key: Sequence[str] = (),
    on_schema_change: str = "fail",
) -> int:
    """Write `data` as a table and return the number of rows written."""
    schema, _, name = table.rpartition(".")
    if not schema:
        if conn.workflow is None:
            raise ConfigurationError(
                f"no workflow is known here, so {table!r} has no schema",
                hint='Name the schema too: write_table(conn, data, "schema.table").',
            )
        schema = f"{conn.workflow}_raw"
    raw = conn.raw
    raw.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    if isinstance(data, list):
        import pyarrow

        data = pyarrow.Table.from_pylist(data)
    incoming = f"incoming_{uuid.uuid4().hex}"
    raw.register(incoming, data)
    target = f'"{schema}"."{name}"'
    try:
        if mode == "replace":
            result = raw.execute(f"CREATE OR REPLACE TABLE {target} AS FROM {incoming}")
        elif mode == "append":
            raw.execute(f"CREATE TABLE IF NOT EXISTS {target} AS FROM {incoming} LIMIT 0")
            result = raw.execute(f"INSERT INTO {target} BY NAME FROM {incoming}")
        else:
            raise NotImplementedError(mode)
        row = result.fetchone()
        return int(row[0]) if row else 0
    finally:
        raw.unregister(incoming)
