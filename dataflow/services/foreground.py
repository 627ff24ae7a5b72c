"""Services in the foreground: their logs on the terminal, ended with it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dataflow.base.process import signals_as_interrupt
from dataflow.project import Project
from dataflow.services import control
from dataflow.services.control import Start
from dataflow.services.logs import Follower
from dataflow.services.model import Service
from dataflow.services.state import forget, state_file

POLL_SECONDS = 0.2


def run(
    project: Project,
    services: Sequence[Service],
    *,
    port: int | None = None,
    dev: bool = False,
    on_start: Callable[[Start], None],
    on_line: Callable[[str, str], None],
) -> bool:
    """Run services until Ctrl-C, SIGTERM or SIGHUP, or until `stop` is called elsewhere.

    Those that are already running are left alone. However this process ends, the services it
    started end with it.

    Args:
        project: the project.
        services: what to start.
        port: where, for a single service.
        dev: start the development server.
        on_start: called with each service once it answers.
        on_line: called with a service's name and a line of its log.

    Returns:
        Whether any was started.

    Raises:
        ServiceError: one could not start, or ended by itself; the others were stopped.
    """
    started: list[Start] = []
    try:
        with signals_as_interrupt(signal.SIGTERM, signal.SIGHUP):
            try:
                for service in services:
                    start = control.launch(project, service, port=port, dev=dev, tied=True)
                    if start.already:
                        on_start(start)
                    else:
                        started.append(start)
                _follow(started, on_start, on_line)
            except KeyboardInterrupt:
                pass
            finally:
                _stop(project, started)
    except KeyboardInterrupt:  # a second time, while they were ending
        for start in started:
            start.state.kill()
            forget(state_file(project, start.service.name), start.state.mark)
    return bool(started)


def _follow(
    started: list[Start],
    on_start: Callable[[Start], None],
    on_line: Callable[[str, str], None],
) -> None:
    followers = [(start, Follower(Path(start.state.log))) for start in started]
    waiting = list(started)
    deadline = time.monotonic() + control.HEALTHY_SECONDS
    while followers:
        for start, follower in list(followers):
            for line in follower.lines():
                on_line(start.service.name, line)
            if start.process is not None and start.process.poll() == 0:
                followers.remove((start, follower))  # somebody stopped it, from another terminal
            elif start not in waiting:
                control.require_alive(start)
            elif control.is_ready(start):
                waiting.remove(start)
                on_start(start)
            elif time.monotonic() > deadline:
                raise control.failure(start, "does not answer")
        time.sleep(POLL_SECONDS)


def _stop(project: Project, started: list[Start]) -> None:
    # All are asked to stop before any is waited for.
    for start in started:
        if start.process is not None and start.process.stdin is not None:
            start.process.stdin.close()
    for start in started:
        control.stop(project, start.service)
        if start.process is not None:
            start.process.wait(timeout=10)
