"""Services in the background: started, found, stopped, and what goes wrong on the way."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil
import pytest
from projects import command_of, free_port, wait_until
from service_helpers import WEB, fetch, running, small_service, state_of, status_json

from dataflow.cli.main import run
from dataflow.errors import ServiceError
from dataflow.project import Project
from dataflow.services import control
from dataflow.services.catalog import SERVICES
from dataflow.services.ports import is_free

Cli = Callable[..., subprocess.CompletedProcess[str]]

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
DEAF = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)"
WITH_FAR_CHILD = (
    "import subprocess, sys, time\n"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(601)'],"
    " start_new_session=True)\n"
) + WEB


def test_a_service_starts_in_the_background_and_stops_without_a_trace(
    project: Project, dataflow: Cli, port: int
) -> None:
    started = dataflow("service", "start", "evidence", "-d", "--port", str(port))
    assert started.returncode == 0, started.stderr
    url = started.stdout.strip()
    assert url == f"http://127.0.0.1:{port}"
    assert "There is no dashboard yet" in started.stderr
    assert fetch(f"{url}/_dataflow/health")[0] == 200

    status = status_json(dataflow("service", "status", "evidence", "--json").stdout)
    assert (status["status"], status["url"], status["port"]) == ("running", url, port)
    state = state_of(project, "evidence")
    assert status["pid"] == state.pid

    stopped = dataflow("service", "stop", "evidence")
    assert (stopped.returncode, stopped.stderr.strip()) == (0, "Evidence stopped.")
    assert running(state) == []
    assert is_free(port)
    assert status_json(dataflow("service", "status", "evidence", "--json").stdout) == {
        "service": "evidence", "status": "stopped", "processes": 0,
    }  # fmt: skip


def test_starting_a_running_service_says_where_it_runs(
    project: Project, dataflow: Cli, port: int
) -> None:
    assert dataflow("service", "start", "evidence", "-d", "--port", str(port)).returncode == 0
    first = state_of(project, "evidence")
    for arguments in (["-d"], ["-d", "--port", str(port)], []):
        again = dataflow("service", "start", "evidence", *arguments)
        assert again.returncode == 0
        assert again.stdout.strip() == first.url
        assert "is already running" in again.stderr
    assert state_of(project, "evidence") == first

    elsewhere = dataflow("service", "start", "evidence", "-d", "--port", str(port + 1))
    assert elsewhere.returncode == 1
    assert f"is already running on port {port}" in elsewhere.stderr
    assert "dataflow service stop evidence" in elsewhere.stderr


def test_stopping_what_does_not_run_is_fine(dataflow: Cli) -> None:
    stopped = dataflow("service", "stop", "all")
    assert stopped.returncode == 0
    assert stopped.stderr.count("was not running") == 3


def test_a_taken_port_is_an_error_that_names_who_has_it(
    project: Project, dataflow: Cli, port: int
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        result = dataflow("service", "start", "evidence", "-d", "--port", str(port))
    assert result.returncode == 1
    said = " ".join(result.stderr.split())
    assert f"port {port}, where Evidence listens, is taken by process {os.getpid()}" in said
    assert "--port" in said
    assert not (project.state / "services" / "evidence.json").exists()


@pytest.mark.slow
def test_a_port_that_another_project_has_is_said_to_be_its(
    project: Project, dataflow: Cli, port: int, tmp_path: Path
) -> None:
    other = Project(tmp_path / "other")
    other.root.mkdir()
    service = small_service(WEB)
    control.wait_until_healthy(control.launch(other, service, port=port))
    try:
        result = dataflow("service", "start", "evidence", "-d", "--port", str(port))
        assert result.returncode == 1
        assert f"of the project in {other.root}" in result.stderr.replace("\n", "")
    finally:
        control.stop(other, service)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["start", "postgres"], "postgres"),
        (["start"], "Missing argument 'names'"),
        (["start", "all", "--port", "9001"], "--port is for a single service"),
        (["start", "dagster", "evidence", "--port", "9001"], "--port is for a single service"),
        (["start", "jupyter", "--dev"], "--dev is for evidence"),
        (["start", "jupyter", "--port", "70000"], "65535"),
    ],
)
def test_a_wrong_call_is_refused_with_exit_code_2(
    dataflow: Cli, arguments: list[str], said: str
) -> None:
    result = dataflow("service", *arguments)
    assert result.returncode == 2
    assert said in result.stderr


def test_status_names_the_workflows_that_are_broken(project: Project, dataflow: Cli) -> None:
    for name, config in {
        "typo": "workflow:\n  name: Typo\n  shedule: daily\n",
        "conflict": "workflow:\n  name: Conflict\nstages:\n  - notebook: a.ipynb\n",
        "fine": "workflow:\n  name: Fine\nstages:\n  - notebook: a.ipynb\n",
    }.items():
        folder = project.notebooks / name
        folder.mkdir()
        (folder / "config.yaml").write_text(config)
        nbformat.write(nbformat.v4.new_notebook(metadata=KERNEL), folder / "a.ipynb")
    (project.notebooks / "conflict" / "a.ipynb").write_text("<<<<<<< HEAD\n{}")

    shown = dataflow("service", "status")

    assert shown.returncode == 0
    assert "workflow typo is broken: notebooks/typo/config.yaml" in shown.stderr
    assert "workflow conflict is broken: notebooks/conflict/a.ipynb" in shown.stderr
    assert "dataflow workflow validate conflict" in shown.stderr
    assert "fine" not in shown.stderr
    status = status_json(dataflow("service", "status", "dagster", "--json").stdout)
    assert status["broken_workflows"] == ["conflict", "typo"]


@pytest.mark.slow
def test_one_that_cannot_start_does_not_keep_the_others_back(
    project: Project,
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Somebody has JupyterLab's port, and Dagster is not able to read these models.
    taken = free_port()
    for name, number in (("jupyter", taken), ("evidence", port)):
        monkeypatch.setenv(f"DATAFLOW_{name.upper()}_PORT", str(number))
    monkeypatch.setenv("DATAFLOW_PROJECT", str(project.root))
    (project.root / "dbt").mkdir()
    (project.root / "dbt" / "dbt_project.yml").write_text("name: [\n")
    with socket.create_server(("127.0.0.1", taken)):
        assert run(["service", "start", "all", "-d"]) == 2
    said = capsys.readouterr()
    assert "dbt cannot read the models" in said.err
    assert f"port {taken}" in said.err
    assert said.out.strip() == f"http://127.0.0.1:{port}"
    status = [control.status(project, service).status for service in SERVICES.values()]
    assert status == ["stopped", "stopped", "running"]


def test_a_program_that_fails_at_start_is_shown_with_its_last_words(
    project: Project, port: int
) -> None:
    start = control.launch(
        project, small_service("print('no luck today'); raise SystemExit(3)"), port=port
    )
    with pytest.raises(ServiceError) as caught:
        control.wait_until_healthy(start)
    assert "no luck today" in str(caught.value)
    assert "program 1 ended itself with exit code 3" in str(caught.value)
    assert "dataflow service logs evidence" in str(caught.value)
    status = control.status(project, start.service)
    assert (status.status, status.processes) == ("failed", 0)


def test_all_programs_end_when_one_of_them_does(project: Project, port: int) -> None:
    service = small_service(WEB, "import time; time.sleep(600)")
    start = control.launch(project, service, port=port)
    control.wait_until_healthy(start)
    programs = psutil.Process(start.state.pid).children()
    (second,) = wait_until(lambda: [p for p in programs if "sleep(600)" in command_of(p)])
    second.send_signal(signal.SIGKILL)
    wait_until(lambda: control.status(project, service).status == "failed")
    assert running(start.state) == []
    assert "program 2 was killed by signal 9" in str(state_of(project, "evidence").ended)


def test_what_does_not_listen_to_being_told_is_killed(project: Project, port: int) -> None:
    service = small_service(WITH_FAR_CHILD, DEAF, end_seconds=1)
    start = control.launch(project, service, port=port)
    control.wait_until_healthy(start)
    # The one that watches, two programs, and a child in a session of its own.
    assert len(running(start.state)) == 4
    assert control.stop(project, service)
    assert running(start.state) == []
    assert not control.stop(project, service)


@pytest.mark.slow
def test_a_killed_service_is_found_out_cleaned_up_and_started_again(
    project: Project, dataflow: Cli, port: int
) -> None:
    service = small_service(WITH_FAR_CHILD, end_seconds=1)
    start = control.launch(project, service, port=port)
    control.wait_until_healthy(start)
    assert start.process is not None
    start.process.kill()
    start.process.wait()
    # Its program dies with it; the far child is nobody's child now.
    wait_until(lambda: len(running(start.state)) == 1)

    status = dataflow("service", "status")
    assert status.returncode == 0
    assert "evidence was killed and left 1 process" in status.stderr

    again = control.launch(project, service, port=port)
    control.wait_until_healthy(again)
    assert running(start.state) == []
    control.stop(project, service)
    assert running(again.state) == []


def test_a_service_goes_on_when_its_log_is_removed(project: Project, port: int) -> None:
    service = small_service(WEB)
    start = control.launch(project, service, port=port)
    control.wait_until_healthy(start)
    log = Path(start.state.log)

    log.unlink()

    def is_logged() -> bool:
        return control.is_ready(start) and log.exists() and "GET /" in log.read_text()

    wait_until(is_logged)


@pytest.mark.slow
def test_restart_keeps_the_port_and_the_log_before(
    project: Project, dataflow: Cli, port: int
) -> None:
    assert dataflow("service", "start", "evidence", "-d", "--port", str(port)).returncode == 0
    first = state_of(project, "evidence")
    result = dataflow("service", "restart", "evidence")
    assert result.returncode == 0, result.stderr
    second = state_of(project, "evidence")
    assert (second.port, second.url) == (first.port, first.url)
    assert second.pid != first.pid
    assert running(first) == []
    assert Path(f"{second.log}.1").exists()


def test_a_service_listens_where_the_settings_say_also_after_they_changed(project: Project) -> None:
    service = small_service(WEB)
    for start in (control.launch, control.restart):
        port = free_port()
        (project.root / "pyproject.toml").write_text(f"[tool.dataflow]\nevidence_port = {port}\n")

        control.wait_until_healthy(start(project, service))

        assert state_of(project, "evidence").port == port


def test_only_the_owner_can_read_states_and_logs(
    project: Project, dataflow: Cli, port: int
) -> None:
    assert dataflow("service", "start", "evidence", "-d", "--port", str(port)).returncode == 0
    folder = project.state / "services"
    assert folder.stat().st_mode & 0o077 == 0
    for name in ("evidence.json", "evidence.log"):
        assert (folder / name).stat().st_mode & 0o077 == 0


def test_the_help_comes_without_anything_heavy(dataflow: Cli) -> None:
    code = (
        "import sys; import dataflow.cli.service; "
        "print([m for m in ('dagster', 'psutil', 'pandas', 'duckdb', 'rich') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
    assert "jupyter" in dataflow("service", "start", "--help").stdout
