"""`dataflow doctor`: is everything there that a run needs?"""

from __future__ import annotations

from dataclasses import asdict

import typer

from dataflow.cli.output import Json, console, print_json
from dataflow.errors import EXIT_FAILED
from dataflow.project import Project

SIGNS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "broken": ("✗", "bold red")}


def doctor(as_json: Json = False) -> None:
    """Check Python, packages, kernel, Node, ports, disk, warehouse, dbt, pages, workflows."""
    from rich.markup import escape

    from dataflow.doctor.project import examine

    findings = []
    for finding in examine(Project.find()):
        findings.append(finding)
        if as_json:
            continue
        sign, style = SIGNS[finding.status]
        console().print(f"[{style}]{sign}[/] {finding.subject}: {escape(finding.detail)}")
        if finding.hint:
            console().print(f"  → {escape(finding.hint)}", style="cyan")
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if any(finding.status == "broken" for finding in findings):
        raise typer.Exit(EXIT_FAILED)
