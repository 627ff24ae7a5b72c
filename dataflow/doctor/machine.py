"""The machine: Python, Node, the kernel, ports, disk."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

from dataflow.doctor.finding import Finding, broken, ok, warning
from dataflow.errors import ConfigurationError
from dataflow.project import Project

GIGABYTE = 1_000_000_000
DISK_BROKEN = 1 * GIGABYTE  # a run of any size fails
DISK_WARNING = 5 * GIGABYTE  # a build of the pages and a copy of a warehouse want about this
KERNEL_SECONDS = 60.0


def check_python(project: Project) -> Iterator[Finding]:
    """Python is a version that DATAFLOW is made for."""
    from importlib import metadata

    from packaging.specifiers import SpecifierSet

    from dataflow.doctor.packages import DISTRIBUTION

    version = ".".join(map(str, sys.version_info[:3]))
    wanted = metadata.metadata(DISTRIBUTION)["Requires-Python"] or ">=3.11"
    detail = f"{version}, {sys.executable}"
    if version in SpecifierSet(wanted):
        yield ok("Python", detail)
    else:
        yield broken("Python", detail, f"Make the environment anew with Python {wanted}.")


def check_node(project: Project) -> Iterator[Finding]:
    """Node is there for building the dashboard's pages."""
    from dataflow.dashboard.node import find_node

    try:
        node = find_node(project)
    except ConfigurationError as error:
        yield broken("Node", error.message, error.hint or "Install Node.")
    else:
        yield ok("Node", f"{node.version}, {node.path}")


def check_kernel(project: Project) -> Iterator[Finding]:
    """The kernel `python3` starts, is this environment's, and finds DATAFLOW."""
    import time

    from jupyter_client.manager import start_new_kernel

    mend = "pip install --force-reinstall ipykernel, in the environment that runs dataflow."
    started = time.monotonic()
    try:
        manager, client = start_new_kernel(
            kernel_name="python3", startup_timeout=KERNEL_SECONDS, cwd=str(project.root)
        )
    except Exception as error:  # whatever keeps a kernel from starting is the finding
        yield broken("kernel", f"python3 does not start: {error}", mend)
        return
    said: list[str] = []

    def keep(message: dict[str, dict[str, str]]) -> None:
        said.append(message["content"].get("text") or message["content"].get("ename") or "")

    try:
        client.execute_interactive(  # type: ignore[attr-defined]
            "import sys, dataflow.stage; print(sys.prefix)",
            output_hook=keep,
            timeout=KERNEL_SECONDS,
            store_history=False,
        )
    except Exception as error:
        said.append(type(error).__name__)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    answer = "".join(said).strip()
    if answer == sys.prefix:
        yield ok("kernel", f"python3 starts in {time.monotonic() - started:.1f} s")
    elif "Error" in answer or not answer:
        yield broken("kernel", f"python3 cannot import dataflow: {answer}", mend)
    else:
        yield broken("kernel", f"python3 is that of another environment, {answer}", mend)


def check_ports(project: Project) -> Iterator[Finding]:
    """The services' ports are free, or held by this project's own services."""
    from dataflow.services import control
    from dataflow.services.catalog import SERVICES
    from dataflow.services.ports import holder, is_free

    for service in SERVICES.values():
        subject = f"port {service.port}"
        status = control.status(project, service)
        if status.state is not None and status.state.port == service.port and status.processes:
            yield ok(subject, f"{service.title} of this project, {status.status}")
        elif is_free(service.port):
            yield ok(subject, f"free for {service.title}")
        else:
            yield warning(
                subject,
                f"where {service.title} listens, taken by {holder(service.port)}",
                f"Stop that process, or: dataflow service start {service.name} --port PORT",
            )


def check_disk(project: Project) -> Iterator[Finding]:
    """There is room for a run."""
    free = shutil.disk_usage(project.root).free
    detail = f"{free / GIGABYTE:.1f} GB free"
    mend = "Make room: old folders below runs/ can be removed."
    if free < DISK_BROKEN:
        yield broken("disk", detail, mend)
    elif free < DISK_WARNING:
        yield warning("disk", detail, mend)
    else:
        yield ok("disk", detail)
