"""Tables that a browser cannot show as they are, said before a reader finds out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from dataflow.errors import Problem
from dataflow.project import Project

MOST_BYTES = 20_000_000
MOST_ROWS = 1_000_000


def warnings_of(project: Project, source: str, files: Mapping[str, Path]) -> list[Problem]:
    """Warnings for exported tables with more, or with other values, than a browser takes well.

    A page's queries run in the reader's browser, which fetches what they need of the table, mostly
    all of it, and has little memory: a table of 10 million rows makes it give up. Its numbers have
    about 16 digits, and its times an end.

    Args:
        source: the source the tables belong to.
        files: their Parquet files by name.
    """
    import duckdb

    warnings = []
    for table, path in files.items():
        if not path.is_file():
            continue
        query = project.evidence / "sources" / source / f"{table}.sql"
        for column in _inexact(path):
            name = column["name"]
            what, instead = (
                ("infinite times, which pages show as some date", f"nullif({name}, 'infinity')")
                if column["evidenceType"] == "date"
                else ("numbers of more than 15 digits, which pages round", f"{name}::varchar")
            )
            warnings.append(
                Problem(
                    f"{source}.{table} has {what}: column {name}",
                    query,
                    hint=f"Where it matters select something else here, {instead} for example.",
                )
            )
        size = path.stat().st_size
        found = duckdb.execute("SELECT num_rows FROM parquet_file_metadata(?)", [str(path)])
        rows = int((found.fetchone() or (0,))[0])
        if size > MOST_BYTES or rows > MOST_ROWS:
            warnings.append(
                Problem(
                    f"{source}.{table} has {rows:,} rows and {size / 1e6:.1f} MB, which every "
                    "reader's browser has to load, and may have no memory for",
                    query,
                    hint="Aggregate it in a model, or select fewer rows or columns here: "
                    "docs/extending.md, A dashboard.",
                )
            )
    return warnings


def _inexact(path: Path) -> list[dict[str, str]]:
    """The columns whose values a page cannot all show, as the export has noted."""
    try:
        columns = json.loads(path.with_suffix(".schema.json").read_text("utf-8"))
    except (OSError, ValueError):
        return []
    return [column for column in columns if column["typeFidelity"] == "inferred"]
