"""A run as a person reads it: its steps, its links, its error."""

from __future__ import annotations

from typing import Any

from rich.markup import escape

from dataflow.addresses import service_url
from dataflow.base.words import indented, numbered_lines, seconds_text
from dataflow.cli.output import console, new_table, status_text
from dataflow.errors import DataflowError, StageFailed
from dataflow.project import Project
from dataflow.runs.record import Run, step_seconds
from dataflow.workflows.ids import slug_of


def print_run(project: Project, run: Run) -> None:
    """Print the run's steps as a table, and where its results are."""
    out = console()
    table = new_table("Step", "Result", "Time", "Rows", "Checks", right=("Time", "Rows", "Checks"))
    for name, step in run.steps.items():
        table.add_row(
            name,
            status_text(step.get("status", "pending")),
            seconds_text(step_seconds(step)),
            *_counts(step),
        )
    out.print(table)
    for name, step in run.steps.items():
        for warning in step.get("warnings") or []:
            out.print(f"[yellow]warning:[/] {name}: {escape(warning)}")
    if run.status == "succeeded" and run.steps.get("dashboard", {}).get("status") == "succeeded":
        dashboards = service_url(project, "evidence")
        out.print(f"Dashboard           {dashboards}/{slug_of(run.workflow_id)}")
        out.print("                    [dim](dataflow service start evidence)[/]")
    out.print(f"Executed notebooks  {project.relative(run.folder)}/")


def _counts(step: dict[str, Any]) -> tuple[str, str]:
    rows = step.get("rows") or {}
    checks = step.get("checks") or []
    passed = sum(bool(check["passed"]) for check in checks)
    shown = f"{passed}/{len(checks)}" if checks else ""
    return ", ".join(f"{table} {count:,}" for table, count in rows.items()), shown


def failure(project: Project, run: Run) -> DataflowError | None:
    """The error a run ended with, None when it has none of its own.

    The first failed step's in full, the others' in a line each.
    """
    failed = {
        name: step
        for name, step in run.steps.items()
        if step.get("status") in ("failed", "cancelled") and step.get("error")
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
