"""Tables that are too big for a browser, said before a reader finds out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dataflow.errors import Problem
from dataflow.project import Project

MOST_BYTES = 20_000_000
MOST_ROWS = 1_000_000


def big_tables(project: Project, source: str, files: Mapping[str, Path]) -> list[Problem]:
    """A warning for each exported table with more than a browser takes well.

    A page's queries run in the reader's browser, which fetches what they need of the table, mostly
    all of it, and has little memory: a table of 10 million rows makes it give up.

    Args:
        source: the source the tables belong to.
        files: their Parquet files by name.
    """
    import duckdb

    warnings = []
    for table, path in files.items():
        if not path.is_file():
            continue
        size = path.stat().st_size
        found = duckdb.execute("SELECT num_rows FROM parquet_file_metadata(?)", [str(path)])
        rows = int((found.fetchone() or (0,))[0])
        if size > MOST_BYTES or rows > MOST_ROWS:
            warnings.append(
                Problem(
                    f"{source}.{table} has {rows:,} rows and {size / 1e6:.1f} MB, which every "
                    "reader's browser has to load, and may have no memory for",
                    project.evidence / "sources" / source / f"{table}.sql",
                    hint="Aggregate it in a model, or select fewer rows or columns here: "
                    "docs/extending.md, A dashboard.",
                )
            )
    return warnings
