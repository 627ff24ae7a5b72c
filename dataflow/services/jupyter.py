"""JupyterLab on the project's notebooks, for authors."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from pathlib import Path

from dataflow.base.addresses import HOST, local_url
from dataflow.project import Project
from dataflow.services.launcher import write_config
from dataflow.services.model import Command, Plan


def prepare(project: Project, port: int) -> Plan:
    """Make JupyterLab ready to start.

    Its kernel is the Python that runs this. Each start has a new token, which is handed over
    in a private file: a command line can be read by everybody on the machine, and variables
    by every notebook.
    """
    folder = Path(tempfile.mkdtemp(prefix="dataflow-jupyter-"))  # for this user only
    token = secrets.token_hex(24)
    token_file = folder / "token"
    token_file.write_text(token, "utf-8")
    write_config(project, folder)
    project.notebooks.mkdir(parents=True, exist_ok=True)
    settings = {
        "ServerApp.ip": HOST,
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.open_browser": False,
        "ServerApp.root_dir": project.notebooks,
        # On this machine and with a token, root in a container is as safe as anybody.
        "ServerApp.allow_root": getattr(os, "geteuid", lambda: 1)() == 0,
        # The environment is locked, and nothing asks other machines for news.
        "LabApp.extension_manager": "readonly",
        "LabApp.news_url": None,
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        # Notebooks of other projects' environments would not find this project's packages.
        "MultiKernelManager.default_kernel_name": "python3",
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    command = Command(
        "jupyter",
        [sys.executable, "-m", "jupyterlab", *options],
        str(project.notebooks),
        {
            "TZ": project.timezone,  # its kernels have it, as those of runs do
            "JUPYTER_TOKEN": None,
            "JUPYTER_TOKEN_FILE": str(token_file),
            # The launcher's tiles, beside whatever the user has configured.
            "JUPYTER_CONFIG_PATH": os.pathsep.join(
                [str(folder), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
            ),
            # The kernel `python3` is this environment's, also when the user has one of their own.
            "JUPYTER_PREFER_ENV_PATH": "1",
        },
    )
    url = f"{local_url(port)}/lab?token={token}"
    return Plan([command], url, "/api", remove=str(folder))
