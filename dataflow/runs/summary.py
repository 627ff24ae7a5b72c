"""What a run comes to, for people: its steps, the rows it wrote, and its error."""

from __future__ import annotations

from typing import Any

from dataflow.base.table import Row, Status, Table
from dataflow.base.words import indented, numbered_lines, seconds_text
from dataflow.errors import DataflowError, StageFailed
from dataflow.project import Project
from dataflow.runs.record import FAILED, Run, step_seconds


def steps_table(steps: dict[str, dict[str, Any]]) -> Table:
    """A run's steps, each with its result, time, rows and checks."""
    rows: list[Row] = [
        [
            name,
            Status(step.get("status", "pending")),
            seconds_text(step_seconds(step)),
            ", ".join(f"{table} {count:,}" for table, count in (step.get("rows") or {}).items()),
            _passed(step.get("checks") or []),
        ]
        for name, step in steps.items()
    ]
    right = ("Time", "Rows", "Checks")
    return Table(("Step", "Result", "Time", "Rows", "Checks"), rows, right)


def _passed(checks: list[dict[str, Any]]) -> str:
    return f"{sum(bool(check['passed']) for check in checks)}/{len(checks)}" if checks else ""


def failure(project: Project, run: Run) -> DataflowError | None:
    """The error a run ended with, None when it has none of its own.

    The first failed step's in full, the others' in a line each.
    """
    failed = {
        name: step
        for name, step in run.steps.items()
        if step.get("status") in FAILED and step.get("error")
    }
    if not failed:
        return None
    (name, step), *others = failed.items()
    error = step["error"]
    text = [_headline(name, step)]
    if "cell" in error:
        text += [
            indented(more, 30) for more in [error["evalue"].strip().partition("\n")[2]] if more
        ]
        text += ["", numbered_lines(error["source"], 20)]
        if error.get("last_frame"):
            text += ["", indented(error["last_frame"])]
        hint = f"Executed notebook: {project.relative(run.folder / step['notebook'])}"
    elif step.get("log") and not error.get("hint"):
        hint = f"Log: {project.relative(run.folder / step['log'])}"
    else:
        hint = error.get("hint") or f"`dataflow runs show {run.run_id[:8]}` has the details."
    if others:
        text += ["", *(f"Also: {_headline(name, step)}" for name, step in others)]
    return StageFailed("\n".join(text), hint=hint)


def _headline(name: str, step: dict[str, Any]) -> str:
    """What failed, in one line."""
    error = step["error"]
    if "cell" in error:
        return f"stage {name} failed in {error['message']}"
    what = name if step["kind"] == name else f"{step['kind']} {name}"
    return f"{what} failed: {error['message']}"
