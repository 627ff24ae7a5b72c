"""One kernel, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import tempfile
import time
import traceback
import uuid
from collections.abc import Mapping
from datetime import datetime
from queue import Empty
from typing import Any

import psutil
from jupyter_client.kernelspec import NoSuchKernel
from jupyter_core.utils import ensure_async, run_sync
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient

from dataflow.base.guardian import STEP_VARIABLE
from dataflow.base.lifetime import child_setup, end_group, in_words
from dataflow.base.process import kill_carrying, started_by
from dataflow.engine import KernelFailed, NoKernel, Options, provisioner
from dataflow.engine.ipython import IPYTHON, LAUNCH

STARTS = 3  # kernels that collide on a port die at once; another start picks other ports

# Run in the kernel before the first cell. ZeroMQ drops what exceeds 1,000 messages that wait
# to be sent. The socket belongs to the thread that sends.
_SEND_ALL = (
    "(lambda thread: thread.schedule(lambda: setattr(thread.socket, 'sndhwm', 0)))"
    "(get_ipython().kernel.iopub_thread)"
)


class KernelClient(PapermillNotebookClient):
    """papermill's client with a kernel that starts and ends reliably, and loses no output."""

    kc: Any
    km: Any

    def __init__(self, nb_man: Any, options: Options, **kwargs: Any) -> None:
        super().__init__(nb_man, **kwargs)
        self.options = options
        self._pid = 0
        self._mark = uuid.uuid4().hex
        self._returncode: int | None = None

    def _start(self, environment: Mapping[str, str]) -> None:
        """Start the kernel and connect to it.

        Raises:
            NoKernel: there is no such kernel.
            KernelFailed: it ends as soon as it is started, time after time.
        """
        kwargs = {
            "env": {**environment, STEP_VARIABLE: self._mark},
            "preexec_fn": child_setup(),
        }
        first_line = self.options.first_line
        if first_line and _is_ipython(self._kernel_manager()):
            self.extra_arguments += [f"--IPKernelApp.exec_lines={first_line}"]
        for _ in range(STARTS - 1):
            # What the notebook's subprocesses print comes as output of its cell. The kernel
            # copies it to its own streams, secrets and all, which must not end up in a log.
            if self._try_start(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **kwargs):
                return
        with tempfile.TemporaryFile() as words:
            if not self._try_start(stdout=words, stderr=words, **kwargs):
                words.seek(0)
                text = words.read().decode(errors="replace")
                printed = self.options.scrubber.text(text).split("\n")
                last = next((line for line in reversed(printed) if line.strip()), "nothing")
                raise KernelFailed(
                    f"the kernel {self.kernel_name} does not start: it ended at once, "
                    f"{STARTS} times; its last output: {last.strip()}"
                )

    def _try_start(self, **kwargs: Any) -> bool:
        """Start the kernel; false when it ended at once."""
        if self.km is None:
            self.km = self._kernel_manager()
        try:
            self.start_new_kernel(**kwargs)
            self._pid = _pid_of(self.km)
            if why := getattr(self.km.provisioner, "why", None):
                self.nb.metadata["dataflow"]["kernel_started"] = self.options.scrubber.text(why)
            self.start_new_kernel_client()
            return True
        except BaseException as error:
            self._pid = self._pid or _pid_of(self.km)
            self.shutdown_kernel = "immediate"
            self._drop_tasks()
            # A cancel may have come while a socket was made: only the frames know of it, and
            # ZeroMQ would wait for its end without end.
            traceback.clear_frames(error.__traceback__)
            self._end_kernel()
            self.km = self.kc = None
            if not (isinstance(error, RuntimeError) and "died" in str(error)):
                raise
            self.shutdown_kernel = "graceful"
            return False

    def _kernel_manager(self) -> Any:
        manager = self.create_kernel_manager()
        try:
            manager.kernel_spec.argv = without_debugger(manager.kernel_spec.argv)
        except NoSuchKernel:
            known = sorted(manager.kernel_spec_manager.find_kernel_specs())
            raise NoKernel(self.kernel_name, known) from None
        provisioner.use(manager, self.options.kernel_server)
        return manager

    async def async_start_new_kernel_client(self) -> Any:
        """Connect to the kernel, with no limit on messages that wait to be sent or read.

        By default ZeroMQ drops what exceeds 1,000 messages, on either side: outputs, and
        with them the message that says that the cell is done.
        """
        assert self.km is not None
        self.kc = self.km.client()
        unlimited(self.kc)
        await ensure_async(self.kc.start_channels())
        if not _is_ipython(self.km):
            await ensure_async(self.kc.wait_for_ready(timeout=self.startup_timeout))
        self.kc.allow_stdin = False
        if _is_ipython(self.km):
            await self._wait_for_ipython()
            await self.async_wait_for_reply(self.kc.execute(_SEND_ALL, silent=True))
        return self.kc

    start_new_kernel_client = run_sync(async_start_new_kernel_client)

    async def _wait_for_ipython(self) -> None:
        """Wait until the kernel answers, and its outputs arrive.

        The client's own way ends by waiting for messages that do not come.

        Raises:
            RuntimeError: the kernel died, or does not answer in time.
        """
        deadline = time.monotonic() + self.startup_timeout
        while True:
            self.kc.kernel_info()
            with contextlib.suppress(Empty):
                reply = await ensure_async(self.kc.get_shell_msg(timeout=1))
                asked = reply["parent_header"].get("msg_id")
                while True:  # outputs before the kernel knows of the client's interest are lost
                    message = await ensure_async(self.kc.get_iopub_msg(timeout=0.2))
                    if message["parent_header"].get("msg_id") == asked:
                        return
            if not await ensure_async(self.km.is_alive()):
                raise RuntimeError("Kernel died before replying to kernel_info")
            if time.monotonic() > deadline:
                raise RuntimeError(f"Kernel didn't respond in {self.startup_timeout:g} seconds")

    async def _async_check_alive(self) -> None:
        assert self.km is not None
        if not await ensure_async(self.km.is_alive()):
            # Asked once only: reading a return code from the process takes it away.
            process = getattr(getattr(self.km, "provisioner", None), "process", None)
            self._returncode = getattr(process, "returncode", None)
            raise DeadKernelError("Kernel died")

    def _how_it_died(self, peak: int) -> str:
        text = f"the kernel {in_words(self._returncode)} while this cell ran"
        return f"{text}; its peak memory was {peak / 1e6:,.0f} MB" if peak else text

    def _end_kernel(self) -> None:
        """End the kernel, whatever state it is in, and the processes it started."""
        below = started_by(self._pid) if self._pid else []
        try:
            if self.km is not None:
                if self.shutdown_kernel == "immediate":
                    end_group(self._pid)
                self._cleanup_kernel()
        finally:
            end_group(self._pid)
            kill_carrying(STEP_VARIABLE, self._mark, below)
            self._pid = 0

    def _drop_tasks(self) -> None:
        """Cancel the tasks that still wait for the kernel: it will not answer any more."""

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


def without_debugger(command: list[str]) -> list[str]:
    """The command that starts a kernel, changed if it is that of an IPython kernel.

    Args:
        command: `argv` of a kernel's specification.
    """
    for at in range(len(command) - 1):
        if command[at : at + 2] == IPYTHON:
            return [*command[:at], "-c", LAUNCH, *command[at + 2 :]]
    return command


def unlimited(client: Any) -> None:
    """Have `client`, not connected yet, keep every message until it is read."""
    client.context.rcvhwm = 0
    client.context.reconnect_ivl = 10  # ms: most kernels listen soon after the first try
    client.session.unpack = unpack


def unpack(data: bytes) -> Any:
    """Read one part of a message, dates in its headers included.

    jupyter_client reads the two dates of every message with dateutil's parser of any format,
    which takes longer than all the rest of the message.
    """
    part = json.loads(data)
    if isinstance(part, dict) and "msg_id" in part and isinstance(part.get("date"), str):
        with contextlib.suppress(ValueError):
            part["date"] = datetime.fromisoformat(part["date"])
    return part


def peak_memory(pid: int) -> int | None:
    """The most memory process `pid` had resident so far, in bytes; None when it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as status:  # noqa: PTH123
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:  # gone, or not ours to look at
        return None
