"""Dagster for operators: its web pages, and the daemon that runs schedules.

`python -m dataflow.services.dagster` cancels the runs that Dagster is executing, as *Terminate*
does, when the service is to end: a signal alone would make them failures, which start again.

`dagster dev` is not used: it checks its programs only every five seconds, ends with exit code 0
when one of them dies, and waits for runs to finish before it stops.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dataflow.addresses import HOST, local_url
from dataflow.orchestration.forked_runs import VARIABLE
from dataflow.orchestration.instance import (
    HOME_VARIABLE,
    ensure_home,
    follows_max_runs,
    open_instance,
)
from dataflow.project import Project
from dataflow.services.model import Command, Plan
from dataflow.settings import sources

MODULE = "dataflow.definitions"
LOCATION = "dataflow"
CANCEL_SECONDS = 20.0  # for runs to record their own end


def prepare(project: Project, port: int, dev: bool) -> Plan:
    """Prepare the start of Dagster: its instance, and dbt's manifest.

    The code server loads the project once, for both the web server and the daemon, and again
    when asked to on the web pages.

    Raises:
        ConfigurationError: dbt cannot read the models.
    """
    from dataflow.dbt.project import ensure_manifest

    ensure_home(project)
    if (project.dbt / "dbt_project.yml").is_file():
        ensure_manifest(project)
    with open_instance(project) as instance:
        end_left_runs(instance)
    # A socket's path has to be short, and whoever can open it can run code: a folder in the
    # system's temporary folder, for this user only.
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
    daemon = [*python, "dataflow.services.dagster_daemon", "run", "--workspace", str(workspace)]
    web = [
        *python, "dataflow.services.dagster_web", "--host", HOST, "--port", str(port),
        "--workspace", str(workspace),
    ]  # fmt: skip
    commands = [
        Command(
            "code server",
            code,
            root,
            {**environment, VARIABLE: str(folder)},
            ready_socket=str(socket),
            before_end=[*python, "dataflow.services.dagster"],
        ),
        Command("daemon", daemon, root, environment),
        Command("web server", web, root, environment),
    ]
    note = None
    if "max_runs" in sources(project.root) and not follows_max_runs(project):
        note = (
            "The setting max_runs has no effect: max_concurrent_runs in dagster.yaml was changed."
        )
    return Plan(commands, local_url(port), "/server_info", remove=str(folder), note=note)


def broken_workflows(project: Project) -> dict[str, str]:
    """The workflows that are broken in Dagster, each with the first of its problems.

    None of their code is executed.
    """
    from dataflow.validation.workflow import examine_workflow
    from dataflow.workflows.registry import workflow_folders

    project.load_environment()
    found = {}
    for folder in workflow_folders(project):
        if problems := examine_workflow(project, folder, execute=False).problems:
            found[folder.name] = f"{problems[0].where(project.root)}: {problems[0].message}"
    return found


def cancel_runs(instance: Any, seconds: float = CANCEL_SECONDS) -> list[str]:
    """Cancel the runs that the code server started, and wait for their ends.

    Runs from the command line are another process's, and queued ones have not begun.

    Returns:
        The ids of the runs that were cancelled.
    """
    found = _under_way(instance)
    for run in found:
        try:
            instance.run_launcher.terminate(run.run_id)
        except Exception as error:  # its server is gone; the run's end is noted below
            print(f"run {run.run_id} could not be cancelled: {error}")
    deadline = time.monotonic() + seconds
    while (left := _under_way(instance)) and time.monotonic() < deadline:
        time.sleep(0.2)
    for run in left:  # its process is killed next
        instance.report_run_canceled(run, message="The service ended before the run did.")
    return [run.run_id for run in found]


def end_left_runs(instance: Any) -> None:
    """End the runs of an earlier code server, which are gone with it, before the next one starts.

    To Dagster they go on for ever: it notices only when a run ends without its server.
    """
    for run in _under_way(instance):
        instance.report_run_failed(run, "Dagster was killed, or the machine went down.")


def _under_way(instance: Any) -> list[Any]:
    from dagster import DagsterRunStatus, RunsFilter
    from dagster._core.storage.tags import GRPC_INFO_TAG

    statuses = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
    runs = instance.get_runs(RunsFilter(statuses=statuses))
    return [run for run in runs if GRPC_INFO_TAG in run.tags]


def main() -> None:
    """Cancel the runs of the project that the environment names."""
    with open_instance(Project.find()) as instance:
        for run_id in cancel_runs(instance):
            print(f"dataflow: run {run_id} was cancelled, since the service ends")


if __name__ == "__main__":
    main()
