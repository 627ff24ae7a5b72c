"""SQL text, and the names of tables and of a workflow's schemas."""

from __future__ import annotations

from typing import NamedTuple


def quote(identifier: str) -> str:
    """An identifier as SQL, whatever characters it has."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text value as SQL."""
    return "'" + text.replace("'", "''") + "'"


class TableName(NamedTuple):
    """A table, by schema and name; `str()` gives it as people write it."""

    schema: str
    name: str

    @property
    def quoted(self) -> str:
        """The name as SQL."""
        return f"{quote(self.schema)}.{quote(self.name)}"

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def raw_schema(workflow_id: str) -> str:
    """The schema that a workflow's stages write to unless they name another."""
    return f"{workflow_id}_raw"


def schemas_of(workflow_id: str) -> tuple[str, str, str]:
    """The schemas a workflow owns: its stages' tables, dbt's staging views, its marts."""
    return (raw_schema(workflow_id), f"{workflow_id}_staging", workflow_id)


def split_table(text: str, workflow_id: str) -> TableName:
    """The table that `table` or `schema.table` names; a bare one is in the workflow's raw schema."""
    schema, _, table = text.rpartition(".")
    return TableName(schema or raw_schema(workflow_id), table)
