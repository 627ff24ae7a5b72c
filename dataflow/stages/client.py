"""The conversation with one kernel, from its start to its certain end."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from typing import Any

from jupyter_core.utils import ensure_async, run_sync
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from traitlets import Any as AnyTrait
from traitlets import Callable as CallableTrait
from traitlets import Float, Unicode

from dataflow.errors import ConfigurationError, StageFailed
from dataflow.stages import lifetime, wire
from dataflow.stages.display import StageSkipped
from dataflow.stages.interrupts import Interrupts
from dataflow.stages.listen import Listener, LiveText, to_file, to_log
from dataflow.stages.manager import StageManager
from dataflow.stages.output import (
    CELL_LIMIT,
    DISPLAY_LIMIT,
    TEXT_LIMIT,
    Stream,
    limit_display,
)
from dataflow.stages.scrub import Scrubber

CANCELLED = ("Cancelled", "the run was cancelled while this cell ran")
STARTS = 3  # kernels that collide on a port die at once; another start picks other ports


class StageClient(PapermillNotebookClient):
    """Runs the cells of one notebook in one kernel.

    Options besides nbclient's own:
        scrubber: takes secrets out of live output.
        on_output: called with ("stdout" | "stderr" | "display", text) while cells run.
        notebook_timeout: seconds for all cells together; 0 for no limit.
        text_limit: characters kept of one cell's stdout and of its stderr.
        first_line: Python that an IPython kernel runs before the first cell.
    """

    scrubber = AnyTrait()
    first_line = Unicode("")
    on_output = CallableTrait(default_value=None, allow_none=True)
    notebook_timeout = Float(0.0)
    text_limit = AnyTrait(TEXT_LIMIT)
    kc: Any
    km: Any
    clear_before_next_output: bool

    def __init__(self, nb_man: StageManager, **kwargs: Any) -> None:
        # Streams are put together here, as they come; nbclient's way of doing it at the end
        # of a cell takes time that grows with the square of the longest line.
        kwargs.setdefault("coalesce_streams", False)
        # Waiting for the rest of a large output is no reason to fail.
        kwargs.setdefault("iopub_timeout", 600)
        super().__init__(nb_man, **kwargs)
        self.scrubber = self.scrubber or Scrubber()
        self.timeout_func = self._time_left
        self._cell_timeout = kwargs.get("timeout")
        self._deadline: float | None = None
        self._streams: dict[int, dict[str, tuple[Stream, Any]]] = {}
        self._room: dict[int, int] = {}
        self._live = LiveText(self.scrubber, self._listeners())
        self._interrupts = Interrupts()
        self._pid = 0
        self._peak = 0
        self._returncode: int | None = None
        nb_man.before_save = self._settle_streams

    def _listeners(self) -> list[Listener]:
        listeners: list[Listener] = [self.on_output] if self.on_output is not None else []
        if self.stdout_file is not None:
            listeners.append(to_file("stdout", self.stdout_file))
        if self.stderr_file is not None:
            listeners.append(to_file("stderr", self.stderr_file))
        if self.log_output:
            listeners.append(to_log(self.log))
        return listeners

    # -- the run -------------------------------------------------------------------------

    def execute(self, **kwargs: Any) -> Any:
        """Start a kernel, run the cells, end the kernel; the notebook is changed in place.

        Args:
            kwargs: what the kernel is started with: `env`, `cwd`.
        """
        self.reset_execution_trackers()
        kwargs.setdefault("preexec_fn", lifetime.child_setup())
        with self._interrupts:
            self._start(**kwargs)
            try:
                if self.notebook_timeout:
                    self._deadline = time.monotonic() + self.notebook_timeout
                if self._run_cells():
                    reply = self.wait_for_reply(self.kc.kernel_info())
                    if reply is not None:
                        self.nb.metadata["language_info"] = reply["content"]["language_info"]
                    self.set_widgets_metadata()
                else:
                    self.shutdown_kernel = "immediate"
            except BaseException:
                self.shutdown_kernel = "immediate"
                self._drop_tasks()
                raise
            finally:
                self._note_memory()
                self._end_kernel()
        return self.nb

    def _start(self, **kwargs: Any) -> None:
        if self.first_line and getattr(self._kernel_manager(), "ipykernel", False):
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
            _ = manager.kernel_spec
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
        if getattr(self.km, "ipykernel", False):
            await self.async_wait_for_reply(wire.send_all(self.kc))
        return self.kc

    start_new_kernel_client = run_sync(async_start_new_kernel_client)

    def _run_cells(self) -> bool:
        """Run the cells in order; whether the kernel is still there to talk to."""
        manager: StageManager = self.nb_man
        for index, cell in enumerate(self.nb.cells):
            manager.cell_start(cell, index)
            try:
                self.execute_cell(cell, index)
            except CellExecutionError as error:
                if error.ename == StageSkipped.__name__:
                    self._drop_error(cell)
                    manager.cell_skipped(cell)
                else:
                    manager.cell_exception(cell, index, exception=error)
                return True
            except DeadKernelError:
                if self._interrupts.error is not None:
                    manager.cell_failed(cell, *CANCELLED, cancelled=True)
                else:
                    manager.cell_failed(cell, "KernelDied", self._how_it_died())
                return False
            except CellTimeoutError:
                manager.cell_failed(cell, "Timeout", self._what_ran_out())
                return False
            except asyncio.CancelledError:
                raise
            except BaseException:
                manager.cell_failed(cell, *CANCELLED, cancelled=True)
                raise
            finally:
                self._live.flush()
                self._settle_streams()
                self._note_memory(cell)
                manager.cell_complete(cell, index)
                self._streams.pop(index, None)
        return True

    def _drop_error(self, cell: Any) -> None:
        cell.outputs = [output for output in cell.outputs if output.output_type != "error"]

    # -- time ----------------------------------------------------------------------------

    def _time_left(self, cell: Any = None) -> float | None:
        limits = [self._cell_timeout or None]
        if self._deadline is not None:
            limits.append(max(0.01, self._deadline - time.monotonic()))
        return min((limit for limit in limits if limit is not None), default=None)

    def _what_ran_out(self) -> str:
        if self._deadline is not None and time.monotonic() >= self._deadline - 0.05:
            return f"the notebook's time limit of {self.notebook_timeout:g} s ran out in this cell"
        return f"the cell's time limit of {self._cell_timeout:g} s ran out"

    # -- the kernel's life -----------------------------------------------------------------

    async def _async_poll_kernel_alive(self) -> None:
        """Look after the kernel once a second: alive, how much memory, anything to save."""
        while True:
            await asyncio.sleep(1)
            self._note_memory()
            self.nb_man.save_if_due()
            try:
                if self._interrupts.error is not None:  # raised where exceptions are ignored
                    raise DeadKernelError("Cancelled")
                await self._async_check_alive()
            except DeadKernelError:
                assert self.task_poll_for_reply is not None
                self.task_poll_for_reply.cancel()
                return

    async def _async_check_alive(self) -> None:
        assert self.km is not None
        if not await ensure_async(self.km.is_alive()):
            # Asked once only: reading a return code from the process takes it away.
            process = getattr(getattr(self.km, "provisioner", None), "process", None)
            self._returncode = getattr(process, "returncode", None)
            raise DeadKernelError("Kernel died")

    def _how_it_died(self) -> str:
        text = f"the kernel {lifetime.in_words(self._returncode)} while this cell ran"
        return (
            f"{text}; the most memory seen was {self._peak / 1e6:,.0f} MB" if self._peak else text
        )

    def _note_memory(self, cell: Any = None) -> None:
        peak = lifetime.peak_memory(self._pid) if self._pid else None
        self._peak = max(self._peak, peak or 0)
        if self._peak:
            self.nb.metadata.setdefault("dataflow", {})["peak_memory_bytes"] = self._peak
            if cell is not None and cell.cell_type == "code":
                cell.metadata["dataflow"] = {"peak_memory_bytes": self._peak}

    def _end_kernel(self) -> None:
        """End the kernel, whatever state it is in; what it started ends with it."""
        try:
            if self.km is not None:
                if self.shutdown_kernel == "immediate":
                    lifetime.end_group(self._pid)
                self._cleanup_kernel()
        finally:
            lifetime.end_group(self._pid)
            self._pid = 0

    def _drop_tasks(self) -> None:
        """Cancel what still waits for the kernel: it will not answer any more."""

        async def drop() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        run_sync(drop)()

    # -- what the cells print and display ------------------------------------------------

    def output(self, outs: list, msg: dict, display_id: str | None, cell_index: int) -> Any:
        """Take one output into the cell, within the limits, and hand it on."""
        kind = msg["msg_type"]
        if kind == "stream" and not self.output_hook_stack[msg["parent_header"].get("msg_id")]:
            return self._stream(outs, msg["content"], cell_index)
        if kind in ("display_data", "execute_result"):
            room = self._room.get(cell_index, CELL_LIMIT)
            if room <= 0:
                return None  # a note already says that displays are missing
            self._room[cell_index] = room - limit_display(msg["content"]["data"], room)
        out = super().output(outs, msg, display_id, cell_index)
        if out is not None and "data" in out and "text/plain" in out["data"]:
            self._live.write("display", out["data"]["text/plain"])
        return out

    def _update_display_id(self, display_id: str, msg: dict) -> None:
        """Show a display anew, within the limit too."""
        limit_display(msg["content"]["data"], DISPLAY_LIMIT)
        super()._update_display_id(display_id, msg)

    def _stream(self, outs: list, content: dict, cell_index: int) -> Any:
        import nbformat

        if self.clear_before_next_output:
            outs[:] = []
            self._streams.pop(cell_index, None)
            self.clear_display_id_mapping(cell_index)
            self.clear_before_next_output = False
        name, text = content["name"], content["text"]
        streams = self._streams.setdefault(cell_index, {})
        if outs and outs[-1]["output_type"] != "stream":
            self._settle_streams()
            streams.clear()  # text after a display belongs below it
        kept = streams.get(name)
        if kept is None or not any(out is kept[1] for out in outs[-2:]):
            node = nbformat.v4.new_output("stream", name=name, text="")
            outs.append(node)
            kept = streams[name] = (Stream(self.text_limit, self.scrubber.longest), node)
        kept[0].write(text)
        self._live.write(name, text)
        return None

    def _settle_streams(self) -> None:
        """Put the text gathered so far into the notebook: done once a save, not once a line."""
        for streams in self._streams.values():
            for stream, node in streams.values():
                node["text"] = stream.text


def _pid_of(manager: Any) -> int:
    return int(getattr(getattr(manager, "provisioner", None), "pid", None) or 0)
