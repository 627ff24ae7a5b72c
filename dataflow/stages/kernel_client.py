"""One kernel, from its start to its certain end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
import uuid
from typing import Any

from jupyter_core.utils import ensure_async, run_sync
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from traitlets import Any as AnyTrait
from traitlets import Unicode

from dataflow.base.guardian import STEP_VARIABLE
from dataflow.base.process import kill_carrying, started_by
from dataflow.errors import ConfigurationError, StageFailed
from dataflow.stages import lifetime, wire
from dataflow.stages.launch import without_debugger
from dataflow.stages.scrub import Scrubber

STARTS = 3  # kernels that collide on a port die at once; another start picks other ports


class KernelClient(PapermillNotebookClient):
    """papermill's client with a kernel that starts surely, loses nothing, and ends surely.

    Options besides nbclient's own:
        scrubber: takes secrets out of what is handed on.
        first_line: Python that an IPython kernel runs before the first cell.
    """

    scrubber = AnyTrait()
    first_line = Unicode("")
    kc: Any
    km: Any

    def __init__(self, nb_man: Any, **kwargs: Any) -> None:
        super().__init__(nb_man, **kwargs)
        self.scrubber = self.scrubber or Scrubber()
        self._pid = 0
        self._mark = uuid.uuid4().hex
        self._returncode: int | None = None

    def _start(self, **kwargs: Any) -> None:
        """Start the kernel and connect to it.

        Raises:
            ConfigurationError: there is no such kernel.
            StageFailed: it ends as soon as it is started, time after time.
        """
        kwargs.setdefault("preexec_fn", lifetime.child_setup())
        kwargs["env"] = {**(kwargs.get("env") or os.environ), STEP_VARIABLE: self._mark}
        if self.first_line and _is_ipython(self._kernel_manager()):
            self.extra_arguments += [f"--IPKernelApp.exec_lines={self.first_line}"]
        for _ in range(STARTS - 1):
            # What the notebook's subprocesses print comes as output of its cell. The kernel
            # copies it to its own streams, secrets and all, which must not end up in a log.
            if self._try_start(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **kwargs):
                return
        with tempfile.TemporaryFile() as words:
            if not self._try_start(stdout=words, stderr=words, **kwargs):
                words.seek(0)
                said = self.scrubber.text(words.read().decode(errors="replace")).split("\n")
                last = next((line for line in reversed(said) if line.strip()), "nothing")
                raise StageFailed(
                    f"the kernel {self.kernel_name} does not start: it ended at once, "
                    f"{STARTS} times; the last it said is: {last.strip()}"
                )

    def _try_start(self, **kwargs: Any) -> bool:
        """Start the kernel; false when it ended at once."""
        if self.km is None:
            self.km = self._kernel_manager()
        try:
            self.start_new_kernel(**kwargs)
            self._pid = _pid_of(self.km)
            self.start_new_kernel_client()
            return True
        except BaseException as error:
            self._pid = self._pid or _pid_of(self.km)
            self.shutdown_kernel = "immediate"
            self._drop_tasks()
            self._end_kernel()
            self.km = self.kc = None
            if not (isinstance(error, RuntimeError) and "died" in str(error)):
                raise
            self.shutdown_kernel = "graceful"
            return False

    def _kernel_manager(self) -> Any:
        from jupyter_client.kernelspec import NoSuchKernel

        manager = self.create_kernel_manager()
        try:
            manager.kernel_spec.argv = without_debugger(manager.kernel_spec.argv)
        except NoSuchKernel:
            known = ", ".join(sorted(manager.kernel_spec_manager.find_kernel_specs()))
            raise ConfigurationError(
                f"there is no Jupyter kernel `{self.kernel_name}`",
                hint=f"Choose one of these in JupyterLab and save the notebook: {known}.",
            ) from None
        return manager

    async def async_start_new_kernel_client(self) -> Any:
        """Connect to the kernel, with no limit on messages that wait to be sent or read.

        By default ZeroMQ drops what exceeds 1,000 messages, on either side: outputs, and
        with them the message that says that the cell is done.
        """
        assert self.km is not None
        self.kc = self.km.client()
        wire.unlimited(self.kc)
        await ensure_async(self.kc.start_channels())
        await ensure_async(self.kc.wait_for_ready(timeout=self.startup_timeout))
        self.kc.allow_stdin = False
        if _is_ipython(self.km):
            await self.async_wait_for_reply(wire.send_all(self.kc))
        return self.kc

    start_new_kernel_client = run_sync(async_start_new_kernel_client)

    async def _async_check_alive(self) -> None:
        assert self.km is not None
        if not await ensure_async(self.km.is_alive()):
            # Asked once only: reading a return code from the process takes it away.
            process = getattr(getattr(self.km, "provisioner", None), "process", None)
            self._returncode = getattr(process, "returncode", None)
            raise DeadKernelError("Kernel died")

    def _how_it_died(self, peak: int) -> str:
        text = f"the kernel {lifetime.in_words(self._returncode)} while this cell ran"
        return f"{text}; the most memory seen was {peak / 1e6:,.0f} MB" if peak else text

    def _end_kernel(self) -> None:
        """End the kernel, whatever state it is in; what it started ends with it."""
        below = started_by(self._pid) if self._pid else []
        try:
            if self.km is not None:
                if self.shutdown_kernel == "immediate":
                    lifetime.end_group(self._pid)
                self._cleanup_kernel()
        finally:
            lifetime.end_group(self._pid)
            kill_carrying(STEP_VARIABLE, self._mark, below)
            self._pid = 0

    def _drop_tasks(self) -> None:
        """Cancel what still waits for the kernel: it will not answer any more."""

        async def drop() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        run_sync(drop)()


def _is_ipython(manager: Any) -> bool:
    """Whether it runs IPython, under whatever name the kernel is known."""
    return any("ipykernel" in word for word in manager.kernel_spec.argv)


def _pid_of(manager: Any) -> int:
    return int(getattr(getattr(manager, "provisioner", None), "pid", None) or 0)
