"""Which names a workflow may have, and which steps follow those of its own."""

from __future__ import annotations

import keyword
import re

IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*\Z")

# Catalogs and schemas that DuckDB or this project already uses; a workflow's id becomes a schema.
RESERVED = {
    "main", "dataflow", "temp", "system", "information_schema", "pg_catalog", "memory",
    "published", "notebooks", "dashboard", "runs", "docs", "data", "api", "tests",
    # Dagster's own, for jobs and their inputs.
    "context", "conf", "config", "meta", "arg_dict", "dict", "input_arg_dict", "output_arg_dict",
    "int", "str", "float", "bool", "input", "output", "type",
}  # fmt: skip

# The steps that follow the stages, or the ops, of every workflow.
STEPS_THAT_FOLLOW = ("dbt", "publish", "dashboard")


def slug_of(workflow_id: str) -> str:
    """The workflow's part of its dashboard's address, and the name of its pages."""
    return workflow_id.replace("_", "-")


def workflow_id_problem(workflow_id: str) -> str | None:
    """Why `workflow_id` cannot be a workflow's id, or None when it can.

    It becomes a schema, a Python package and a part of addresses, so it has to be an
    identifier in lower case.
    """
    if workflow_id in RESERVED:
        return f"`{workflow_id}` is a name that the project, DuckDB or Dagster itself uses"
    if keyword.iskeyword(workflow_id):
        return f"`{workflow_id}` is a keyword in Python"
    if not IDENTIFIER.match(workflow_id):
        return f"`{workflow_id}` is not a name of lower-case letters, digits and _ that starts with a letter"
    if len(workflow_id) > 60:
        return f"`{workflow_id}` is longer than 60 characters"
    return None
