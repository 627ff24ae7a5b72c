"""Notebooks run by the engine itself, in this process or in one that a test may kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
from projects import PATIENCE, REPOSITORY, Cells, wait_until, write_notebook

from dataflow.engine import DataflowEngine


@dataclass
class Ended:
    """How an execution ended: the file on disk, and the kernel that ran it."""

    notebook: Any
    path: Path
    seconds: float

    @property
    def status(self) -> str:
        return str(self.notebook.metadata.papermill.status)

    @property
    def code(self) -> list[Any]:
        return [cell for cell in self.notebook.cells if cell.cell_type == "code"]


def run_cells(folder: Path, cells: Cells, **options: Any) -> Ended:
    """Run `cells` with the engine; afterwards no process that it started may be left."""
    source = write_notebook(folder / "in.ipynb", cells)
    output = folder / "out.ipynb"
    kernel_name = options.pop("kernel_name", "python3")
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    start = time.monotonic()
    try:
        DataflowEngine.execute_notebook(
            nbformat.read(source, as_version=4),
            kernel_name,
            output_path=str(output),
            progress_bar=False,
            **options,
        )
    finally:
        left = [c for c in psutil.Process().children(recursive=True) if c.pid not in before]
        left = [c for c in left if c.status() != psutil.STATUS_ZOMBIE]
        assert not left, f"still running: {left}"
    return Ended(nbformat.read(output, as_version=4), output, time.monotonic() - start)


SCRIPT = """
import json, signal, sys
import nbformat
from dataflow.engine import DataflowEngine

class Interrupted(BaseException):
    "As Dagster's: neither an error nor Python's own KeyboardInterrupt."

def interrupt(number, frame):
    raise Interrupted

signal.signal(signal.SIGTERM, interrupt)
source, output, options = sys.argv[1:]
DataflowEngine.execute_notebook(
    nbformat.read(source, as_version=4), "python3", output_path=output, progress_bar=False,
    **json.loads(options))
"""


@dataclass
class Execution:
    """An execution in a process of its own."""

    process: subprocess.Popen[str]
    output: Path
    began: Path

    def wait_for_cell(self) -> psutil.Process:
        """Wait until the cell that calls `began()` runs; returns its kernel."""
        text = wait_until(lambda: self.began.exists() and self.began.read_text("utf-8"))
        return psutil.Process(int(text))

    def end(self) -> int:
        try:
            return self.process.wait(PATIENCE)
        finally:
            if self.process.poll() is None:
                self.process.kill()


def start_cells(folder: Path, cells: Cells, *, before: str = "", **options: Any) -> Execution:
    """Start `cells` in another process; `began()` in a cell says that it runs.

    Args:
        before: Python that the process runs first.
    """
    began = folder / "began"
    first = textwrap.dedent(
        f"""
        def began():
            import os, pathlib
            temporary = pathlib.Path({str(began)!r} + ".tmp")
            temporary.write_text(str(os.getpid()))
            temporary.rename({str(began)!r})
        """
    )
    source = write_notebook(folder / "in.ipynb", [first, *cells])
    output = folder / "out.ipynb"
    # ipykernel leaves what subprocesses print alone when it finds itself in a test.
    plain = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    plain.pop("PYTEST_CURRENT_TEST", None)
    process = subprocess.Popen(
        [sys.executable, "-c", before + SCRIPT, str(source), str(output), json.dumps(options)],
        env=plain,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return Execution(process, output, began)
