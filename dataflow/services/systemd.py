"""Units with which systemd runs the services, from the start of the machine on."""

from __future__ import annotations

import pwd
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.services.control import STOP_SECONDS
from dataflow.services.model import Service

_SYSTEM = Path("/etc/systemd/system")
# Left out on purpose: ProtectHome and ProtectSystem=strict (a project may lie in a home folder,
# and kernels and npm write to it), MemoryDenyWriteExecute (Node compiles as it runs),
# RestrictSUIDSGID (a shared folder is setgid), PrivateDevices (notebooks may use a GPU), and
# EnvironmentFile=.env (systemd reads quotes and comments in it in its own way, and its values
# would override what every command reads). The `:` of ExecStart leaves $ in a path alone.
_UNIT = """\
# Written by `dataflow service systemd`. The project's .env is read by the service itself.
[Unit]
Description={title} of the project in {root}
RequiresMountsFor="{root}"
Wants=network-online.target
After=network-online.target
# Given up after five starts in ten minutes.
StartLimitIntervalSec=600
StartLimitBurst=5

[Service]
Type=exec
User={user}
WorkingDirectory={root}
ExecStart=:"{command}" service start {service}
Restart=on-failure
RestartSec=10
# Wrong configuration is not fixed by trying again.
RestartPreventExitStatus=2
# One signal to the command above: it cancels its runs, and ends all it started.
KillMode=mixed
TimeoutStopSec={stop_seconds}
# A stage that runs out of memory fails; by default systemd would stop the service as well.
OOMPolicy=continue
NoNewPrivileges=yes
ProtectSystem=full
# Runs of the service and runs by hand do not see each other's files in /tmp.
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
"""


def units(project: Project, services: Sequence[Service], user: str) -> dict[str, str]:
    """The units of services, by file name.

    Args:
        project: the project; it is started by the `dataflow` of the running environment.
        services: the services.
        user: the user they run as.

    Raises:
        ConfigurationError: `user` is root or no user's name, or systemd takes no such path.
    """
    if user == "root" or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", user):
        why = "may not run as root: whoever reaches Dagster can run code as its user"
        raise ConfigurationError(
            f"services {why}" if user == "root" else f"`{user}` is not the name of a user",
            hint="Name a user of their own: dataflow service systemd --user dataflow",
        )
    command = Path(sys.executable).with_name("dataflow")
    for path in (project.root, command):
        if re.search(r"[\"'\\\x00-\x1f]", str(path)):
            raise ConfigurationError(
                "systemd takes no path with quotes, backslashes or control characters",
                where=repr(str(path)),
                hint="Rename the folder, then run make setup.",
            )
    # Several projects may be served by one machine.
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", project.root.name).strip("-") or "project"
    return {
        f"dataflow-{name}-{service.name}.service": _UNIT.format(
            title=service.title,
            service=service.name,
            user=user,
            root=_literal(project.root),
            command=_literal(command),
            stop_seconds=round(STOP_SECONDS) + 30,
        )
        for service in services
    }


def next_steps(project: Project, folder: Path, names: Sequence[str], user: str) -> list[str]:
    """The commands with which root starts the units `names` that were written to `folder`."""
    steps = []
    if user != owner(project):
        if not _is_user(user):
            steps.append(f"useradd --system --create-home {user}")
        steps.append(f"chown -R {user}: {shlex.quote(str(project.root))}")
    if folder.resolve() != _SYSTEM:
        steps.append(f"cp {shlex.join(str(folder / name) for name in names)} {_SYSTEM}")
    return [*steps, "systemctl daemon-reload", f"systemctl enable --now {' '.join(names)}"]


def owner(project: Project) -> str:
    """The user who owns the project's folder; a number when that user is unknown here."""
    try:
        return project.root.owner()
    except KeyError:
        return str(project.root.stat().st_uid)


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _literal(path: Path) -> str:
    return str(path).replace("%", "%%")  # % begins a specifier
