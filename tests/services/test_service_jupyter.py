"""JupyterLab: on the project's notebooks, behind a token, with this environment's kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from urllib.parse import parse_qs, urlsplit

import pytest
from projects import free_port, wait_until
from service_helpers import fetch, running, state_of

from dataflow.addresses import service_url
from dataflow.project import Project

pytestmark = pytest.mark.slow

Cli = Callable[..., subprocess.CompletedProcess[str]]


def location(url: str, **headers: str) -> str:
    """Where an address leads on to."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=20)
    connection.request("GET", f"{parts.path}?{parts.query}", headers=headers)
    return connection.getresponse().headers["Location"]


def test_jupyterlab_opens_the_notebooks_with_this_environments_kernel(
    project: Project, dataflow: Cli, port: int
) -> None:
    workflow = project.notebooks / "quakes"
    workflow.mkdir()
    (workflow / "ingest.ipynb").write_text(
        '{"cells":[],"metadata":{},"nbformat":4,"nbformat_minor":5}'
    )

    started = dataflow("service", "start", "jupyter", "-d", "--port", str(port))
    assert started.returncode == 0, started.stderr
    url = started.stdout.strip()
    (token,) = parse_qs(urlsplit(url).query)["token"]
    state = state_of(project, "jupyter")
    # Neither other users, who see command lines, nor notebooks, which see variables, get it.
    assert not [command for command in running(state) if token in command]

    # Whole, however narrow the terminal: without its token the address is of no use.
    assert f"jupyter   {url}" in dataflow("service", "status").stdout.splitlines()

    base = f"http://127.0.0.1:{port}"
    assert fetch(f"{base}/api/contents")[0] == 403
    assert fetch(url)[0] == 200
    with_token = {"headers": {"Authorization": f"token {token}"}}
    # The project, without what is made by running or hidden.
    for made in ("runs/quakes", "dbt/target", "evidence/build", ".duckdb"):
        (project.root / made).mkdir(parents=True, exist_ok=True)

    def listed(folder: str) -> set[str]:
        status, answer = fetch(f"{base}/api/contents/{folder}", **with_token)
        assert status == 200
        return {entry["name"] for entry in json.loads(answer)["content"]}

    assert listed("") == {"dbt", "evidence", "notebooks", "pyproject.toml"}
    assert listed("notebooks/quakes") == {"ingest.ipynb"}
    assert listed("dbt") == listed("evidence") == set()

    # Nobody is asked for the one kernel there is.
    tracker = fetch(f"{base}/lab/api/settings/@jupyterlab/notebook-extension:tracker", **with_token)
    asked = json.loads(tracker[1])["schema"]["properties"]["autoStartDefaultKernel"]
    assert asked["default"] is True

    status, _ = fetch(f"{base}/api/kernels", data=b"{}", method="POST", **with_token)
    assert status == 201
    wait_until(lambda: [c for c in running(state) if "ipykernel_launcher" in c])
    (kernel,) = [c for c in running(state) if "ipykernel_launcher" in c]
    assert kernel.startswith(sys.executable)

    # The doors lead to where the service listens, or behind a proxy to where that has it.
    door = f"{base}/dataflow/runs?token={token}"
    other = str(free_port())
    evidence = dataflow("service", "start", "evidence", "-d", "--port", other).stdout.strip()
    assert evidence == service_url(project, "evidence")
    assert location(door) == f"{evidence}/runs/"
    assert location(f"{door}&home=&page=/runs/quakes/") == f"{evidence}/runs/quakes/"
    for elsewhere in ("page=//example.org", "page=@example.org", "page=/../x", "home=other"):
        assert fetch(f"{door}&{elsewhere}")[0] == 404, elsewhere
    proxied = {"X-Forwarded-Host": "lab.example.org"}
    assert "DATAFLOW_EVIDENCE_URL" in fetch(door, headers=proxied)[1]
    (project.root / ".env").write_text("DATAFLOW_EVIDENCE_URL=https://dashboards.example.org/\n")
    assert location(door, **proxied) == "https://dashboards.example.org/runs/"
    (project.root / ".env").write_text("DATAFLOW_EVIDENCE_URL=dashboards.example.org\n")
    assert location(door) == "https://dashboards.example.org/runs/"

    assert dataflow("service", "stop", "jupyter").returncode == 0
    assert running(state) == []
