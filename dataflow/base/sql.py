"""SQL text and the names of a workflow's schemas, written in one place."""

from __future__ import annotations


def quote(identifier: str) -> str:
    """An identifier as SQL, whatever characters it has."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text value as SQL."""
    return "'" + text.replace("'", "''") + "'"


def raw_schema(workflow_id: str) -> str:
    """The schema that a workflow's stages write to unless they name another."""
    return f"{workflow_id}_raw"


def schemas_of(workflow_id: str) -> tuple[str, str, str]:
    """The schemas a workflow owns: its stages' tables, dbt's staging views, its marts."""
    return (raw_schema(workflow_id), f"{workflow_id}_staging", workflow_id)


def split_table(text: str, workflow_id: str) -> tuple[str, str]:
    """`table` or `schema.table` as (schema, table); a bare one is in the workflow's raw schema."""
    schema, _, table = text.rpartition(".")
    return schema or raw_schema(workflow_id), table
