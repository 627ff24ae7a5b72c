"""Time limits for programs that a run starts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from dataflow.errors import ConfigurationError
from dataflow.stages.lifetime import end_group


@dataclass
class Limit:
    """A limit that is in force.

    Args:
        seconds: the limit.
        passed: whether the program was ended because of it.
    """

    seconds: float
    passed: bool = False


@contextlib.contextmanager
def limited(process: subprocess.Popen[str], variable: str, default: float) -> Iterator[Limit]:
    """End `process` if it is still there after some seconds; with its group, if it leads one.

    Args:
        process: the program, running.
        variable: the environment variable that says after how many seconds.
        default: how many it is without that.

    Raises:
        ConfigurationError: the variable is not a number of seconds; the program is ended.
    """
    try:
        limit = Limit(_seconds(variable, default))
    except ConfigurationError:
        end_group(process.pid)
        raise

    def end() -> None:
        if process.poll() is None:
            limit.passed = True
            end_group(process.pid)

    timer = threading.Timer(limit.seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield limit
    finally:
        timer.cancel()


def _seconds(variable: str, default: float) -> float:
    given = os.environ.get(variable)
    try:
        seconds = float(given) if given else default
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < threading.TIMEOUT_MAX:
        raise ConfigurationError(
            f"{variable} is not a number of seconds: {given}",
            hint=f"Unset it for the default of {default:g}.",
        )
    return seconds
