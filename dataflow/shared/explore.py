"""Looking at tables by hand, in a notebook.

::

    %load_ext dataflow
    tables()
    query("select region, count(*) from earthquakes.events group by all")

    %%query
    select * from earthquakes.largest_events limit 5

Without the extension: `from dataflow.shared.explore import tables, query`. By hand they read
your development copy, as `get_duckdb_connection()` does, so that they show what the notebook
wrote; `database="published"` is what readers of the dashboards see.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection
from dataflow.warehouse.store import Database
from dataflow.warehouse.store import tables as inspect

if TYPE_CHECKING:
    import pandas as pd


def tables(schema: str | None = None, *, database: Database | None = None) -> pd.DataFrame:
    """The tables and views, with rows, columns, size and the run that wrote each.

    Args:
        schema: only those of this schema.
        database: `development`, `working` or `published`; by default the one the notebook
            itself reads and writes.

    Returns:
        Columns `table` (schema.table), `kind`, `rows`, `columns`, `bytes`, `run`, `written_at`
        (UTC); rows and bytes are missing for views.

    Raises:
        WarehouseError: the database cannot be opened.
    """
    import pandas as pd

    rows = [
        {
            "table": f"{found.schema}.{found.name}",
            "kind": found.kind,
            "rows": found.rows,
            "columns": found.columns,
            "bytes": found.bytes,
            "run": found.run_id[:8] if found.run_id else None,
            "written_at": found.written_at,
        }
        for found in inspect(Project.find(), database or _here())
        if schema in (None, found.schema)
    ]
    frame = pd.DataFrame(
        rows, columns=["table", "kind", "rows", "columns", "bytes", "run", "written_at"]
    )
    # Views have no count; whole numbers stay whole.
    return frame.astype({"rows": "Int64", "bytes": "Int64"})


def query(
    sql: str,
    parameters: Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    database: Database | None = None,
) -> pd.DataFrame:
    """The rows of a SELECT as a data frame. Nothing can be changed by it.

    Args:
        sql: one statement; the notebook's own data frames can be named in it like tables.
        parameters: values for `?` or `$name` in it.
        database: see `tables`.

    Raises:
        ConfigurationError: the statement has a mistake, or would write.
        WarehouseError: the database cannot be opened.
    """
    import duckdb

    with get_duckdb_connection(read_only=True, database=database or _here()) as conn:
        # The notebook's variables are further up than the frame that calls DuckDB.
        conn.execute("SET python_scan_all_frames = true")
        try:
            return conn.execute(sql, parameters).df()
        except (duckdb.InvalidInputException, duckdb.TransactionException) as error:
            if "read-only" not in str(error).lower():
                raise ConfigurationError(str(error).strip(), hint="Correct the SQL.") from None
            raise ConfigurationError(
                "query() only reads",
                hint="Write with write_table, in `with get_duckdb_connection() as conn:`.",
            ) from None
        except duckdb.Error as error:
            raise ConfigurationError(str(error).strip(), hint="Correct the SQL.") from None


def load_extension(ipython: Any) -> None:
    """Give a notebook `tables`, `query` and the cell magic `%%query`."""
    ipython.push({"tables": tables, "query": query})

    def query_magic(line: str, cell: str) -> pd.DataFrame | None:
        """%%query [NAME]: the cell's SELECT as a data frame, in variable NAME if given."""
        found = query(cell)
        if not line.strip():
            return found
        ipython.push({line.strip(): found})
        return None

    ipython.register_magic_function(query_magic, magic_kind="cell", magic_name="query")


def _here() -> Database:
    """The database that `get_duckdb_connection()` writes to, where this is called."""
    return "working" if os.environ.get("DATAFLOW_RUN_ID") else "development"
