"""What a run needs from the machine: Python, packages, the kernel, Node, ports, disk.

Each check imports what it needs itself: a package that is missing or broken is a finding, too.
"""

from __future__ import annotations

import gc
import shutil
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from dataflow.base.finding import Finding, broken, ok, warning
from dataflow.base.version import DISTRIBUTION
from dataflow.errors import ConfigurationError
from dataflow.project import Project

if TYPE_CHECKING:
    from packaging.requirements import Requirement

INSTALL = "pip install --require-hashes --no-deps -r requirements.lock (make setup does it)"
GIGABYTE = 1_000_000_000
DISK_BROKEN = 1 * GIGABYTE  # a run of any size fails
DISK_WARNING = 5 * GIGABYTE  # a build of the pages and a copy of a warehouse need about this much
KERNEL_SECONDS = 60.0


def check_python(project: Project) -> Iterator[Finding]:
    """Python is a version that DATAFLOW is made for."""
    from packaging.specifiers import SpecifierSet

    version = ".".join(map(str, sys.version_info[:3]))
    wanted = metadata.metadata(DISTRIBUTION)["Requires-Python"] or ">=3.11"
    detail = f"{version}, {sys.executable}"
    if version in SpecifierSet(wanted):
        yield ok("Python", detail)
    else:
        yield broken("Python", detail, f"Recreate the environment with Python {wanted}.")


def check_packages(project: Project) -> Iterator[Finding]:
    """Compare the installed packages with `requirements.lock`."""
    lock = project.root / "requirements.lock"
    if not lock.is_file():
        yield ok("packages", "the project has no requirements.lock to compare with")
        return
    locked = read_lock(lock)
    installed = {name: version for name in locked if (version := installed_version(name))}
    needed = needed_packages()
    missing = sorted(name for name in locked if name in needed and name not in installed)
    other = [
        f"{name} {version} (locked: {locked[name]})"
        for name, version in sorted(installed.items())
        if version != locked[name]
    ]
    if missing:
        yield broken("packages", f"missing: {', '.join(missing)}", INSTALL)
    if other:
        yield warning("packages", f"not the versions that were tested: {', '.join(other)}", INSTALL)
    if not missing and not other:
        yield ok("packages", f"{len(installed)} match requirements.lock")


def read_lock(path: Path) -> dict[str, str]:
    """The locked version of each package that this Python on this machine needs, by name."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    locked: dict[str, str] = {}
    for line in path.read_text("utf-8").splitlines():
        text = line.split("\\")[0].strip()
        if not text or line.startswith((" ", "#", "-")):
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if _applies(requirement) and (specifier := next(iter(requirement.specifier), None)):
            locked[str(canonicalize_name(requirement.name))] = specifier.version
    return locked


def installed_version(name: str) -> str | None:
    """The installed version of a package; None when it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def needed_packages() -> set[str]:
    """Every package that DATAFLOW needs, and those they need; without optional ones."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    needed: set[str] = set()
    waiting = [DISTRIBUTION]
    while waiting:
        try:
            requires = metadata.requires(waiting.pop()) or []
        except metadata.PackageNotFoundError:
            continue  # reported as missing
        for requirement in map(Requirement, requires):
            name = canonicalize_name(requirement.name)
            if name not in needed and _applies(requirement):
                needed.add(name)
                waiting.append(name)
    return needed


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def check_node(project: Project) -> Iterator[Finding]:
    """Node can build the dashboard's pages."""
    from dataflow.dashboard.node import find_node

    try:
        node = find_node(project)
    except ConfigurationError as error:
        yield broken("Node", error.message, error.hint or "Install Node.")
    else:
        yield ok("Node", f"{node.version}, {node.path}")


