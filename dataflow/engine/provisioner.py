"""Kernels that are forked from a process which has imported what notebooks do.

By jupyter_client's own way of starting kernels otherwise, a provisioner. Where a forked kernel
could differ from one that is started, it is started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner
from traitlets import Unicode

from dataflow.base.fork_servers import Wanted
from dataflow.base.forked import Refused, fork
from dataflow.engine import ipython

NAME = "dataflow-forked"
# Variables that neither Python nor a package reads when it starts.
SOON = 1.0  # seconds in which most kernels have ended
MAY_DIFFER = ("DATAFLOW_", "DAGSTER_", "JPY_", "PWD", "OLDPWD")


def kernel_server(modules: Iterable[str], environment: Mapping[str, str]) -> Wanted:
    """The process that forks kernels, whose address is `Options.kernel_server`.

    Args:
        modules: what the kernels have imported.
        environment: as kernels have it, but for variables that `MAY_DIFFER`.
    """
    modules = [ipython.BEGIN, *modules, ipython.END]
    return Wanted(modules, environment, may_differ=MAY_DIFFER)


def use(manager: Any, address: str) -> None:
    """Have a kernel manager fork its kernels from the server at `address`, if there is one.

    Kernels that are provided in another way than by starting a process stay as they are.
    """
    factory = KernelProvisionerFactory.instance()
    given = manager.kernel_spec.metadata.get("kernel_provisioner", {})
    if given.get("provisioner_name", factory.default_provisioner_name) != "local-provisioner":
        return
    # Known to the factory without being an entry point: it is for no other kernels than these.
    factory.provisioners[NAME] = ForkedProvisioner
    manager.kernel_spec.metadata["kernel_provisioner"] = {
        "provisioner_name": NAME,
        "config": {"address": address},
    }


class ForkedProvisioner(LocalProvisioner):
    """Forks a kernel; starts it as ever where that is refused, and keeps `why`."""

    address = Unicode()
    why: str | None = None

    @classmethod
    def load(cls) -> type[ForkedProvisioner]:
        """What the factory asks of an entry point."""
        return cls

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Fork the kernel that `cmd` would start."""
        try:
            self.process = self._forked(cmd, **kwargs) if self.address else None
        except Refused as error:
            self.why = str(error)
        if self.process is None:
            return await super().launch_kernel(cmd, **kwargs)
        self.pid = self.pgid = self.process.pid
        return self.connection_info

    async def shutdown_requested(self, restart: bool = False) -> None:
        """Wait for the kernel's end, which jupyter_client looks for every tenth of a second."""
        deadline = time.monotonic() + SOON
        while await self.poll() is None and time.monotonic() < deadline:
            await asyncio.sleep(0.005)

    def _forked(self, cmd: list[str], *, env: Mapping[str, str], cwd: str, **kwargs: Any) -> Any:
        if cmd[:3] != [sys.executable, "-c", ipython.LAUNCH]:
            raise Refused("it is not IPython's kernel of this Python")
        folder = Path(cwd)
        if (folder / "matplotlibrc").exists():
            raise Refused(f"{folder} has settings of matplotlib, which reads them when imported")
        parts = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
        if not all(Path(part).is_absolute() for part in parts):
            raise Refused("PYTHONPATH has relative paths")
        with _files(kwargs) as files:
            return fork(
                self.address,
                f"{ipython.__name__}:run",
                [cmd[3:]],
                environment=env,
                folder=folder,
                files=files,
                title=[sys.executable, *ipython.IPYTHON, *cmd[3:]],
            )


@contextlib.contextmanager
def _files(options: Mapping[str, Any]) -> Iterator[tuple[int, int, int]]:
    """Standard input, output and error as `subprocess.Popen` takes them, as descriptors."""
    with Path(os.devnull).open("r+b", buffering=0) as nothing:
        found = [nothing.fileno()]
        for number, name in enumerate(("stdout", "stderr"), start=1):
            given = options.get(name)
            if given == subprocess.DEVNULL:
                given = nothing
            found.append(number if given is None else given.fileno())
        yield found[0], found[1], found[2]
