"""What is seen of a run while it goes on, on the terminal and in Dagster's log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

from dataflow.base.terminal import messages
from dataflow.base.words import counted, seconds_text

# Set for a run that Dagster's service did not start: "live" or "quiet". Unset, nobody watches a terminal.
TERMINAL_VARIABLE = "DATAFLOW_TERMINAL"
LOG_EVERY = 2.0  # seconds; every line as an event of its own would take longer than the stage
LOG_LIMIT = 8_000  # characters of one event


def quiet_dagster() -> None:
    """Keep Dagster's own lines off a terminal on which the command line shows the run.

    Dagster prints every event of a run to standard error, in the processes of steps too, and
    has no setting for that.
    """
    if TERMINAL_VARIABLE in os.environ:
        from dagster._core.execution import context_creation_job

        context_creation_job.default_system_loggers = lambda instance: []


def tell(text: str) -> None:
    """Print `text` on the terminal of a run from the command line, and nowhere else."""
    if TERMINAL_VARIABLE in os.environ:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


@dataclass(frozen=True)
class StepEvent:
    """An event of a run's step: `kind` is started, succeeded, failed, skipped or retried."""

    kind: str
    step: str


def step_printer() -> Callable[[StepEvent], None]:
    """A function that prints a line on the terminal as each step begins and ends."""
    from rich.markup import escape

    err = messages()
    begun: dict[str, float] = {}
    signs = {
        "succeeded": "[green]✓[/]",
        "failed": "[bold red]✗[/]",
        "skipped": "[yellow]↷[/]",
        "retried": "[yellow]↻[/]",
    }

    def show(event: StepEvent) -> None:
        step = escape(event.step)
        if event.kind == "started":
            begun[event.step] = time.monotonic()
            err.print(f"[blue]▶[/] {step}")
            return
        took = time.monotonic() - begun[event.step] if event.step in begun else None
        words = {"skipped": "not run", "retried": "failed, will be retried"}.get(event.kind, "")
        err.print(f"{signs[event.kind]} {step}  [dim]{words or seconds_text(took)}[/]")

    return show


class LiveOutput:
    """Passes a stage's output on as it arrives.

    Args:
        log: Dagster's log of the step.
        stage: the stage's name, shown before each line on the terminal.
        terminal: where a person watches, used when `DATAFLOW_TERMINAL` is `live`.
    """

    def __init__(self, log: Any, stage: str, terminal: TextIO) -> None:
        self._log = log
        self._stage = stage
        self._terminal = terminal if os.environ.get(TERMINAL_VARIABLE) == "live" else None
        self._line = ""
        self._waiting: list[str] = []
        self._size = 0
        self._left_out = 0
        self._last = time.monotonic()

    def write(self, name: str, text: str) -> None:
        """Take output: `name` is stdout, stderr or display."""
        self._line += text if text.endswith("\n") or name != "display" else text + "\n"
        *lines, self._line = self._line.split("\n")
        for line in lines:
            self._take(line.rpartition("\r")[2])
        if self._waiting and time.monotonic() - self._last > LOG_EVERY:
            self._flush()

    def _take(self, line: str) -> None:
        if self._terminal is not None:
            self._terminal.write(f"    {self._stage} │ {line}\n")
            self._terminal.flush()
        if self._size + len(line) > LOG_LIMIT:
            self._left_out += 1
        else:
            self._waiting.append(line)
            self._size += len(line) + 1

    def _flush(self) -> None:
        if self._left_out:
            self._waiting.append(
                f"… {counted(self._left_out, 'more line')} in the executed notebook"
            )
        if self._waiting:
            self._log.info("\n".join(self._waiting))
        self._waiting, self._size, self._left_out = [], 0, 0
        self._last = time.monotonic()

    def close(self) -> None:
        """Pass on what is left."""
        if self._line:
            line, self._line = self._line, ""
            self._take(line.rpartition("\r")[2])
        self._flush()
