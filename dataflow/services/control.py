"""Start and stop services, and tell how they are."""

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

from dataflow.base.guardian import RUN_VARIABLE, STEP_VARIABLE
from dataflow.base.process import started_at
from dataflow.errors import ServiceError
from dataflow.project import ROOT_VARIABLE, Project
from dataflow.services.logs import last_lines, new_log, without_colours
from dataflow.services.model import Service, services_folder
from dataflow.services.ports import is_healthy, require_free
from dataflow.services.processes import (
    MARK_VARIABLE,
    is_alive,
    kill_marked,
    marked,
)
from dataflow.services.state import ServiceState, forget, read_state, state_file, write_state
from dataflow.services.supervise import Job

HEALTHY_SECONDS = 180.0  # until a service answers
STOP_SECONDS = 90.0  # until its processes are killed
# What a run, or a service around this call, left in the environment.
_NOT_FOR_SERVICES = (
    RUN_VARIABLE, "DATAFLOW_STAGE", "DATAFLOW_WORKFLOW", "DATAFLOW_LIVE", "DATAFLOW_CONTEXT",
    STEP_VARIABLE,
    "JUPYTER_TOKEN_FILE", "JPY_PARENT_PID", "JPY_SESSION_NAME",
)  # fmt: skip


@dataclass
class Start:
    """A service that was started, or ran already.

    Args:
        service: the service.
        state: its state.
        already: whether it ran before.
        note: something a person should know.
        process: the process that watches over it, when this call started it.
    """

    service: Service
    state: ServiceState
    already: bool = False
    note: str | None = None
    process: subprocess.Popen[str] | None = None


@dataclass(frozen=True)
class Status:
    """How a service is.

    Args:
        service: its name.
        status: running, starting (does not answer yet, or not any more), failed (ended by
            itself), killed (gone without a word), or stopped.
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
    """Start a service, and do not wait until it answers.

    Args:
        project: the project.
        service: the service.
        port: where it is to listen; its usual port when None.
        dev: start its development server.
        tied: end it when this process ends, in whichever way.

    Raises:
        ServiceError: the port is taken, or it already runs in another way than asked for.
        ConfigurationError: the project is not fit for it.
    """
    folder = services_folder(project)
    path = state_file(project, service.name)
    with _alone(project, service):
        state = read_state(path)
        if state is not None and is_alive(state.pid, state.mark):
            _require_same(service, state, port, dev)
            return Start(service, state, already=True)
        if state is not None:
            kill_marked(state.mark)  # what a killed one left behind
        chosen = service.port if port is None else port
        require_free(service, chosen)
        plan = service.prepare(project, chosen, dev)
        log = folder / f"{service.name}.log"
        new_log(log)
        mark = f"{service.name}-{uuid.uuid4().hex}"
        job = Job(plan, mark, str(path), str(log), tied)
        process = _spawn(project, job)
        state = ServiceState(
            service=service.name,
            pid=process.pid,
            created=started_at(process.pid) or time.time(),
            port=chosen,
            url=plan.url,
            health=plan.health,
            log=str(log),
            mark=mark,
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            dev=dev,
        )
        write_state(path, state)
        _hand_over(process, job)
    return Start(service, state, note=plan.note, process=process)


@contextlib.contextmanager
def _alone(project: Project, service: Service) -> Iterator[None]:
    """Let no other start or stop of this service go on in the block."""
    from filelock import FileLock

    with FileLock(services_folder(project) / f"{service.name}.lock"):
        yield


def _require_same(service: Service, state: ServiceState, port: int | None, dev: bool) -> None:
    if (port is None or port == state.port) and dev == state.dev:
        return
    kind = "its development server" if state.dev else service.title
    raise ServiceError(
        f"{kind} already runs on port {state.port}",
        hint=f"Use that, or stop it first: dataflow service stop {service.name}",
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


def _hand_over(process: subprocess.Popen[str], job: Job) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it died at once; waiting for it tells so
        process.stdin.write(job.dumps() + "\n")
        process.stdin.flush()
        if not job.tied:
            process.stdin.close()


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
    """Whether a service answers.

    Raises:
        ServiceError: it ended; with the last lines of its log.
    """
    require_alive(start)
    return is_healthy(start.state.port, start.state.health)


def require_alive(start: Start) -> None:
    """Make sure that a service still runs.

    Raises:
        ServiceError: it ended; with the last lines of its log.
    """
    if start.process is not None:
        start.process.poll()  # or it would stay as a zombie
    if not is_alive(start.state.pid, start.state.mark):
        raise failure(start, "ended")


def failure(start: Start, what: str) -> ServiceError:
    """The error that says how a service failed, with the last lines of its log."""
    log = Path(start.state.log)
    lines = "".join(f"\n    {without_colours(line)}" for line in last_lines(log, 15) if line)
    return ServiceError(
        f"{start.service.title} {what}" + (f"; its last words:{lines}" if lines else ""),
        hint=f"dataflow service logs {start.service.name} shows all of them.",
    )


def stop(project: Project, service: Service) -> bool:
    """Stop a service and every process it started; returns whether anything ran.

    Asks first, and kills what does not end. Stopping one that does not run is fine; one that
    is being started just now is stopped as soon as it was.
    """
    path = state_file(project, service.name)
    with _alone(project, service):
        state = read_state(path)
        if state is None:
            path.unlink(missing_ok=True)
            return False
        ran = is_alive(state.pid, state.mark)
        if ran:
            with contextlib.suppress(ProcessLookupError):
                os.kill(state.pid, signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            while is_alive(state.pid, state.mark) and time.monotonic() < deadline:
                time.sleep(0.1)
        killed = kill_marked(state.mark)
        forget(path, state.mark)
        return ran or killed > 0


def stop_now(state: ServiceState, project: Project) -> None:
    """Kill a service at once: somebody asked twice."""
    kill_marked(state.mark)
    forget(state_file(project, state.service), state.mark)


def status(project: Project, service: Service) -> Status:
    """How a service is."""
    state = read_state(state_file(project, service.name))
    if state is None:
        return Status(service.name, "stopped", None, 0)
    processes = len(marked(state.mark))
    if is_alive(state.pid, state.mark):
        answers = is_healthy(state.port, state.health)
        return Status(service.name, "running" if answers else "starting", state, processes)
    return Status(service.name, "failed" if state.ended else "killed", state, processes)


def restart(project: Project, service: Service, port: int | None = None) -> Start:
    """Stop a service, and start it in the background, where it was unless told otherwise."""
    before = read_state(state_file(project, service.name))
    stop(project, service)
    if port is None and before is not None:
        port = before.port
    return launch(project, service, port=port, dev=before.dev if before else False)
