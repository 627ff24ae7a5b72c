"""The part of a run's page about its tables: from the cells that wrote them to the dashboards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataflow.dashboard.pages import page_address
from dataflow.project import Project
from dataflow.review.written import written_tables
from dataflow.runs.record import Run


def tables_of_run(project: Project, run: Run) -> Mapping[str, Any] | None:
    """What `tables.html` shows of a run; None when the run noted no tables."""
    written = written_tables(project, run)
    if not written:
        return None
    pages = {path.stem.split(".")[0]: f"{path.stem}.html" for path in run.notebooks}

    def shown(path: Path) -> tuple[str, str | None]:
        return project.relative(path), page_address(project, path)

    return {
        "tables": [
            {
                "written": one,
                "page": pages.get(one.step),
                "read_by": [project.relative(path) for path in (*one.models, *one.others)],
                "shown_on": [shown(path) for path in one.pages],
            }
            for one in written
        ]
    }
