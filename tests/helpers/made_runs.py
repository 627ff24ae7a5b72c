"""Runs that no kernel made: executed notebooks as they might be, in a project of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
from projects import make_project

from dataflow.api import Project as Api
from dataflow.api import Run
from dataflow.review.comparison import RunComparison
from dataflow.runs.record import RunRecord


def executed(*cells: Any, **metadata: Any) -> Any:
    """An executed notebook: text is the source of a code cell, or a cell."""
    nodes = [nbformat.v4.new_code_cell(c) if isinstance(c, str) else c for c in cells]
    for node in nodes:
        node.metadata["papermill"] = {"status": "completed"}
    return nbformat.v4.new_notebook(cells=nodes, metadata=metadata)


def shows(source: str, *outputs: Any) -> Any:
    """A code cell with outputs: a dictionary is a display, text was printed."""
    made = [
        nbformat.v4.new_output("stream", name="stdout", text=output)
        if isinstance(output, str)
        else nbformat.v4.new_output("display_data", data=output)
        for output in outputs
    ]
    return nbformat.v4.new_code_cell(source, outputs=made)


class Made:
    """A project whose runs are made without running anything."""

    def __init__(self, folder: Path) -> None:
        self.project = make_project(folder, {})
        self.count = 0

    def run(self, notebook: Any, file: str = "read.ipynb", **facts: Any) -> Run:
        """A run with one stage, `read`, whose executed notebook this is: a node, or text."""
        self.count += 1
        record = RunRecord(self.project, "made", f"{self.count:08}" + "a" * 24)
        record.begin([{"name": "read", "kind": "stage"}])
        record.step_started("read", notebook=file)
        record.step_ended("read", "succeeded", **facts)
        record.end()
        if notebook is not None:
            text = notebook if isinstance(notebook, str) else nbformat.writes(notebook)
            (record.folder / Path(file).name).write_text(text, "utf-8")
        data = json.loads((record.folder / "run.json").read_text("utf-8"))
        # Runs of one second would have no order.
        data["started_at"] = f"2026-11-26T10:{self.count:02}:00+00:00"
        data["ended_at"] = f"2026-11-26T10:{self.count:02}:30+00:00"
        (record.folder / "run.json").write_text(json.dumps(data), "utf-8")
        return Api(self.project).find_run(record.run_id)

    def diff(self, before: Any, after: Any) -> RunComparison:
        """The comparison of two runs with these notebooks."""
        one, other = self.run(before), self.run(after)
        return other.diff(one)
