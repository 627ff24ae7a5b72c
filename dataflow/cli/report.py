"""A run as a person reads it: its steps, its links, its error."""

from __future__ import annotations

from typing import Any

from rich.markup import escape

from dataflow.addresses import service_url
from dataflow.base.words import seconds_text
from dataflow.cli.output import console, new_table, status_text
from dataflow.errors import DataflowError, StageFailed
from dataflow.project import Project
from dataflow.runs.record import Run, step_seconds
from dataflow.workflows.model import Workflow


def print_run(project: Project, workflow: Workflow | None, run: Run) -> None:
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
        out.print(f"Dashboard           {dashboards}/{run.workflow_id.replace('_', '-')}")
        out.print("                    [dim](dataflow service start evidence)[/]")
    out.print(f"Executed notebooks  {project.relative(run.folder)}/")


def _counts(step: dict[str, Any]) -> tuple[str, str]:
    rows = step.get("rows") or {}
    checks = step.get("checks") or []
    passed = sum(bool(check["passed"]) for check in checks)
    shown = f"{passed}/{len(checks)}" if checks else ""
    return ", ".join(f"{table} {count:,}" for table, count in rows.items()), shown


def failure(project: Project, run: Run) -> DataflowError | None:
    """The error a run ended with, None when it has none of its own."""
    for name, step in run.steps.items():
        if step.get("status") not in ("failed", "cancelled") or not step.get("error"):
            continue
        error = step["error"]
        if "cell" not in error:
            return StageFailed(
                f"{step['kind']} {name} failed: {error['message']}"
                if step["kind"] != name
                else f"{name} failed: {error['message']}",
                hint=error["hint"]
                if error.get("hint")
                else f"Log: {project.relative(run.folder / step['log'])}"
                if step.get("log")
                else f"`dataflow runs show {run.run_id[:8]}` has the details.",
            )
        notebook = project.relative(run.folder / step["notebook"])
        text = [f"stage {name} failed in {error['message']}", "", _numbered(error["source"])]
        if error.get("last_frame"):
            text += ["", _indented(error["last_frame"])]
        return StageFailed("\n".join(text), hint=f"Executed notebook: {notebook}")
    return None


def _numbered(source: str, most: int = 20) -> str:
    lines = source.split("\n")
    shown = [f"  {number:>3} │ {line}" for number, line in enumerate(lines[:most], start=1)]
    if len(lines) > most:
        shown.append(f"      │ … {len(lines) - most} more lines")
    return "\n".join(shown)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n")[:15])