def check_kernel(project: Project) -> Iterator[Finding]:
    """The kernel `python3` starts, is this environment's, and finds DATAFLOW."""
    from jupyter_client.manager import start_new_kernel

    hint = "pip install --force-reinstall ipykernel, in the environment that runs dataflow."
    started = time.monotonic()
    try:
        manager, client = start_new_kernel(
            kernel_name="python3", startup_timeout=KERNEL_SECONDS, cwd=str(project.root)
        )
    except Exception as error:  # whatever keeps a kernel from starting is the finding
        yield broken("kernel", f"python3 does not start: {error}", hint)
        return
    printed: list[str] = []

    def keep(message: dict[str, dict[str, str]]) -> None:
        printed.append(message["content"].get("text") or message["content"].get("ename") or "")

    try:
        client.execute_interactive(  # type: ignore[attr-defined]
            "import sys, dataflow.stage; print(sys.prefix)",
            output_hook=keep,
            timeout=KERNEL_SECONDS,
            store_history=False,
        )
    except Exception as error:
        printed.append(type(error).__name__)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        # Now: where it is collected later, deep in another check, Python complains of it.
        del client, manager
        gc.collect()
    answer = "".join(printed).strip()
    if answer == sys.prefix:
        yield ok("kernel", f"python3 starts in {time.monotonic() - started:.1f} s")
    elif "Error" in answer or not answer:
        yield broken("kernel", f"python3 cannot import dataflow: {answer}", hint)
    else:
        yield broken("kernel", f"python3 belongs to another environment, {answer}", hint)


def check_jupyterlab(project: Project) -> Iterator[Finding]:
    """Every JupyterLab of this environment loads DATAFLOW's panel, and its server answers it."""
    from jupyter_core.paths import jupyter_config_path, jupyter_path
    from jupyter_server.services.config.manager import ConfigManager

    from dataflow.services.jupyter import EXTENSION, PANEL

    def config(name: str, below: str, section: str, key: str) -> dict[str, bool]:
        folders = [str(Path(path, below)) for path in jupyter_config_path()]
        found = ConfigManager(read_config_path=folders).get(name)
        return dict((found.get(section, {}) if section else found).get(key, {}))

    panel = PANEL / "dataflow-jupyterlab"
    places = [Path(path, panel.name, "package.json") for path in jupyter_path("labextensions")]
    loaded = next((path for path in places if path.is_file()), None)
    enabled = config("jupyter_server_config", "", "ServerApp", "jpserver_extensions")
    subject = "JupyterLab"
    if config("page_config", "labconfig", "", "disabledExtensions").get(panel.name):
        yield warning(
            subject, "DATAFLOW's panel is disabled", f"jupyter labextension enable {panel.name}"
        )
    elif not enabled.get(EXTENSION):
        yield warning(
            subject,
            "a plain `jupyter lab` does not load the server's part of DATAFLOW's panel",
            f"jupyter server extension enable {EXTENSION}",
        )
    elif loaded is None or loaded.read_bytes() != (panel / "package.json").read_bytes():
        what = f"another version of it, from {loaded.parent}" if loaded else "none"
        yield warning(
            subject,
            f"DATAFLOW's panel in a plain `jupyter lab`: {what}",
            "Install DATAFLOW again: make setup.",
        )
    else:
        yield ok(subject, "DATAFLOW's panel is installed and enabled")


def check_ports(project: Project) -> Iterator[Finding]:
    """The services' ports are free, or held by this project's own services."""
    from dataflow.addresses import usual_port
    from dataflow.services import control
    from dataflow.services.catalog import SERVICES
    from dataflow.services.ports import holder, is_free

    for service in SERVICES.values():
        port = usual_port(project, service.name)
        subject = f"port {port}"
        status = control.status(project, service)
        if status.state is not None and status.state.port == port and status.processes:
            yield ok(subject, f"{service.title} of this project, {status.status}")
        elif is_free(port):
            yield ok(subject, f"free for {service.title}")
        else:
            yield warning(
                subject,
                f"the port of {service.title} is taken by {holder(port)}",
                f"Stop that process, or set {service.name}_port in [tool.dataflow] to another.",
            )


def check_disk(project: Project) -> Iterator[Finding]:
    """There is enough disk space for a run."""
    free = shutil.disk_usage(project.root).free
    detail = f"{free / GIGABYTE:.1f} GB free"
    hint = "Free disk space: dataflow runs prune --keep-last 20 lists runs that may go."
    if free < DISK_BROKEN:
        yield broken("disk", detail, hint)
    elif free < DISK_WARNING:
        yield warning("disk", detail, hint)
    else:
        yield ok("disk", detail)
