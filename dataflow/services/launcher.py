"""The tiles in JupyterLab's launcher: Dagster, the dashboards, the runs.

jupyter-server-proxy shows the tiles. What it proxies has to work below a path of JupyterLab's;
the three do not, and need not: a tile leads to `/dataflow/<door>`, which leads on to where the
service listens (see `dataflow.services.lab_extension`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataflow.base.addresses import PORTS
from dataflow.project import Project

EXTENSION = "dataflow.services.lab_extension"
ICONS = Path(__file__).parent / "icons"


@dataclass(frozen=True)
class Door:
    """A way out of JupyterLab.

    Args:
        name: its part of the address, and its icon's name.
        title: the tile's words.
        service: the service behind it.
        path: where in the service it leads.
    """

    name: str
    title: str
    service: str
    path: str = "/"


DOORS = {
    door.name: door
    for door in (
        Door("dagster", "Dagster", "dagster"),
        Door("dashboards", "Dashboards", "evidence"),
        Door("runs", "Runs", "evidence", "/runs/"),
    )
}


# JupyterLab would ask every new user whether it may fetch news.
LAB_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
    }
}


def write_config(project: Project, folder: Path) -> None:
    """Write what JupyterLab reads from a folder named in `JUPYTER_CONFIG_PATH`."""
    (folder / "labconfig").mkdir()
    files = {
        "jupyter_server_config.json": jupyter_config(project),
        "labconfig/default_setting_overrides.json": LAB_SETTINGS,
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


def jupyter_config(project: Project) -> dict[str, Any]:
    """What `jupyter_server_config.json` has to hold for the tiles."""
    return {
        # Which notebooks are open is the project's own; the user has one place for all.
        "LabApp": {"workspaces_dir": str(project.state / "jupyter" / "workspaces")},
        "ServerApp": {"jpserver_extensions": {EXTENSION: True}},
        "ServerProxy": {
            "servers": {
                f"dataflow-{door.name}": {
                    # Nothing is started: it is a service of its own.
                    "command": [],
                    "port": PORTS[door.service],
                    "launcher_entry": {
                        "title": door.title,
                        "icon_path": str(ICONS / f"{door.name}.svg"),
                        "path_info": f"dataflow/{door.name}",
                        # In a category of their own JupyterLab would not show the icons.
                        "category": "Notebook",
                    },
                }
                for door in DOORS.values()
            }
        },
    }
