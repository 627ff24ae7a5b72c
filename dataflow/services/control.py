"""Start and stop services, and report their status."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from dataflow.addresses import usual_port
from dataflow.base.guardian import RUN_VARIABLE, STEP_VARIABLE
from dataflow.base.process import started_at
from dataflow.errors import ServiceError
from dataflow.project import ROOT_VARIABLE, Project
from dataflow.services.logs import last_lines, new_log, without_colours
from dataflow.services.model import Service
from dataflow.services.ports import holder, is_free, is_healthy
from dataflow.services.state import (
    MARK_VARIABLE,
    ServiceState,
    forget,
    log_file,
    read_state,
    services_folder,
    state_file,
    write_state,
)
from dataflow.services.supervise import Job

HEALTHY_SECONDS = 180.0  # until a service answers
STOP_SECONDS = 90.0  # until its processes are killed
# What a run, or a surrounding service, left in the environment.
_NOT_FOR_SERVICES = (
    RUN_VARIABLE, "DATAFLOW_STAGE", "DATAFLOW_WORKFLOW", "DATAFLOW_LIVE", "DATAFLOW_CONTEXT",
    STEP_VARIABLE,
    "JUPYTER_TOKEN_FILE", "JPY_PARENT_PID", "JPY_SESSION_NAME",
)  # fmt: skip


@dataclass
class Start:
    """A service that was started, or was running already.

    Args:
        service: the service.
        state: its state.
        note: something a person should know.
        process: the process that watches over it; None when it was running already.
        tied: whether it ends with this process.
    """

    service: Service
    state: ServiceState
    note: str | None = None
    process: subprocess.Popen[str] | None = None
    tied: bool = False

    @property
    def already(self) -> bool:
        """Whether it ran before."""
        return self.process is None


@dataclass(frozen=True)
class Status:
    """A service's status.

    Args:
        service: its name.
        status: running, starting (does not answer yet, or not any more), failed (ended by
            itself), killed (its process is gone), or stopped.
        state: what was noted when it started; None when it is stopped.
        processes: how many of its processes run, those left over by a killed one included.
    """

    service: str
    status: str
    state: ServiceState | None
    processes: int


def launch(
    project: Project,
    service: Service,
    *,
    port: int | None = None,
    dev: bool = False,
    tied: bool = False,
) -> Start:
    """Start a service without waiting until it answers.

    Args:
        project: the project.
        service: the service.
        port: where it is to listen; where the settings say when None.
        dev: start its development server.
        tied: end it when this process ends, however that ends.

    Raises:
        ServiceError: the port is taken, or it is already running with other options.
        ConfigurationError: the project lacks something it needs.
    """
    path = state_file(project, service.name)
    with _only_one(project, service):
        state = read_state(path)
        if state is not None and state.is_alive():
            if dev != state.dev or port not in (None, state.port):
                kind = "its development server" if state.dev else service.title
                raise ServiceError(
                    f"{kind} is already running on port {state.port}",
                    hint=f"Use that, or stop it first: dataflow service stop {service.name}",
                )
            return Start(service, state)
        if state is not None:
            state.kill()  # what a killed one left behind
        given, port = port is not None, port or usual_port(project, service.name)
        _require_free(service, port)
        plan = service.prepare(project, port, dev)
        log = log_file(project, service.name)
        new_log(log)
        job = Job(plan, f"{service.name}-{uuid.uuid4().hex}", str(path), str(log), tied)
        process = _spawn(project, job)
        state = ServiceState(
            service=service.name,
            pid=process.pid,
            created=started_at(process.pid) or time.time(),
            port=port,
            url=plan.url,
            health=plan.health,
            log=str(log),
            mark=job.mark,
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            dev=dev,
            port_given=given,
        )
        write_state(path, state)
        # It starts when it gets its job: now that its state is there for it to change.
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once; waiting for it will show that
            process.stdin.write(job.dumps() + "\n")
            process.stdin.flush()
            if not tied:
                process.stdin.close()
    return Start(service, state, plan.note, process, tied)


@contextlib.contextmanager
def _only_one(project: Project, service: Service) -> Iterator[None]:
    """Exclude other starts and stops of this service in the block."""
    with FileLock(services_folder(project) / f"{service.name}.lock"):
        yield


def _require_free(service: Service, port: int) -> None:
    if is_free(port):
        return
    other = next((p for p in range(port + 1, min(port + 100, 65535)) if is_free(p)), None)
    hint = "Stop that process first"
    if other is not None:
        hint += f", or use another port: dataflow service start {service.name} --port {other}"
    raise ServiceError(
        f"port {port}, where {service.title} listens, is taken by {holder(port)}", hint=f"{hint}."
    )


def _spawn(project: Project, job: Job) -> subprocess.Popen[str]:
    environment = {n: v for n, v in os.environ.items() if n not in _NOT_FOR_SERVICES}
    programs = str(Path(sys.executable).parent)
    path = environment.get("PATH", os.defpath)
    if path.split(os.pathsep)[0] != programs:
        environment["PATH"] = os.pathsep.join([programs, path])
    with Path(job.log).open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dataflow.services.supervise"],
            cwd=project.root,
            env={
                **environment,
                ROOT_VARIABLE: str(project.root),
                MARK_VARIABLE: job.mark,
                "PYTHONUNBUFFERED": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
            text=True,
            # Ctrl-C in the terminal is for the command that waits for it, not for the service.
            start_new_session=True,
        )


def wait_until_healthy(start: Start, seconds: float = HEALTHY_SECONDS) -> None:
    """Wait until a service answers.

    Raises:
        ServiceError: it ended, or does not answer in time; with the last lines of its log.
    """
    deadline = time.monotonic() + seconds
    while not is_ready(start):
        if time.monotonic() > deadline:
            raise failure(start, f"does not answer after {seconds:.0f} seconds")
        time.sleep(0.2)


def is_ready(start: Start) -> bool:
    """Whether a service answers; raises as `require_alive`."""
    require_alive(start)
    return is_healthy(start.state.port, start.state.health)


def require_alive(start: Start) -> None:
    """Make sure that a service is still running.

    Raises:
        ServiceError: it ended; with the last lines of its log.
    """
    if start.process is not None:
        start.process.poll()  # or it would stay as a zombie
    if not start.state.is_alive():
        raise failure(start, "ended")


def failure(start: Start, what: str) -> ServiceError:
    """The error that says how a service failed, with the last lines of its log."""
    log = Path(start.state.log)
    lines = "".join(f"\n    {without_colours(line)}" for line in last_lines(log, 15) if line)
    return ServiceError(
        f"{start.service.title} {what}" + (f"; its last output:{lines}" if lines else ""),
        hint=f"dataflow service logs {start.service.name} shows all of it.",
    )


def stop(project: Project, service: Service) -> bool:
    """Stop a service and every process it started; returns whether anything ran.

    Asks first, and kills what does not end. Stopping one that is not running is fine; one that
    is being started is stopped as soon as it has started.
    """
    path = state_file(project, service.name)
    with _only_one(project, service):
        state = read_state(path)
        if state is None:
            path.unlink(missing_ok=True)
            return False
        ran = state.is_alive()
        if ran:
            with contextlib.suppress(ProcessLookupError):
                os.kill(state.pid, signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            while state.is_alive() and time.monotonic() < deadline:
                time.sleep(0.1)
        killed = state.kill()
        forget(path, state.mark)
        return ran or killed > 0


def status(project: Project, service: Service) -> Status:
    """A service's status."""
    state = read_state(state_file(project, service.name))
    if state is None:
        return Status(service.name, "stopped", None, 0)
    if state.is_alive():
        answer = "running" if is_healthy(state.port, state.health) else "starting"
    else:
        answer = "failed" if state.ended else "killed"
    return Status(service.name, answer, state, len(state.processes()))


def restart(project: Project, service: Service, port: int | None = None) -> Start:
    """Stop a service, and start it in the background; the port it was given stays its own."""
    before = read_state(state_file(project, service.name))
    stop(project, service)
    if port is None and before is not None and before.port_given:
        port = before.port
    return launch(project, service, port=port, dev=before.dev if before else False)
