"""Services when two do something at once, and when what was noted is no longer so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import psutil
import pytest
from missing import NOT_TESTED
from projects import DATAFLOW, environment
from service_helpers import WEB, running, small_service, state_of

from dataflow.base.process import carries
from dataflow.project import Project
from dataflow.services import control
from dataflow.services.model import Plan
from dataflow.services.state import MARK_VARIABLE, state_file, write_state

Cli = Callable[..., subprocess.CompletedProcess[str]]
SETPRIV = shutil.which("setpriv")


@pytest.mark.slow
def test_of_two_starts_at_once_one_starts_it(project: Project, port: int) -> None:
    command = [*DATAFLOW, "service", "start", "evidence", "-d", "--port", str(port)]
    starts = [
        subprocess.Popen(
            command, cwd=project.root, env=environment(), stdout=-1, stderr=-1, text=True
        )
        for _ in range(3)
    ]
    results = [start.communicate(timeout=120) for start in starts]
    assert [start.returncode for start in starts] == [0, 0, 0], results
    assert {out.strip() for out, _ in results} == {f"http://127.0.0.1:{port}"}
    assert sum("is already running" in err for _, err in results) == 2
    # The process that watches, and the server.
    assert len(running(state_of(project, "evidence"))) == 2


def test_a_stop_during_the_start_stops_it(project: Project, port: int) -> None:
    usual = small_service(WEB)
    preparing = threading.Event()

    def slowly(project: Project, port: int, dev: bool) -> Plan:
        preparing.set()
        time.sleep(1)
        return usual.prepare(project, port, dev)

    service = replace(usual, prepare=slowly)
    starting = threading.Thread(
        target=control.launch, args=(project, service), kwargs={"port": port}
    )
    starting.start()
    assert preparing.wait(60)

    assert control.stop(project, service)

    starting.join(60)
    assert control.status(project, service).status == "stopped"


def test_another_process_with_the_number_of_a_service_is_left_alone(
    project: Project, port: int
) -> None:
    service = small_service(WEB)
    state = control.launch(project, service, port=port).state
    control.stop(project, service)
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        write_state(state_file(project, service.name), replace(state, pid=other.pid))
        assert control.status(project, service).status == "killed"
        assert not control.stop(project, service)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_clock_that_was_set_does_not_make_a_service_dead(project: Project, port: int) -> None:
    service = small_service(WEB)
    start = control.launch(project, service, port=port)
    control.wait_until_healthy(start)
    write_state(
        state_file(project, service.name), replace(start.state, created=start.state.created + 3600)
    )

    assert control.status(project, service).status == "running"
    assert control.launch(project, service).already
    assert control.stop(project, service)


@pytest.mark.skipif(
    SETPRIV is None or os.geteuid() != 0, reason="only root can be another user here"
)
@pytest.mark.slow
def test_another_users_services_are_said_to_be_theirs(
    project: Project, dataflow: Cli, port: int
) -> None:
    assert dataflow("service", "start", "evidence", "-d", "--port", str(port)).returncode == 0
    for folder in (project.root, *project.root.parents):
        if "pytest-of-" in str(folder):
            folder.chmod(0o755)

    for verb in ("status", "start", "stop"):
        result = subprocess.run(
            [str(SETPRIV), "--reuid", "65534", "--regid", "65534", "--clear-groups",
             *DATAFLOW, "service", verb, "evidence", *(["-d"] if verb == "start" else [])],
            cwd=project.root, env={**environment(), "HOME": "/"},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        if "No module named" in result.stderr or "Permission denied: '/root" in result.stderr:
            pytest.skip(f"{NOT_TESTED}: another user's services, who cannot read this checkout")
        assert result.returncode == 1
        assert "the services of this project belong to the user root" in result.stderr


def test_a_process_that_has_just_been_started_counts_as_running():
    # While it begins its program, a process has no environment for a moment: about one in a
    # hundred is seen so.
    lost = 0
    for _ in range(500):
        process = subprocess.Popen(
            ["/bin/sleep", "1"], env={MARK_VARIABLE: "new"}, start_new_session=True
        )
        lost += not carries(psutil.Process(process.pid), MARK_VARIABLE, "new")
        process.kill()
        process.wait()

    assert lost == 0
