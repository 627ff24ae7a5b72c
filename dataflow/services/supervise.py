"""The process that watches over one service: starts its programs, and ends them all together.

`python -m dataflow.services.supervise` reads a `Job` as one line of JSON from its standard
input. When the job is `tied`, the service also ends when that input is closed: whoever holds
the other end may die in any way, and nothing is left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from dataflow.base.lifetime import child_setup, in_words
from dataflow.base.process import carrying, kill_carrying
from dataflow.services.logs import KeptLog
from dataflow.services.model import Command, Plan
from dataflow.services.ports import accepts
from dataflow.services.state import MARK_VARIABLE, forget, note_end

READY_SECONDS = 120.0  # until a program listens
BEFORE_END_SECONDS = 45.0  # for work in progress to end
LEFTOVER_SECONDS = 2.0  # for processes that outlive their program


@dataclass(frozen=True)
class Job:
    """What to watch over.

    Args:
        plan: the service's programs.
        mark: the mark of all its processes, in the environment already.
        state: the file of its state.
        log: the file its programs print to.
        tied: whether it ends when the standard input is closed.
    """

    plan: Plan
    mark: str
    state: str
    log: str
    tied: bool

    def dumps(self) -> str:
        """The job as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, line: str) -> Job:
        """The job that `dumps` wrote."""
        job: dict[str, Any] = json.loads(line)
        plan = job.pop("plan")
        commands = [Command(**command) for command in plan.pop("commands")]
        return cls(Plan(commands, **plan), **job)


class _Failed(Exception):
    """Why the service cannot go on."""


class Supervisor:
    """Runs a job until it is told to end, or one of the programs ends."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._log = KeptLog(Path(job.log))
        self._ending = threading.Event()
        self._running: list[tuple[Command, subprocess.Popen[bytes]]] = []

    def run(self) -> int:
        """Run the programs; returns the exit code: 0 told to end, 1 a program ended by itself."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self._ending.set())
        if self._job.tied:
            threading.Thread(target=self._end_with_input, daemon=True).start()
        why = None
        try:
            self._start()
            while not self._ending.wait(0.5):
                self._require_all()
                self._log.tend()
        except _Failed as error:
            why = str(error)
        except OSError as error:
            why = f"a program could not be started: {error}"
        finally:
            if why:
                self._log.tend()
                with Path(self._job.log).open("a", encoding="utf-8") as log:
                    log.write(f"dataflow: {why}\n")
            self._end()
            if why:
                note_end(Path(self._job.state), self._job.mark, why)
            else:
                forget(Path(self._job.state), self._job.mark)
        return 1 if why else 0

    def _end_with_input(self) -> None:
        # Not through sys.stdin: its lock, held by a waiting thread, would break the exit.
        while os.read(sys.stdin.fileno(), 1024):
            pass
        self._ending.set()

    def _start(self) -> None:
        for command in self._job.plan.commands:
            if self._ending.is_set():
                return
            self._running.append((command, self._spawn(command, command.argv)))
            deadline = time.monotonic() + READY_SECONDS
            while command.ready_socket and not accepts(socket.AF_UNIX, command.ready_socket):
                self._require_all()
                if time.monotonic() > deadline:
                    raise _Failed(
                        f"the {command.name} was not ready within {READY_SECONDS:.0f} seconds"
                    )
                if self._ending.wait(0.1):
                    return

    def _require_all(self) -> None:
        """Make sure that every program that was started is still running."""
        for command, process in self._running:
            if process.poll() is not None:
                raise _Failed(f"the {command.name} {in_words(process.returncode)}")

    def _spawn(self, command: Command, argv: list[str]) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **command.env}
        with Path(self._job.log).open("ab") as log:
            return subprocess.Popen(
                argv,
                cwd=command.cwd,
                env={name: value for name, value in environment.items() if value is not None},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=child_setup(),
            )

    def _end(self) -> None:
        """End every process of the service and its descendants: ask, wait, kill."""
        ending: list[subprocess.Popen[bytes]] = []
        self._log.tend()
        for command, process in reversed(self._running):
            if command.before_end and self._ending.is_set():
                self._wait_for_end(ending)
                last_work = self._spawn(command, command.before_end)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    last_work.wait(BEFORE_END_SECONDS)
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            ending.append(process)
        self._wait_for_end(ending)
        # Processes that are left now were left behind by the programs.
        for left in carrying(MARK_VARIABLE, self._job.mark):
            with contextlib.suppress(psutil.Error):
                left.terminate()
        deadline = time.monotonic() + LEFTOVER_SECONDS
        while carrying(MARK_VARIABLE, self._job.mark) and time.monotonic() < deadline:
            time.sleep(0.1)
        kill_carrying(MARK_VARIABLE, self._job.mark)
        for _, process in self._running:
            process.poll()
        if self._job.plan.remove:
            shutil.rmtree(self._job.plan.remove, ignore_errors=True)

    def _wait_for_end(self, ending: list[subprocess.Popen[bytes]]) -> None:
        deadline = time.monotonic() + self._job.plan.end_seconds
        for process in ending:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))


def main() -> int:
    """Run the job on standard input."""
    line = sys.stdin.buffer.readline()
    return Supervisor(Job.loads(line.decode())).run()


if __name__ == "__main__":
    sys.exit(main())
