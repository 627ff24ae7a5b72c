"""Services in the foreground end with the command, however that ends."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import psutil
import pytest
from projects import DATAFLOW, environment, wait_until
from service_helpers import fetch, running, state_of

from dataflow.project import Project
from dataflow.services import control
from dataflow.services.catalog import SERVICES
from dataflow.services.ports import is_healthy


@pytest.fixture
def foreground(project: Project, port: int) -> Iterator[subprocess.Popen[str]]:
    command = [*DATAFLOW, "service", "start", "evidence", "--port", str(port)]
    with subprocess.Popen(
        command,
        cwd=project.root,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(lambda: is_healthy(port, "/_dataflow/health"))
        yield process
        if process.poll() is None:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_service_and_the_command_ends_well(
    project: Project, foreground: subprocess.Popen[str], number: signal.Signals, port: int
) -> None:
    assert foreground.stdout is not None
    assert foreground.stdout.readline().strip() == f"http://127.0.0.1:{port}"
    state = state_of(project, "evidence")
    assert len(running(state)) == 2
    foreground.send_signal(number)
    _, errors = foreground.communicate(timeout=120)
    assert foreground.returncode == 0, errors
    assert "Stopped." in errors
    assert running(state) == []
    assert control.status(project, SERVICES["evidence"]).status == "stopped"


def test_nothing_is_left_when_the_command_is_killed(
    project: Project, foreground: subprocess.Popen[str]
) -> None:
    state = state_of(project, "evidence")
    foreground.kill()
    foreground.wait()
    wait_until(lambda: running(state) == [])
    assert control.status(project, SERVICES["evidence"]).status == "stopped"


def test_stop_from_another_terminal_ends_the_command_well(
    project: Project, foreground: subprocess.Popen[str], port: int
) -> None:
    assert fetch(f"http://127.0.0.1:{port}/_dataflow/health")[0] == 200
    assert control.stop(project, SERVICES["evidence"])
    _, errors = foreground.communicate(timeout=120)
    assert foreground.returncode == 0, errors
    assert "Stopped." in errors


def test_a_service_that_dies_ends_the_command_with_an_error(
    project: Project, foreground: subprocess.Popen[str]
) -> None:
    watching = psutil.Process(state_of(project, "evidence").pid)
    (program,) = watching.children()
    program.kill()
    _, errors = foreground.communicate(timeout=120)
    assert foreground.returncode == 1
    assert "the web server was killed by signal 9" in errors
    assert "dataflow service logs evidence" in errors
