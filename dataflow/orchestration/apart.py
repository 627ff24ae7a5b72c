"""A run in a process of its own, for a program that goes on: a notebook, a script, a server.

What a run imports and puts into the environment stays out of that program, each run reads the
project's code as it is now, and whether an event loop runs there makes no difference.

`python -m dataflow.orchestration.apart PARENT FILE` is that process: it reads what to run from
standard input, and writes the error that kept it from running to FILE.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, TextIO

from dataflow.base.garbage import collected_seldom
from dataflow.base.lifetime import die_with_parent, end_group, in_words
from dataflow.base.process import signals_as_interrupt
from dataflow.errors import EXIT_FAILED, EXIT_OK, DataflowError, RunFailed
from dataflow.orchestration.options import RunOptions
from dataflow.project import Project
from dataflow.runs.record import Run, RunRecord


def run_apart(
    project: Project, workflow_id: str, options: RunOptions, show: TextIO | None
) -> Run | None:
    """Run a workflow as `run_workflow` does, in a process that ends with this one.

    Args:
        project: the project.
        workflow_id: the workflow.
        options: what to run.
        show: where to show how it goes on; None for nowhere.

    Raises:
        ConfigurationError: something is not valid, or this is inside of a run of the workflow.
        RunFailed: it ended before there was a record of it.
        KeyboardInterrupt: it was cancelled here, by Ctrl-C or SIGTERM; its record says so.
    """
    with tempfile.TemporaryDirectory() as folder, signals_as_interrupt(signal.SIGTERM):
        answer = Path(folder) / "error"
        process = subprocess.Popen(
            python(__spec__.name, str(os.getpid()), str(answer)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C is for this process, which cancels the run
        )
        assert process.stdin is not None
        assert process.stdout is not None
        last: deque[str] = deque(maxlen=15)
        reader = threading.Thread(
            target=_pass_on, args=(process.stdout, show, last), name="run", daemon=True
        )
        reader.start()
        try:
            with contextlib.suppress(BrokenPipeError), process.stdin as given:
                given.write(pickle.dumps((project, workflow_id, options)))
            process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
        finally:
            if process.poll() is None:  # interrupted again
                end_group(process.pid)
            # Not for ever: what a notebook left running may hold the other end of the pipe.
            reader.join(2)
        record = RunRecord(project, workflow_id, options.run_id)
        if data := record.read():
            return Run(record.folder, data)
        if answer.exists():
            raise pickle.loads(answer.read_bytes())
    if process.returncode == EXIT_OK:
        return None
    raise RunFailed(
        f"the process of the run {in_words(process.returncode)}",
        hint="\n".join(["It said last:", *last]) if last else None,
    )


def _pass_on(source: IO[bytes], show: TextIO | None, last: deque[str]) -> None:
    for line in source:
        text = line.decode("utf-8", "replace")
        last.append(text.rstrip())
        if show is not None:
            show.write(text)
            show.flush()


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours with `arguments`."""
    # -P: modules in the current folder must not take the place of others.
    return [sys.executable, "-P", "-m", module, *arguments]


def run_here(
    project: Project,
    workflow_id: str,
    options: RunOptions,
    refused: Callable[[DataflowError], object],
) -> int:
    """Run a workflow as `run_workflow` does, in a process that does nothing else.

    Args:
        project, workflow_id, options: what to run.
        refused: takes the error that kept it from running.

    Returns:
        The process's exit code.
    """
    from dataflow.orchestration.run import run_workflow

    try:
        # From here on, also while files are read: a run that is cancelled is not killed.
        with signals_as_interrupt(signal.SIGTERM):
            run_workflow(project, workflow_id, options)
    except DataflowError as error:
        refused(error)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_FAILED
    return EXIT_OK


def main(parent: int, answer: Path) -> int:
    """Run what standard input says; returns the exit code."""
    die_with_parent(parent)
    project, workflow_id, options = pickle.load(sys.stdin.buffer)

    def refused(error: DataflowError) -> None:
        answer.write_bytes(pickle.dumps(error))

    return run_here(project, workflow_id, options, refused)


if __name__ == "__main__":
    with collected_seldom():
        code = main(int(sys.argv[1]), Path(sys.argv[2]))
    sys.exit(code)
