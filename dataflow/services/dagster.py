"""Dagster for operators: its web pages, and the daemon that runs schedules.

Not by `dagster dev`: that looks at its programs every five seconds only, ends with exit code
0 when one of them dies, and waits for the runs in hand to finish before it stops.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from dataflow.base.addresses import HOST, local_url
from dataflow.project import Project
from dataflow.services.model import Command, Plan

MODULE = "dataflow.definitions"
LOCATION = "dataflow"


def prepare(project: Project, port: int) -> Plan:
    """Make Dagster ready to start: its instance, and dbt's manifest.

    The code server loads the project once, for the web server and the daemon both, and loads
    it anew when asked to in the web pages.

    Raises:
        ConfigurationError: dbt cannot read the models.
    """
    from dataflow.dbt.project import ensure_manifest
    from dataflow.orchestration.instance import HOME_VARIABLE, ensure_home

    ensure_home(project)
    if (project.dbt / "dbt_project.yml").is_file():
        ensure_manifest(project)
    # A path of a socket has to be short, and whoever can open it can run code: a folder in
    # the system's temporary one, for this user only.
    folder = Path(tempfile.mkdtemp(prefix="dataflow-dagster-"))
    socket = folder / "code.sock"
    workspace = folder / "workspace.yaml"
    server = {"socket": str(socket), "location_name": LOCATION}
    # JSON is YAML.
    workspace.write_text(json.dumps({"load_from": [{"grpc_server": server}]}), "utf-8")

    environment: dict[str, str | None] = {
        HOME_VARIABLE: os.environ[HOME_VARIABLE],
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
    python = [sys.executable, "-m"]
    root = str(project.root)
    code = [
        *python, "dagster", "code-server", "start", "--socket", str(socket),
        "--module-name", MODULE, "--working-directory", root, "--location-name", LOCATION,
        "--use-python-environment-entry-point", "--log-level", "warning",
    ]  # fmt: skip
    daemon = [*python, "dagster._daemon", "run", "--workspace", str(workspace)]
    web = [
        *python, "dataflow.services.dagster_web", "--host", HOST, "--port", str(port),
        "--workspace", str(workspace),
    ]  # fmt: skip
    commands = [
        Command(
            "code server",
            code,
            root,
            environment,
            ready_socket=str(socket),
            before_end=[*python, "dataflow.services.dagster_cancel"],
        ),
        Command("daemon", daemon, root, environment),
        Command("web server", web, root, environment),
    ]
    return Plan(commands, local_url(port), "/server_info", remove=str(folder))
