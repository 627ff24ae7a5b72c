"""`dataflow doctor`: is everything there that a run needs?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from dataflow.errors import EXIT_FAILED
from dataflow.project import Project

SIGNS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "broken": ("✗", "bold red")}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Look at Python, packages, kernel, Node, ports, disk, warehouse, dbt, pages, workflows."""
    from rich.markup import escape

    from dataflow.cli.output import console, print_json
    from dataflow.doctor.project import examine

    out = console()
    findings = []
    for finding in examine(Project.find()):
        findings.append(finding)
        if as_json:
            continue
        sign, style = SIGNS[finding.status]
        out.print(f"[{style}]{sign}[/] {finding.subject}: {escape(finding.detail)}")
        if finding.hint:
            out.print(f"  → {escape(finding.hint)}", style="cyan")
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if any(finding.status == "broken" for finding in findings):
        raise typer.Exit(EXIT_FAILED)
