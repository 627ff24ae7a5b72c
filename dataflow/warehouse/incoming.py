"""Data to be written, of any kind, as a relation that DuckDB can read by name."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dataflow.base.sql import quote
from dataflow.base.words import counted, nearest
from dataflow.errors import ConfigurationError, WarehouseError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ACCEPTED = "a pandas DataFrame, an Arrow table or reader, a DuckDB relation or a list of dicts"


@dataclass(frozen=True)
class Incoming:
    """Data that can be read by `name` in the connection it was prepared for.

    Args:
        name: its name in SQL.
        columns: column → DuckDB type.
        untyped: columns without any value, whose type says nothing.
    """

    name: str
    columns: dict[str, str]
    untyped: frozenset[str] = field(default_factory=frozenset)


@contextlib.contextmanager
def prepare(
    raw: DuckDBPyConnection, data: Any, *, once: Callable[[], bool] = lambda: False
) -> Iterator[Incoming]:
    """Make `data` readable by name for the length of the block, without copying frames.

    Args:
        raw: DuckDB's own connection.
        data: see `ACCEPTED`.
        once: says whether it is read by one statement only, and before anything is changed: a
            relation of this connection is not copied then.

    Raises:
        ConfigurationError: the data cannot be a table, or a column has an invalid name.
        WarehouseError: a column's values fit no type.
    """
    import duckdb

    name = f"incoming_{uuid.uuid4().hex}"
    view, untyped = name, frozenset[str]()
    table: str | None = None
    pandas = sys.modules.get("pandas")
    try:
        if isinstance(data, duckdb.DuckDBPyRelation):
            table = _copy_relation(raw, data, name, once=once())
        elif pandas is not None and isinstance(data, pandas.DataFrame):
            untyped = _check_frame(data)
            raw.register(name, data)
        else:
            arrow, is_stream = _as_arrow(data)
            untyped = _check_arrow(arrow)
            raw.register(name, arrow)
            if is_stream:
                # A stream can be read once; checking and writing both read it.
                table = f"temp.main.{name}_read"
                raw.execute(f"CREATE TEMP TABLE {name}_read AS FROM {name}")
        view = table or name
        described = raw.execute(f"DESCRIBE FROM {view}").fetchall()
        yield Incoming(view, {row[0]: row[1] for row in described}, untyped)
    finally:
        # After a failed commit the connection may be unusable; the data goes with it.
        with contextlib.suppress(duckdb.Error):
            raw.unregister(name)
            if table is not None:
                kind = "VIEW" if table == f"temp.main.{name}" else "TABLE"
                raw.execute(f"DROP {kind} IF EXISTS {table}")


def check_key(
    raw: DuckDBPyConnection, incoming: Incoming, key: Sequence[str], unique: bool
) -> None:
    """Check that every row has a key and, if `unique`, that no two rows share one.

    Args:
        key: the columns that identify a row.

    Raises:
        ConfigurationError: the data lacks a key column.
        WarehouseError: rows without a key, or with the same key; names examples.
    """
    known = {column.lower() for column in incoming.columns}
    for column in key:
        if column.lower() not in known:
            raise ConfigurationError(
                f"the key column {column!r} is not in the data",
                hint=nearest(column, incoming.columns),
            )
    columns = ", ".join(quote(column) for column in key)
    words = ", ".join(key)
    empty = " OR ".join(f"{quote(column)} IS NULL" for column in key)
    row = raw.execute(f"SELECT count(*) FROM {incoming.name} WHERE {empty}").fetchone()
    if row and row[0]:
        raise WarehouseError(
            f"{counted(row[0], 'row')} without a key: NULL in {words}; nothing was written",
            hint="Drop or complete these rows before writing.",
        )
    if not unique:
        return
    doubled = (
        f"SELECT {columns}, count(*) AS n FROM {incoming.name} GROUP BY {columns} HAVING n > 1"
    )
    row = raw.execute(f"SELECT count(*) FROM ({doubled})").fetchone()
    if row and row[0]:
        examples = raw.execute(f"{doubled} ORDER BY n DESC, {columns} LIMIT 3").fetchall()
        listed = "; ".join(
            ", ".join(f"{k}={v!r}" for k, v in zip(key, example, strict=False))
            + f" ({counted(example[-1], 'row')})"
            for example in examples
        )
        raise WarehouseError(
            f"the key {words} is not unique in the data, which has {counted(row[0], 'value')} more than once, "
            f"such as {listed}; nothing was written",
            hint="Keep one row per key (drop_duplicates), or name more key columns.",
        )


def _copy_relation(raw: DuckDBPyConnection, relation: Any, name: str, *, once: bool) -> str:
    """Copy a relation into a temporary table; its rows may depend on the table written to.

    One that is read `once` becomes a temporary view instead.
    """
    import duckdb

    if not relation.columns:
        raise ConfigurationError("the relation has no columns")
    raw.execute(f"CREATE TEMP TABLE {name}_probe (probe INTEGER)")
    try:
        # A relation runs in the connection that created it; only ours has the probe.
        relation.query(name, f"FROM temp.main.{name}_probe")
        same_connection = True
    except duckdb.CatalogException:
        same_connection = False
    finally:
        raw.execute(f"DROP TABLE temp.main.{name}_probe")
    table = f"{name}_read"
    if same_connection and once:
        return f"temp.main.{name}"  # the view that the look for the probe has made
    if same_connection:
        relation.query(name, f"CREATE TEMP TABLE {table} AS FROM {name}")
        raw.execute(f"DROP VIEW IF EXISTS temp.main.{name}")
    else:
        raw.register(name, relation.to_arrow_table())
        raw.execute(f"CREATE TEMP TABLE {table} AS FROM {name}")
    return f"temp.main.{table}"


def _check_frame(frame: Any) -> frozenset[str]:
    """Refuse a frame that would lose data; return the columns without a value."""
    lost = [str(name) for name in frame.index.names if name is not None]
    if lost:
        raise ConfigurationError(
            f"the data frame's index ({', '.join(lost)}) would get lost: a table has only columns",
            hint="Make it a column: frame.reset_index().",
        )
    _check_columns(list(frame.columns))
    return frozenset(
        column
        for column, kind in zip(frame.columns, frame.dtypes, strict=True)
        if kind == "object" and frame[column].isna().all()
    )


def _as_arrow(data: Any) -> tuple[Any, bool]:
    """The data as Arrow, and whether it can be read only once."""
    import pyarrow

    if isinstance(data, pyarrow.Table):
        return data, False
    if isinstance(data, pyarrow.RecordBatch):
        return pyarrow.Table.from_batches([data]), False
    if isinstance(data, pyarrow.RecordBatchReader):
        return data, True
    if hasattr(data, "__arrow_c_stream__"):
        return pyarrow.RecordBatchReader.from_stream(data), True
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _from_dicts(data), False
    raise ConfigurationError(f"cannot write {type(data).__name__} as a table; give {ACCEPTED}")


def _from_dicts(rows: Sequence[Any]) -> Any:
    import pyarrow

    for position, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ConfigurationError(
                f"item {position} of the list is {type(row).__name__}, not a dict of columns"
            )
    columns = list(dict.fromkeys(column for row in rows for column in row))
    if not columns:
        raise ConfigurationError(
            "an empty list says nothing about the table's columns",
            hint="Write a data frame with columns and no rows, or skip the write.",
        )
    _check_columns(columns)
    arrays = []
    for column in columns:
        try:
            arrays.append(pyarrow.array([row.get(column) for row in rows]))
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
            raise WarehouseError(
                f"the values of column {column!r} do not fit one type: {error}",
                hint="Convert them to one type before writing.",
            ) from error
    return pyarrow.table(arrays, names=columns)


def _check_arrow(arrow: Any) -> frozenset[str]:
    import pyarrow

    _check_columns(list(arrow.schema.names))
    return frozenset(f.name for f in arrow.schema if pyarrow.types.is_null(f.type))


def _check_columns(columns: list[Any]) -> None:
    """Refuse columns that DuckDB would rename."""
    if not columns:
        raise ConfigurationError("the data has no columns")
    for column in columns:
        if not isinstance(column, str) or not column:
            raise ConfigurationError(
                f"{column!r} cannot be a column's name",
                hint="Name the columns with text: frame.columns = [...].",
            )
    doubled = [c for c, n in Counter(column.lower() for column in columns).items() if n > 1]
    if doubled:
        raise ConfigurationError(
            f"columns occur twice, regardless of case: {', '.join(doubled)}",
            hint="Rename or drop one of each.",
        )
