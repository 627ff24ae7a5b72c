"""Execute one stage: from its notebook and values to an executed notebook and an outcome."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataflow.base import fork_servers
from dataflow.base.words import first_line
from dataflow.engine import KernelFailed, NoKernel, Options, execute
from dataflow.engine.secrets import Scrubber
from dataflow.errors import ConfigurationError, StageFailed
from dataflow.project import ROOT_VARIABLE, Project
from dataflow.stages.context import KERNEL_LINE, VARIABLE
from dataflow.stages.notebook import Stage, prepare_notebook, read_notebook
from dataflow.stages.parameters import INJECTED_TAG, author_numbers, read_declaration
from dataflow.stages.result import StageReport, read_report
from dataflow.stages.values import check_values

# The address of the process that forks the kernels of a run (`prepared.py`), in the environment of
# the run's processes.
SERVER_VARIABLE = "DATAFLOW_KERNEL_SERVER"

# Frames of cells, and of modules beside the notebook.
AUTHORS = ("Cell In", "Input In", f"File ${{{ROOT_VARIABLE}}}/notebooks/")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
# IPython colours each of the words by itself.
_CELL_IN = re.compile(
    r"\A(A*)(?:Cell|Input)A* A*In ?\[(\d+)\]".replace("A*", f"(?:{ANSI.pattern})*")
)


@dataclass(frozen=True)
class CellError:
    """Why a stage's notebook did not reach its end.

    Args:
        cell: the cell's number in the author's notebook, from 1.
        execution_count: the number JupyterLab shows beside it; None when it never began.
        ename: the exception's name, or KernelDied, Timeout, Cancelled.
        evalue: its message.
        source: the cell's source.
        last_frame: the part of the traceback that shows the author's own last line.
    """

    cell: int
    execution_count: int | None
    ename: str
    evalue: str
    source: str
    last_frame: str = ""

    @property
    def headline(self) -> str:
        """The error in one line."""
        first = first_line(self.evalue)
        return f"cell {self.cell}: {self.ename}{': ' + first if first else ''}"


@dataclass(frozen=True)
class StageOutcome:
    """The outcome of executing a stage.

    Args:
        status: succeeded, skipped, failed or cancelled.
        notebook: the executed notebook.
        seconds: wall time, the kernel's start and end included.
        report: what the stage recorded and checked.
        error: why it failed.
        peak_memory_bytes: the most memory the kernel had.
        why_started: why its kernel was started and not forked, where it should have been.
        cells: for each code cell its number, seconds and status.
        counts: the cells' numbers by their execution counts.
    """

    status: str
    notebook: Path
    seconds: float
    report: StageReport = field(default_factory=StageReport)
    error: CellError | None = None
    peak_memory_bytes: int | None = None
    why_started: str | None = None
    cells: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)


def execute_stage(
    project: Project,
    stage: Stage,
    values: Mapping[str, Any],
    *,
    run_id: str,
    output: Path,
    scrubber: Scrubber | None = None,
    environment: Mapping[str, str] | None = None,
    on_output: Callable[[str, str], None] | None = None,
    on_ready: Callable[[], None] | None = None,
) -> StageOutcome:
    """Execute `stage` with `values` and keep the executed notebook at `output`.

    Args:
        project: the project.
        stage: the stage.
        values: parameters that override the notebook's defaults.
        run_id: the run it belongs to.
        output: where the executed notebook goes; written while it runs.
        scrubber: takes secrets out of the executed notebook and of live output.
        environment: further environment variables of the kernel.
        on_output: called with ("stdout" | "stderr" | "display", text) while cells run.
        on_ready: called when the kernel has started.

    Raises:
        ParameterError: the values do not fit the notebook; no kernel was started.
        ConfigurationError: the notebook is not valid.
        KeyboardInterrupt: (or what a signal's handler raises) it was cancelled; the
            executed notebook says so.
    """
    from papermill.utils import nb_kernel_name

    source = read_notebook(stage.notebook)
    declaration = read_declaration(stage.notebook, source.cells)
    values = check_values(declaration, values, stage=stage.name)
    prepared = prepare_notebook(source, declaration, values)
    # What identifies the notebook to later readers; paths would name the machine.
    prepared.metadata["dataflow"] = {
        "workflow": stage.workflow_id,
        "stage": stage.name,
        "run_id": run_id,
        "notebook": project.relative(stage.notebook),
    }
    options = Options(
        output_path=str(output),
        cwd=str(stage.notebook.parent),
        environment=kernel_environment(project, stage, run_id, environment),
        scrubber=(scrubber or Scrubber()).with_paths(machine_paths(project)),
        on_output=on_output,
        on_ready=on_ready,
        kernel_server=os.environ.get(SERVER_VARIABLE, ""),
        first_line=KERNEL_LINE if VARIABLE in (environment or {}) else "",
        notebook_timeout=stage.timeout or 0.0,
        progress_bar=False,
    )
    try:
        executed = execute(prepared, nb_kernel_name(prepared), options)
    except NoKernel as error:
        raise ConfigurationError(
            str(error),
            hint="Choose one of these in JupyterLab and save the notebook: "
            f"{', '.join(error.known)}.",
        ) from None
    except KernelFailed as error:
        raise StageFailed(str(error)) from None
    return outcome_of(executed, output)


# No failure may pass as a success, whatever a notebook's outputs have or lack.
_UNSAID = CellError(0, None, "Failed", "no cell says why", "")


def machine_paths(project: Project) -> dict[str, str]:
    """The folders of this machine that outputs may name, and what is written instead."""
    return {
        str(Path.home()): "~",
        sys.prefix: "${PYTHON}",
        str(project.root): "${DATAFLOW_PROJECT}",
    }


def kernel_environment(
    project: Project, stage: Stage, run_id: str, more: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment of a stage's kernel: this process's, and the run it belongs to."""
    # `import my_workflow.something` and the modules beside the notebook work in a run as
    # they do by hand.
    path = [str(project.notebooks), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        # Breakpoints of debugpy do not apply here, and its start-up warning would be output.
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        ROOT_VARIABLE: str(project.root),
        "TZ": project.timezone,
        "DATAFLOW_WORKFLOW": stage.workflow_id,
        "DATAFLOW_STAGE": stage.name,
        "DATAFLOW_RUN_ID": run_id,
        **(more or {}),
    }
    # ipykernel leaves alone what subprocesses print when it thinks it is itself under test.
    environment.pop("PYTEST_CURRENT_TEST", None)
    # A run that a notebook starts has servers of its own.
    for name in (SERVER_VARIABLE, fork_servers.VARIABLE):
        environment.pop(name, None)
    environment.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return environment


def outcome_of(executed: Any, output: Path) -> StageOutcome:
    """Read the outcome from an executed notebook."""
    marks = executed.metadata.get("papermill", {})
    failed = marks.get("status") in ("failed", "cancelled")
    return StageOutcome(
        status={"completed": "succeeded"}.get(marks.get("status"), marks.get("status")),
        notebook=output,
        seconds=marks.get("duration") or 0.0,
        report=read_report(executed),
        error=find_error(executed.cells) or _UNSAID if failed else None,
        peak_memory_bytes=executed.metadata.get("dataflow", {}).get("peak_memory_bytes"),
        why_started=executed.metadata.get("dataflow", {}).get("kernel_started"),
        cells=[
            {
                "cell": number,
                "seconds": cell.metadata.papermill.get("duration"),
                "status": cell.metadata.papermill.get("status"),
            }
            for number, cell in author_numbers(executed.cells)
            if cell.cell_type == "code" and INJECTED_TAG not in cell.metadata.get("tags", [])
        ],
        counts=cell_numbers(executed.cells),
    )


def find_error(cells: Any) -> CellError | None:
    """The error that ended an executed notebook, None when no cell has one."""
    for number, cell in author_numbers(cells):
        if cell.metadata.get("papermill", {}).get("status") not in ("failed", "cancelled"):
            continue
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                return CellError(
                    cell=number,
                    execution_count=cell.get("execution_count"),
                    ename=output.ename,
                    evalue=output.evalue,
                    source=cell.source,
                    last_frame=numbered(last_frame(output.traceback), cell_numbers(cells)),
                )
    return None


def cell_numbers(cells: Iterable[Any]) -> dict[int, int]:
    """The cells' numbers by the execution counts that JupyterLab and tracebacks have."""
    return {
        cell["execution_count"]: number
        for number, cell in author_numbers(cells)
        if cell.get("execution_count")
    }


def numbered(frame: str, numbers: Mapping[int, int]) -> str:
    """A frame with its cell's number in the place of its execution count."""

    def number_of(match: re.Match[str]) -> str:
        number = numbers.get(int(match[2]))
        return f"{match[1]}cell {number}" if number else match[0]

    return _CELL_IN.sub(number_of, frame)


def last_frame(traceback: list[str]) -> str:
    """The author's last frame of an IPython traceback in plain text; without one, the last."""
    frames = [ANSI.sub("", frame).strip("\n") for frame in traceback]
    inner = [frame for frame in frames if frame.startswith(("File ", "Cell In", "Input In"))]
    own = [frame for frame in inner if frame.startswith(AUTHORS)]
    return (own or inner or [""])[-1]
