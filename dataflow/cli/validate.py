"""`dataflow workflow validate`: everything wrong with workflows, at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dataflow.base.words import counted
from dataflow.cli.output import Json, console, messages, print_json
from dataflow.errors import ConfigurationError, Problem
from dataflow.project import Project

if TYPE_CHECKING:
    from dataflow.validation.workflow import Examination


def validate(
    name: Annotated[str | None, typer.Argument(help="The workflow; all if left out.")] = None,
    dbt: Annotated[
        bool, typer.Option("--dbt", help="Have dbt read its models too; takes some seconds.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check configuration, notebooks, models and pages; lists everything wrong at once."""
    from dataflow.scaffold.inventory import leftovers
    from dataflow.validation.workflow import (
        Examination,
        examine_dbt,
        examine_workflow,
        saved_outputs,
    )
    from dataflow.validation.workflow import stray_folders as stray
    from dataflow.workflows.registry import find_workflow_folder, workflow_folders

    project = Project.find()
    project.load_environment()
    folders = [find_workflow_folder(project, name)] if name else workflow_folders(project)
    found = {folder.name: examine_workflow(project, folder) for folder in folders}
    warnings = stray(project) if name is None else []
    warnings += saved_outputs(
        project, [path for one in found.values() for path in one.with_outputs]
    )
    if warnings:
        found["notebooks"] = Examination(warnings=warnings)
    if name is None and (left := leftovers(project)):
        found["leftovers"] = Examination(warnings=left)
    # dbt's messages concern all workflows, and would repeat what was found in its files.
    if dbt and not any(e.problems for e in found.values()):
        found["dbt"] = Examination(examine_dbt(project))
    problems = [problem for one in found.values() for problem in one.problems]
    if as_json:
        _print_json(project, found)
        if problems:
            raise typer.Exit(ConfigurationError.exit_code)
        return
    _print(project, found)
    if problems:
        text = f"{counted(len(problems), 'problem')} found"
        raise ConfigurationError(text, problems=problems, root=project.root)


def _print(project: Project, found: dict[str, Examination]) -> None:
    from rich.markup import escape

    for workflow, one in found.items():
        if not one.problems and workflow not in ("notebooks", "leftovers"):
            console().print(f"[green]✓[/] {workflow}")
    err = messages()
    for warning in (warning for one in found.values() for warning in one.warnings):
        where = warning.where(project.root)
        err.print(
            f"[yellow]warning:[/] {escape(f'{where}: ' if where else '')}{escape(warning.message)}"
        )
        if warning.hint:
            err.print(f"  → {escape(warning.hint)}", style="cyan")


def _print_json(project: Project, found: dict[str, Examination]) -> None:

    def plain(problem: Problem, severity: str) -> dict[str, Any]:
        where = problem.where(project.root)
        return {
            "severity": severity,
            "message": problem.message,
            "where": where,
            "hint": problem.hint,
        }

    print_json(
        {
            workflow: [plain(p, "error") for p in one.problems]
            + [plain(p, "warning") for p in one.warnings]
            for workflow, one in found.items()
        }
    )
