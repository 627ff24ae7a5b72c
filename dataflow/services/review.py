"""Looking at a run's stage: its executed notebook, or a copy of its notebook to try again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflow.project import Project
from dataflow.runs.record import Run
from dataflow.services import control
from dataflow.services.catalog import SERVICES
from dataflow.stages.notebook import prepare_notebook, read_notebook
from dataflow.stages.parameters import INJECTED_TAG, read_declaration
from dataflow.stages.values import check_values

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
        changed: whether the notebook's code differs from what the run executed.
    """

    path: Path
    url: str | None
    changed: bool


def page_url(project: Project, page: Path) -> str:
    """The page's address: on the dashboards' server if it is running, else the file's."""
    base = _running_url(project, "evidence")
    if base is None:
        return page.resolve().as_uri()
    return f"{base.rstrip('/')}/runs/{page.relative_to(project.runs).as_posix()}"


def copy_for_lab(project: Project, run: Run, stage: str) -> LabCopy:
    """Copy the stage's notebook to `notebooks/<workflow>/debug/` with the run's parameters.

    The copy is of the current notebook, not of the executed one, since it is to be fixed.
    Values that came from `${VAR}` are injected as names, and resolved when the cell runs.

    Raises:
        ConfigurationError: the notebook is gone, or no longer valid.
        ParameterError: the run's parameters no longer fit it.
    """
    from dataflow.engine.saving import write_notebook

    path = project.notebooks / run.workflow_id / f"{stage}.ipynb"
    source = read_notebook(path)
    declaration = read_declaration(path, source.cells)
    values = check_values(declaration, run.steps[stage].get("values") or {}, stage=stage)
    prepared = prepare_notebook(source, declaration, values)
    prepared.metadata.pop("papermill", None)
    prepared.cells[:0] = _first_cells(run, stage)
    target = path.parent / FOLDER / f"{stage}-{run.run_id[:8]}.ipynb"
    write_notebook(prepared, target)
    return LabCopy(target, lab_url(project, target), _changed(run, stage, source))


def lab_url(project: Project, notebook: Path) -> str | None:
    """The notebook's address in this project's JupyterLab; None when that is not running."""
    url = _running_url(project, "jupyter")
    if url is None:
        return None
    base, _, token = url.partition("?")
    return f"{base}/tree/{notebook.relative_to(project.root).as_posix()}?{token}"


def _first_cells(run: Run, stage: str) -> list[Any]:
    from nbformat.v4 import new_code_cell, new_markdown_cell

    about = new_markdown_cell(
        f"**Copy of `{stage}.ipynb` with the parameters of run `{run.run_id[:8]}`** "
        f"({run.started_at:%Y-%m-%d %H:%M} UTC). It reads and writes your development copy of the "
        f"warehouse. What you fix here, fix in `{stage}.ipynb` too; this file is not kept in git."
    )
    # By hand a kernel starts in the notebook's folder; files beside the stage are one up.
    move = new_code_cell(
        "import os\n\nfrom dataflow.project import Project\n\n"
        f'os.chdir(Project.find().notebooks / "{run.workflow_id}")'
    )
    return [about, move]


def _changed(run: Run, stage: str, source: NotebookNode) -> bool:
    """Whether the code cells differ from those the run executed."""
    import nbformat

    def code(notebook: Any) -> list[str]:
        return [
            cell.source
            for cell in notebook.cells
            if cell.cell_type == "code" and INJECTED_TAG not in cell.metadata.get("tags", [])
        ]

    executed = nbformat.read(run.folder / run.steps[stage]["notebook"], as_version=4)
    return code(executed) != code(source)


def _running_url(project: Project, name: str) -> str | None:
    """A service's address, JupyterLab's with its token; None when it is not running."""
    status = control.status(project, SERVICES[name])
    return status.state.url if status.state is not None and status.status == "running" else None
