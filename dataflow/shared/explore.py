"""Looking at tables by hand, in a notebook.

::

    %load_ext dataflow
    tables()
    describe("earthquakes.events")
    query("select region, count(*) from earthquakes.events group by all")

    %%query
    select * from earthquakes.largest_events limit 5

Without the extension: `from dataflow.shared.explore import describe, query, tables`. By hand they
read your development copy, as `get_duckdb_connection()` does, so that they show what the notebook
wrote; `database="published"` is what readers of the dashboards see.
"""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dataflow.base.words import cells_text, size_text
from dataflow.dbt.readers import makers_of, readers_of
from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.runs.record import folder_of, read_run
from dataflow.shared.db import get_duckdb_connection
from dataflow.warehouse.store import Database, Description
from dataflow.warehouse.store import describe as describe_table
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


@dataclass(frozen=True)
class Described:
    """A table with its columns and first rows; displays itself in a notebook.

    Args:
        found: what is in it.
        made_by: the notebooks and models that make it, below the project's folder.
        read_by: the models, notebooks, modules and source queries that read it.
        shown_on: the dashboards' pages that show what is made of it.
        cells: the cells that wrote it in the run that did so last, where they are known.
        notebook: that run's executed notebook.
        commit: the commit of the code that run had, with a `+` where files differed from it.
    """

    found: Description
    made_by: tuple[str, ...]
    read_by: tuple[str, ...]
    shown_on: tuple[str, ...] = ()
    cells: tuple[int, ...] = ()
    notebook: str | None = None
    commit: str | None = None

    @property
    def name(self) -> str:
        """The table, as `schema.table`."""
        return f"{self.found.table.schema}.{self.found.table.name}"

    def facts(self) -> list[tuple[str, str]]:
        """What there is to say of the table as a whole, each with its title."""
        table = self.found.table
        facts = [(table.kind, self.name), ("rows", f"{self.found.rows:,}")]
        if table.bytes is not None:
            facts.append(("size", size_text(table.bytes)))
        if table.written_at:
            by = f"run {table.run_id[:8]}, step {table.step}" if table.run_id else "hand"
            by += f", {cells_text(self.cells)}" if self.cells else ""
            by += f", commit {self.commit}" if self.commit else ""
            facts.append(("written", f"{table.written_at:%Y-%m-%d %H:%M} UTC, by {by}"))
        if self.notebook is not None:
            facts.append(("in", self.notebook))
        for title, paths in (
            ("made by", self.made_by), ("read by", self.read_by), ("shown on", self.shown_on)
        ):  # fmt: skip
            facts.append((title, "\n".join(paths) or "nothing in this project"))
        return facts

    def columns(self) -> pd.DataFrame:
        """The columns: name, type, nulls, different values, smallest and largest."""
        import pandas as pd

        return pd.DataFrame([asdict(column) for column in self.found.columns])

    def first(self) -> pd.DataFrame:
        """The first rows, as text."""
        import pandas as pd

        names = [column.name for column in self.found.columns]
        return pd.DataFrame(list(self.found.first), columns=names)

    def __repr__(self) -> str:
        facts = "\n".join(
            f"{title}: {', '.join(text.split(chr(10)))}" for title, text in self.facts()
        )
        return f"{facts}\n\n{self.columns().to_string(index=False)}"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left;vertical-align:top'>{title}</th>"
            f"<td style='text-align:left'>{html.escape(text).replace(chr(10), '<br>')}</td></tr>"
            for title, text in self.facts()
        )
        shown = [frame.to_html(index=False, na_rep="") for frame in (self.columns(), self.first())]
        return f"<table>{rows}</table>{''.join(shown)}"


def describe(
    name: str, *, database: Database | None = None, project: Project | None = None
) -> Described:
    """A table's columns and first rows, which stage or model makes it, and who reads it.

    Args:
        name: `schema.table`, or `table` where only one schema has it.
        database: see `tables`.
        project: the project; the one the current folder is in when None.

    Raises:
        ConfigurationError: there is no such table, or several.
        WarehouseError: the database cannot be opened.
    """
    project = project or Project.find()
    found = describe_table(project, name, database or _here())
    table = found.table.schema, found.table.name
    makers = makers_of(project, *table)
    readers = readers_of(project, *table)
    direct = (reader.path for reader in readers if reader.direct)
    made_by = tuple(map(project.relative, makers))
    read_by = tuple(project.relative(path) for path in direct if path not in makers)
    shown_on = tuple(project.relative(one.path) for one in readers if one.kind == "page")
    return Described(found, made_by, read_by, shown_on, **_written_in(project, found))


def _written_in(project: Project, found: Description) -> dict[str, Any]:
    """The cells, executed notebook and commit that wrote a table, where its run is there."""
    table = found.table
    folder = table.run_id and next(
        (one for home in project.runs.glob("*") if (one := folder_of(home, table.run_id))), None
    )
    run = read_run(folder) if folder else None
    if run is None:
        return {}
    step = run.steps.get(table.step or "", {})
    written = (step.get("writes") or {}).get(f"{table.schema}.{table.name}") or {}
    notebook = step.get("notebook")
    git = run.data.get("git") or {}
    commit = str(git.get("commit") or "none")[:8] + ("+" if git.get("dirty") else "")
    return {
        "cells": tuple(written.get("cells") or ()),
        "notebook": project.relative(run.folder / notebook) if notebook else None,
        "commit": commit if git else None,
    }


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
    """Give a notebook `tables`, `describe`, `query` and the cell magic `%%query`."""
    ipython.push({"tables": tables, "describe": describe, "query": query})

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
