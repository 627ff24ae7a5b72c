"""JupyterLab on the project, for authors, with tiles for the other services."""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dataflow.addresses import HOST, local_url, usual_port
from dataflow.project import Project
from dataflow.services.model import Command, Plan

EXTENSION = "dataflow.lab.extension"  # what Jupyter loads; it is a layer above this one
PANEL = Path(__file__).parents[1] / "lab" / "labextensions"
ICONS = Path(__file__).parent / "icons"


@dataclass(frozen=True)
class Tile:
    """A tile in JupyterLab's launcher that leads to another service.

    Args:
        name: its part of the address, and its icon's name.
        title: its label.
        service: the service behind it.
        path: where in the service it leads.
    """

    name: str
    title: str
    service: str
    path: str = "/"


TILES = {
    tile.name: tile
    for tile in (
        Tile("dagster", "Dagster", "dagster"),
        Tile("dashboards", "Dashboards", "evidence"),
        Tile("runs", "Runs", "evidence", "/runs/"),
    )
}

LAB_SETTINGS = {
    # There is one kernel: nobody needs to be asked for it.
    "@jupyterlab/notebook-extension:tracker": {"autoStartDefaultKernel": True},
    # JupyterLab would ask every new user whether it may fetch news.
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
}


def prepare(project: Project, port: int, dev: bool) -> Plan:
    """Prepare the start of JupyterLab.

    Its kernel is the Python that runs this. Each start has a new token, which is passed in a
    private file: a command line can be read by everybody on the machine, and environment
    variables by every notebook.
    """
    folder = Path(tempfile.mkdtemp(prefix="dataflow-jupyter-"))  # for this user only
    token = secrets.token_hex(24)
    token_file = folder / "token"
    token_file.write_text(token, "utf-8")
    _write_config(project, folder)
    project.notebooks.mkdir(parents=True, exist_ok=True)
    settings = {
        "ServerApp.ip": HOST,
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.open_browser": False,
        # Models and pages are edited there, too.
        "ServerApp.root_dir": project.root,
        "ServerApp.contents_manager_class": "dataflow.lab.tiles.ProjectFiles",
        # On this machine and with a token, root in a container is as safe as any user.
        "ServerApp.allow_root": getattr(os, "geteuid", lambda: 1)() == 0,
        # The environment is locked, and nothing is requested from other machines.
        "LabApp.extension_manager": "readonly",
        "LabApp.news_url": None,
        "LabApp.extra_labextensions_path": str(PANEL),
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        # Notebooks of other projects' environments would not find this project's packages.
        "MultiKernelManager.default_kernel_name": "python3",
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    command = Command(
        "Jupyter server",
        [sys.executable, "-m", "jupyterlab", *options],
        str(project.notebooks),  # Python imports from here first: nothing of the root's
        {
            "TZ": project.timezone,  # its kernels have it, as those of runs do
            "JUPYTER_TOKEN": None,
            "JUPYTER_TOKEN_FILE": str(token_file),
            # The launcher's tiles, besides the user's own configuration.
            "JUPYTER_CONFIG_PATH": os.pathsep.join(
                [str(folder), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
            ),
            # The kernel `python3` is this environment's, also when the user has one of their own.
            "JUPYTER_PREFER_ENV_PATH": "1",
        },
    )
    url = f"{local_url(port)}/lab?token={token}"
    return Plan([command], url, "/api", remove=str(folder))


def _write_config(project: Project, folder: Path) -> None:
    """Write what JupyterLab reads from a folder named in `JUPYTER_CONFIG_PATH`.

    jupyter-server-proxy shows the tiles. A proxied service has to work below a path of
    JupyterLab's; ours do not, and need not: a tile leads to `/dataflow/<name>`, which
    redirects to the service's address (see `dataflow.lab.tiles`).
    """
    servers = {
        f"dataflow-{tile.name}": {
            # Nothing is started: it is a separate service.
            "command": [],
            "port": usual_port(project, tile.service),
            "launcher_entry": {
                "title": tile.title,
                "icon_path": str(ICONS / f"{tile.name}.svg"),
                "path_info": f"dataflow/{tile.name}",
                # In their own category JupyterLab would not show the icons.
                "category": "Notebook",
            },
        }
        for tile in TILES.values()
    }
    config = {
        # Open notebooks are kept per project; by default there is one place per user.
        "LabApp": {"workspaces_dir": str(project.state / "jupyter" / "lab-workspaces")},
        "ServerApp": {"jpserver_extensions": {EXTENSION: True}},
        "ServerProxy": {"servers": servers},
    }
    (folder / "jupyter_server_config.json").write_text(json.dumps(config), "utf-8")
    (folder / "labconfig").mkdir()
    overrides = folder / "labconfig" / "default_setting_overrides.json"
    overrides.write_text(json.dumps(LAB_SETTINGS), "utf-8")
