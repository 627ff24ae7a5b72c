"""JupyterLab: on the project's notebooks, behind a token, with this environment's kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from service_helpers import fetch, running, state_of

from dataflow.project import Project

Cli = Callable[..., subprocess.CompletedProcess[str]]


def test_jupyterlab_opens_the_notebooks_with_this_environments_kernel(
    project: Project, dataflow: Cli, port: int, eventually: Callable[..., None]
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

    base = f"http://localhost:{port}"
    assert fetch(f"{base}/api/contents")[0] == 403
    assert fetch(url)[0] == 200
    with_token = {"headers": {"Authorization": f"token {token}"}}
    status, answer = fetch(f"{base}/api/contents/quakes", **with_token)
    assert status == 200
    assert [entry["name"] for entry in json.loads(answer)["content"]] == ["ingest.ipynb"]

    status, _ = fetch(f"{base}/api/kernels", data=b"{}", method="POST", **with_token)
    assert status == 201
    eventually(lambda: [c for c in running(state) if "ipykernel_launcher" in c])
    (kernel,) = [c for c in running(state) if "ipykernel_launcher" in c]
    assert kernel.startswith(sys.executable)

    assert dataflow("service", "stop", "jupyter").returncode == 0
    assert running(state) == []
