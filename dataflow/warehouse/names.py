"""Names of tables: parsed, checked and quoted in one place."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dataflow.errors import ConfigurationError

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")

# `main` belongs to no workflow, so nothing in it would ever be published; a schema called
# like the catalog makes `dataflow.x` ambiguous; the others are DuckDB's own.
RESERVED_SCHEMAS = frozenset(
    {"main", "dataflow", "temp", "system", "information_schema", "pg_catalog"}
)


def schemas_of(workflow_id: str) -> tuple[str, str, str]:
    """The schemas a workflow owns: its stages' tables, dbt's staging views, its marts."""
    return (f"{workflow_id}_raw", f"{workflow_id}_staging", workflow_id)


@dataclass(frozen=True)
class TableName:
    """A table, by schema and name; `str()` gives it as people write it."""

    schema: str
    name: str

    @classmethod
    def parse(cls, text: str, workflow: str | None) -> TableName:
        """Read `table` or `schema.table`.

        Args:
            text: the name; a bare one belongs to the workflow's own `<workflow>_raw`.
            workflow: the workflow; None when unknown, and then `text` must name its schema.

        Raises:
            ConfigurationError: not a name a table can have, or no schema is known.
        """
        if not isinstance(text, str):
            raise ConfigurationError(f"a table's name is text, not {type(text).__name__}")
        parts = text.split(".")
        if len(parts) > 2:
            raise ConfigurationError(
                f"{text!r} has too many parts for a table's name",
                hint="Write table, or schema.table.",
            )
        if len(parts) == 1:
            if workflow is None:
                raise ConfigurationError(
                    f"no workflow is known here, so the table {text!r} has no schema",
                    hint='Name its schema too: "schema.table".',
                )
            parts = [f"{workflow}_raw", *parts]
        for part in parts:
            if not _IDENTIFIER.fullmatch(part):
                raise ConfigurationError(
                    f"{text!r} is not a name a table can have",
                    hint="Use letters, digits and _, not starting with a digit, at most 63.",
                )
        if parts[0].lower() in RESERVED_SCHEMAS:
            raise ConfigurationError(
                f"the schema {parts[0]!r} is reserved",
                hint="Write to the workflow's own schema: leave the schema out.",
            )
        return cls(*parts)

    @property
    def quoted(self) -> str:
        """The name as SQL."""
        return f"{quote(self.schema)}.{quote(self.name)}"

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def quote(identifier: str) -> str:
    """An identifier as SQL, whatever characters it has."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text value as SQL."""
    return "'" + text.replace("'", "''") + "'"
