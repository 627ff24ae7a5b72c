"""Find everything that is wrong with a workflow without running it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataflow.dbt.names import read_names
from dataflow.dbt.project import HINT, broken_models, ensure_manifest
from dataflow.errors import ConfigurationError, Problem
from dataflow.project import Project
from dataflow.validation.columns import column_problems
from dataflow.validation.config import secrets_in_clear, unset_variables
from dataflow.validation.notebook import examine_notebook
from dataflow.validation.pages import check_workflow_pages, table_warnings
from dataflow.validation.reads import code_of_files, raw_reads
from dataflow.validation.sql import check_models, check_sources
from dataflow.validation.tables import unknown_tables
from dataflow.variables import secrets_of
from dataflow.workflows.load import load_workflow, stage_notebooks
from dataflow.workflows.model import Workflow
from dataflow.workflows.registry import table_conflicts
from dataflow.workflows.yaml_file import read_yaml


@dataclass
class Examination:
    """What was found.

    Args:
        problems: what keeps the workflow from running, or its files from being committed.
        warnings: what works, but not as it should.
        with_outputs: notebooks that were saved with outputs.
    """

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    with_outputs: list[Path] = field(default_factory=list)


def examine_workflow(project: Project, folder: Path, *, execute: bool = True) -> Examination:
    """Check the configuration, every notebook, the dbt files and the pages of a workflow.

    Everything is checked, even after a problem was found. The dashboards' queries are run on the
    last exported tables; nothing else is run.

    Args:
        project: the project.
        folder: the workflow's folder.
        execute: import the code of a workflow that is written in Python.
    """
    workflow, problems = load_workflow(folder)
    found = Examination(list(problems))
    found.problems += unset_variables(folder, dict(os.environ))
    found.warnings += secrets_in_clear(folder)
    secrets = secrets_of(folder)
    config = read_yaml(folder / "config.yaml")
    for path, stage, values in notebooks_of(folder, workflow):
        wrong, doubtful, has_outputs = examine_notebook(path, stage, values, secrets, config)
        found.problems += wrong
        found.warnings += doubtful
        if has_outputs:
            found.with_outputs.append(path)
    modules = _module_problems(folder)
    found.problems += modules
    if execute and workflow is not None and not modules:
        found.problems += workflow.code_problems(project)
    found.problems += check_models(project, folder.name)
    found.problems += check_sources(project, folder.name)
    found.problems += column_problems(project, folder.name, models=True, sources=True)
    found.problems += check_workflow_pages(project, folder.name)
    found.warnings += table_warnings(project, folder.name)
    files = [*(path for path, *_ in notebooks_of(folder, workflow)), *sorted(folder.glob("*.py"))]
    code = list(code_of_files(files))
    found.warnings += raw_reads(project, folder, code)
    found.warnings += unknown_tables(project, code)
    if workflow is not None:
        found.problems += table_conflicts(project, workflow)
        found.warnings += unwritten_sources(project, workflow).values()
    return found


def problems_before_run(
    project: Project,
    workflow: Workflow,
    steps: Mapping[str, Iterable[str]],
    values: Mapping[str, Mapping[str, Any]],
) -> list[Problem]:
    """What is wrong with the steps of a run, as far as that can be told before it begins.

    What a run may still make right is no problem: a page's table whose columns only the data
    tells. Nor is what only concerns who commits the files.

    Args:
        project: the project.
        workflow: the workflow.
        steps: the names of the run's steps by their kind: stage, op, tables, dbt, dashboard.
        values: what was chosen for the run, by stage.
    """
    problems: list[Problem] = []
    if own := {*steps.get("stage", ()), *steps.get("op", ())}:
        problems += unset_variables(workflow.folder, dict(os.environ))
        for stage in workflow.stages:
            if stage.name in own:
                chosen = {**stage.parameters, **values.get(stage.name, {})}
                problems += examine_notebook(stage.notebook, stage.name, chosen, {})[0]
        problems += _module_problems(workflow.folder)
    if "dbt" in steps:
        problems += check_models(project, workflow.id)
    shown = "dashboard" in steps
    problems += column_problems(project, workflow.id, models="dbt" in steps, sources=shown)
    if shown:
        problems += check_sources(project, workflow.id)
        problems += check_workflow_pages(project, workflow.id, now=False)
    return problems


def examine_dbt(project: Project) -> list[Problem]:
    """Have dbt read the project; takes seconds if its files changed since the last time."""
    if not (project.dbt / "dbt_project.yml").is_file():
        return []
    try:
        ensure_manifest(project)
    except ConfigurationError as error:
        messages, hint = [error.message], error.hint
    else:
        messages, hint = list(dict.fromkeys(broken_models(project).values())), HINT
    return [Problem(_without_noise(text), *_place(project, text), hint) for text in messages]


def saved_outputs(project: Project, notebooks: list[Path]) -> list[Problem]:
    """One warning for all notebooks with outputs; none where a hook of git strips those."""
    if not notebooks or not _would_be_committed(project):
        return []
    names = [project.relative(path) for path in notebooks]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return [
        Problem(
            f"outputs are saved in {shown}",
            hint="`pre-commit install`, once, has git strip them at each commit; by hand: "
            f"nbstripout --keep-id {' '.join(names[:3])}",
        )
    ]


def _would_be_committed(project: Project) -> bool:
    """Whether git keeps the project, and has no hook or filter that strips outputs."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(project.root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    try:
        hook = git("rev-parse", "--git-path", "hooks/pre-commit")
        stripped = not hook or git("config", "filter.nbstripout.clean")
        return not stripped and not (project.root / hook).is_file()
    except OSError:  # no git
        return False


