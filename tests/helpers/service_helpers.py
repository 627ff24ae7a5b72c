"""What the tests of services share: the command line, small services, and what still runs."""

from __future__ import annotations

import json
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from projects import command_of

from dataflow.project import Project
from dataflow.services.model import Command, Plan, Service
from dataflow.services.state import ServiceState, read_state, state_file

# Answers 200 to everything.
WEB = "import http.server as h\nh.HTTPServer(('127.0.0.1', {port}), h.SimpleHTTPRequestHandler).serve_forever()"


def small_service(*programs: str, end_seconds: float = 15.0) -> Service:
    """A service of Python programs; `{port}` in them is its port."""

    def prepare(project: Project, port: int, dev: bool) -> Plan:
        commands = [
            Command(
                f"program {number}",
                [sys.executable, "-c", code.replace("{port}", str(port))],
                str(project.root),
            )
            for number, code in enumerate(programs, start=1)
        ]
        return Plan(commands, f"http://127.0.0.1:{port}", "/", end_seconds=end_seconds)

    return Service("evidence", "Small service", prepare)


def state_of(project: Project, service: str) -> ServiceState:
    """The state of a service that was started."""
    state = read_state(state_file(project, service))
    assert state is not None
    return state


def running(state: ServiceState) -> list[str]:
    """The command lines of a service's processes."""
    return [command for process in state.processes() if (command := command_of(process))]


def fetch(url: str, **options: object) -> tuple[int, str]:
    """The status and the text of an answer."""
    request = Request(url, **options)  # type: ignore[arg-type]
    try:
        with urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def status_json(output: str) -> dict[str, object]:
    """What `service status NAME --json` printed."""
    (only,) = json.loads(output)
    return dict(only)
