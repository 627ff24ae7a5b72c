"""The dashboards for readers, and Evidence's own development server for their authors."""

from __future__ import annotations

import os
import sys
from urllib.parse import urlsplit

from dataflow.base.addresses import HOST, local_url, public_url
from dataflow.project import Project
from dataflow.services.model import Command, Plan

NOT_BUILT = (
    "There is no dashboard yet: a run builds it at its end. `dataflow workflow run NAME`, then "
    "reload the page."
)


def prepare(project: Project, port: int, dev: bool) -> Plan:
    """Make the dashboards' server ready to start.

    Args:
        project: the project.
        port: where it is to listen.
        dev: Evidence's own server, which shows a page anew while it is being written.

    Raises:
        ConfigurationError: `dev`, and there is no Node.
        DashboardError: `dev`, and Evidence's packages cannot be installed.
    """
    from dataflow.dashboard.paths import build_folder
    from dataflow.services.dashboards import HEALTH

    url = local_url(port)
    if dev:
        from dataflow.dashboard.dev import dev_command

        evidence = dev_command(project, port, HOST)
        changed: dict[str, str | None] = {
            name: value for name, value in evidence.env.items() if os.environ.get(name) != value
        }
        removed = dict.fromkeys(os.environ.keys() - evidence.env.keys())
        command = Command("evidence", evidence.argv, str(evidence.cwd), {**changed, **removed})
        return Plan([command], url, "/")
    argv = [sys.executable, "-m", "dataflow.services.evidence", str(port)]
    built = (build_folder(project) / "index.html").is_file()
    return Plan(
        [Command("evidence", argv, str(project.root))],
        url,
        HEALTH,
        note=None if built else NOT_BUILT,
    )


def main() -> None:
    """Serve the dashboards of the project that the environment names, on the given port."""
    from dataflow.services.dashboards import serve

    project = Project.find()
    public = urlsplit(public_url(project, "evidence") or "").hostname
    serve(project, HOST, int(sys.argv[1]), hosts=[public] if public else [])


if __name__ == "__main__":
    main()
