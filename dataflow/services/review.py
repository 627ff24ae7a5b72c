"""Looking at a run's stage: its executed notebook, or a copy of its notebook to try again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflow.engine.saving import write_notebook
from dataflow.project import Project
from dataflow.runs.record import SHORT, Run, newest_first
from dataflow.services import control
from dataflow.services.catalog import SERVICES
from dataflow.stages.notebook import prepare_notebook, read_notebook
from dataflow.stages.parameters import INJECTED_TAG, read_declaration
from dataflow.stages.values import check_values
from dataflow.warehouse.store import copy_working_to_development, has_development_copy

if TYPE_CHECKING:
    from nbformat import NotebookNode

# Below the workflow's folder, where JupyterLab reaches it, and ignored by git.
FOLDER = "debug"


@dataclass(frozen=True)
class LabCopy:
    """A copy of a stage's notebook with a run's parameters in it.

    Args:
        path: the copy.
        url: its address in the running JupyterLab; None when that is not running.
        notes: what is not as it was when the run executed it: the notebook, the data.
    """

    path: Path
    url: str | None
    notes: tuple[str, ...] = ()


def page_url(project: Project, page: Path) -> str:
    """The page's address: on the dashboards' server if it is running, else the file's."""
    base = _running_url(project, "evidence")
    if base is None:
        return page.resolve().as_uri()
    return f"{base.rstrip('/')}/runs/{page.relative_to(project.runs).as_posix()}"


def asked_before_trying_again(project: Project) -> str | None:
    """What its author has to agree to before `try_again` replaces data; None if there is none."""
    if not has_development_copy(project):
        return None
    return (
        "The working warehouse will replace your development copy, and what notebooks run by "
        "hand wrote to it will be lost."
    )


def try_again(
    project: Project, run: Run, stage: str, *, keep_data: bool = False, timeout: float = 60.0
) -> LabCopy:
    """Copy the stage's notebook to `notebooks/<workflow>/debug/` with the run's parameters.

    The copy is of the current notebook, not of the executed one, since it is to be fixed.
    Values that came from `${VAR}` are injected as names, and resolved when the cell runs. The
    development copy becomes a copy of the working warehouse, which holds what the run read and
    wrote until another one writes.

    Args:
        project: the project.
        run: the run.
        stage: its stage.
        keep_data: leave the development copy as it is.
        timeout: seconds to wait for writers, and for notebooks that have that copy open.

    Raises:
        ConfigurationError: the notebook is gone, or no longer valid.
        ParameterError: the run's parameters no longer fit it.
        WarehouseLocked: somebody had one of the two databases open all the time.
        WarehouseError: there is no warehouse yet, or it cannot be copied.
    """
    path = project.notebooks / run.workflow_id / f"{stage}.ipynb"
    source = read_notebook(path)
    declaration = read_declaration(path, source.cells)
    values = check_values(declaration, run.steps[stage].get("values") or {}, stage=stage)
    prepared = prepare_notebook(source, declaration, values)
    prepared.metadata.pop("papermill", None)
    notes = _notes(project, run, stage, source, keep_data=keep_data)
    prepared.cells[:0] = _first_cells(run, stage, notes)
    if not keep_data:
        copy_working_to_development(project, timeout=timeout)
    target = path.parent / FOLDER / f"{stage}-{run.run_id[:SHORT]}.ipynb"
    write_notebook(prepared, target)
    return LabCopy(target, lab_url(project, target), notes)


def _notes(
    project: Project, run: Run, stage: str, source: NotebookNode, *, keep_data: bool
) -> tuple[str, ...]:
    """What is not as it was in the run."""
    notes = []
    if _changed(run, stage, source):
        notes.append(f"{stage}.ipynb changed since that run; the copy has the current version.")
    newest = next(newest_first(project, run.workflow_id), run)
    if not keep_data and newest.run_id != run.run_id:
        notes.append(
            f"Run {newest.run_id[:SHORT]} began later; the tables that it wrote are as it left them."
        )
    return tuple(notes)


def lab_url(project: Project, notebook: Path) -> str | None:
    """The notebook's address in this project's JupyterLab; None when that is not running."""
    url = _running_url(project, "jupyter")
    if url is None:
        return None
    base, _, token = url.partition("?")
    return f"{base}/tree/{notebook.relative_to(project.root).as_posix()}?{token}"


def _first_cells(run: Run, stage: str, notes: Sequence[str]) -> list[Any]:
    from nbformat.v4 import new_code_cell, new_markdown_cell

    about = new_markdown_cell(
        f"**Copy of `{stage}.ipynb` with the parameters of run `{run.run_id[:8]}`** "
        f"({run.started_at:%Y-%m-%d %H:%M} UTC). It reads and writes your development copy of the "
        f"warehouse. What you fix here, fix in `{stage}.ipynb` too; this file is not kept in git."
        + "".join(f"\n\n{note}" for note in notes)
    )
    # By hand a kernel starts in the notebook's folder; files beside the stage are one up.
    move = new_code_cell(
        "import os\n\nfrom dataflow.project import Project\n\n"
        f'os.chdir(Project.find().notebooks / "{run.workflow_id}")'
    )
    return [about, move]


def _changed(run: Run, stage: str, source: NotebookNode) -> bool:
    """Whether the code cells differ from those the run executed."""

    def code(notebook: Any) -> list[str]:
        return [
            cell.source
            for cell in notebook.cells
            if cell.cell_type == "code" and INJECTED_TAG not in cell.metadata.get("tags", [])
        ]

    executed = read_notebook(run.folder / run.steps[stage]["notebook"])
    return code(executed) != code(source)


def _running_url(project: Project, name: str) -> str | None:
    """A service's address, JupyterLab's with its token; None when it is not running."""
    status = control.status(project, SERVICES[name])
    return status.state.url if status.state is not None and status.status == "running" else None