def stray_folders(project: Project) -> list[Problem]:
    """Folders that look like workflows but are not: without a config.yaml, or unreadable."""
    if not project.notebooks.is_dir():
        return []
    problems = []
    for folder in sorted(project.notebooks.iterdir()):
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        try:
            files = {path.name for path in folder.iterdir()}
            stray = not (folder / "config.yaml").exists()
        except OSError as error:
            hint = f"Give yourself access: chmod u+rwx {project.relative(folder)}"
            problems.append(
                Problem(f"the folder cannot be read: {error.strerror}", folder, hint=hint)
            )
            continue
        if stray and any(name.endswith(".ipynb") for name in files):
            problems.append(
                Problem(
                    "the folder has notebooks and no config.yaml: it is not a workflow",
                    folder,
                    hint='Add a config.yaml with "workflow:" and, below it, "name:".',
                )
            )
    return problems


def notebooks_of(folder: Path, workflow: Workflow | None) -> list[tuple[Path, str, dict[str, Any]]]:
    """Each notebook with its stage's name and the values config.yaml gives it."""
    if workflow is not None:
        return [(stage.notebook, stage.name, stage.parameters) for stage in workflow.stages]
    # The configuration is wrong; the notebooks are checked nevertheless.
    return [(path, path.stem, {}) for path in stage_notebooks(folder)]


def _module_problems(folder: Path) -> list[Problem]:
    """Syntax errors of the Python files beside the notebooks."""
    problems = []
    for path in sorted(folder.glob("*.py")):
        try:
            compile(path.read_bytes(), path.name, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None)
            message = getattr(error, "msg", str(error))
            problems.append(Problem(f"not valid Python: {message}", path, line, "Fix the file."))
    return problems


def unwritten_sources(project: Project, workflow: Workflow) -> dict[str, Problem]:
    """What is said of tables that dbt reads from this workflow and that no stage declares."""
    if not any(stage.writes for stage in workflow.stages):
        return {}
    names = read_names(project)
    written = {table for stage in workflow.stages for table in stage.writes}
    return {
        table: Problem(
            f"dbt's source `{source}` reads {schema}.{table}, which no stage declares in `writes`",
            workflow.folder / "config.yaml",
            hint=f"Add it to `writes:` of its stage, so that Dagster knows where {table} comes from.",
        )
        for source, schema in names.schemas.items()
        if schema == workflow.raw_schema
        for table in sorted(names.sources[source])
        if (schema, table) not in written
    }


def _without_noise(message: str) -> str:
    """dbt's message without times, and without lines about Python and dbt themselves."""
    lines = [re.sub(r"^\s*\d\d:\d\d:\d\d\s*", "    ", line) for line in message.splitlines()]
    noise = ("RuntimeWarning", "Registered adapter", "Encountered an error", "Running with dbt")
    return "\n".join(line for line in lines if line.strip() and not any(n in line for n in noise))


def _place(project: Project, message: str) -> tuple[Path, int | None]:
    """The file, and the line, that dbt's message is about."""
    file = re.search(r"\b((?:models|macros|tests|seeds|snapshots)/[\w./-]+\.\w+)", message)
    line = re.search(r"\bline (\d+)", message)
    path = project.dbt / file[1] if file else project.dbt / "dbt_project.yml"
    return path, int(line[1]) if line and file else None
