"""The process of a run that JupyterLab starts: `python -P -m dataflow.lab.execute`.

It begins when the form opens, imports what every run needs, and waits for a line on standard input
that says what to run. No file of a project is read before. It goes on when JupyterLab ends.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
from pathlib import Path

from dataflow.api import Project as ApiProject
from dataflow.api import Run as ApiRun
from dataflow.base.garbage import collected_seldom
from dataflow.base.process import signals_as_interrupt
from dataflow.engine.secrets import Scrubber
from dataflow.errors import EXIT_FAILED, EXIT_OK, DataflowError
from dataflow.lab.handler import error_data
from dataflow.lab.output import Log, printed_to
from dataflow.lab.started import Started
from dataflow.orchestration.apart import run_here
from dataflow.orchestration.options import RunOptions
from dataflow.orchestration.preload import preload
from dataflow.project import ROOT_VARIABLE, Project
from dataflow.runs.record import RunRecord, now, read_run
from dataflow.variables import secrets_of

WAIT_SECONDS = 10 * 60.0


def main() -> int:
    """Run what standard input says; returns the exit code."""
    preload("dataflow.dbt.without_dbt")
    line = _line()
    if not line:
        return EXIT_OK  # the form was closed, or JupyterLab ended, or nobody came
    told = json.loads(line)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
        os.dup2(nothing.fileno(), 0)
    os.environ[ROOT_VARIABLE] = told["root"]
    options = RunOptions(**told["options"])
    started = Started.of(Project(Path(told["root"])), options.run_id)
    with signals_as_interrupt(signal.SIGTERM):  # from here on a cancel is noted
        log = Log(started.log)
        try:
            return _run(told["root"], told["workflow"], options, started, log)
        except DataflowError as error:
            started.note(error=error_data(error))
        except KeyboardInterrupt:
            pass
        finally:
            # The log stays open: what a notebook left running may still print.
            started.note(ended_at=now())
    return EXIT_FAILED


def _run(root: str, workflow_id: str, options: RunOptions, started: Started, log: Log) -> int:
    os.chdir(root)
    project = Project.find()
    project.load_environment()
    scrubber = Scrubber(secrets_of(project.notebooks / workflow_id))

    def refused(error: DataflowError) -> None:
        started.note(error=scrubber.tree(error_data(error, project)))

    with printed_to(log, scrubber.text):
        try:
            code = run_here(project, workflow_id, options, refused)
            run = read_run(RunRecord(project, workflow_id, options.run_id).folder)
            if run is not None and (error := ApiRun.of(run, ApiProject(project)).error):
                print(f"error: {error}", file=sys.stderr)  # as on a terminal
            return code
        except Exception as error:
            traceback.print_exc()
            refused(DataflowError(f"the run's process failed: {type(error).__name__}: {error}"))
    return EXIT_FAILED


def _line() -> bytes:
    """The line that says what to run; empty when nothing is to be run."""
    if not select.select([sys.stdin.buffer], [], [], WAIT_SECONDS)[0]:
        return b""
    line = sys.stdin.buffer.readline()
    return line if line.endswith(b"\n") else b""


if __name__ == "__main__":
    with collected_seldom():
        code = main()
    sys.exit(code)
