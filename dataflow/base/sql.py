"""SQL text, and the names of tables and of a workflow's schemas."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

_COMMENT = re.compile(
    r"""(?P<quoted>'[^'\n]*'|"[^"\n]*")|--[^\n]*|/\*.*?\*/|\{#.*?#\}""", re.DOTALL
)


def without_comments(sql: str) -> str:
    """SQL, or dbt's, without its comments, line by line the same."""
    return _COMMENT.sub(lambda match: match["quoted"] or blank(match), sql)


def blank(match: re.Match[str]) -> str:
    """Nothing in the place of a match but its line ends: what follows keeps its line."""
    return "\n" * match[0].count("\n")


def quote(identifier: str) -> str:
    """An identifier as SQL, whatever characters it has."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(value: str | bool | datetime | Sequence[str] | None) -> str:
    """A value as SQL: text, a truth value, a time, a list of texts, NULL."""
    if value is None or isinstance(value, bool):
        return {None: "NULL", True: "true", False: "false"}[value]
    if isinstance(value, (str, datetime)):
        return "'" + str(value).replace("'", "''") + "'"
    return f"[{', '.join(map(literal, value))}]::VARCHAR[]"


def filled(sql: str, *values: str | bool | datetime | Sequence[str] | None) -> str:
    """SQL with values in the place of its `?`, in order.

    DuckDB imports pandas and pyarrow before it takes a parameter, half a second of CPU.
    """
    parts = sql.split("?")
    ends = [*map(literal, values), ""]
    return "".join(part + end for part, end in zip(parts, ends, strict=True))


class TableName(NamedTuple):
    """A table, by schema and name; `str()` gives it as people write it."""

    schema: str
    name: str

    @property
    def quoted(self) -> str:
        """The name as SQL."""
        return f"{quote(self.schema)}.{quote(self.name)}"

    @property
    def folded(self) -> TableName:
        """The name in lower case: names that differ in that only are one to DuckDB."""
        return TableName(self.schema.lower(), self.name.lower())

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
