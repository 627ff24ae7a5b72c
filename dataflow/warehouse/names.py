"""The names that tables may have."""

from __future__ import annotations

import re

from dataflow.base.sql import TableName, split_table
from dataflow.errors import ConfigurationError

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")

# `main` belongs to no workflow, so nothing in it would ever be published; a schema with the
# catalog's name makes `dataflow.x` ambiguous; the others are DuckDB's own.
RESERVED_SCHEMAS = frozenset(
    {"main", "dataflow", "temp", "system", "information_schema", "pg_catalog"}
)


def parse_table(text: str, workflow: str | None) -> TableName:
    """Read `table` or `schema.table`.

    Args:
        text: the name; a bare one belongs to the workflow's own `<workflow>_raw`.
        workflow: the workflow; None when unknown, and then `text` must name its schema.

    Raises:
        ConfigurationError: it cannot be a table's name, or no schema is known.
    """
    if not isinstance(text, str):
        raise ConfigurationError(f"a table's name is text, not {type(text).__name__}")
    if text.count(".") > 1:
        raise ConfigurationError(
            f"{text!r} has too many parts for a table's name",
            hint="Write table, or schema.table.",
        )
    if "." not in text and workflow is None:
        raise ConfigurationError(
            f"no workflow is known here, so the table {text!r} has no schema",
            hint='Name its schema too: "schema.table".',
        )
    parsed = split_table(text, workflow or "")
    if text.startswith(".") or not all(map(_IDENTIFIER.fullmatch, parsed)):
        raise ConfigurationError(
            f"{text!r} cannot be a table's name",
            hint="Use letters, digits and _, not starting with a digit, at most 63.",
        )
    if parsed.schema.lower() in RESERVED_SCHEMAS:
        raise ConfigurationError(
            f"the schema {parsed.schema!r} is reserved",
            hint="Write to the workflow's own schema: leave the schema out.",
        )
    return parsed
