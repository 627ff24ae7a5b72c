"""Run a notebook's cells in a kernel: their results, time limits and output."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from typing import Any

from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill.log import logger

from dataflow.base.interrupts import Interrupts
from dataflow.engine import Options
from dataflow.engine.kernel import KernelClient, peak_memory
from dataflow.engine.output import (
    CELL_LIMIT,
    DISPLAY_LIMIT,
    LISTENS_VARIABLE,
    RESULT_MESSAGE,
    SKIPPED,
    Listener,
    LiveText,
    Stream,
    limit_display,
    limit_error,
    to_file,
)
from dataflow.engine.saving import StageManager

LEAST_TEXT = 1_000  # characters kept of what follows a display, however much came before
EXITED = "KernelExit"
CANCELLED = ("Cancelled", "the run was cancelled while this cell ran")


class StageClient(KernelClient):
    """Runs the cells of one notebook in one kernel."""

    clear_before_next_output: bool

    def __init__(self, nb_man: StageManager, kernel_name: str, options: Options) -> None:
        super().__init__(
            nb_man,
            options,
            **{
                "kernel_name": kernel_name,
                "timeout": options.execution_timeout,
                "startup_timeout": options.start_timeout,
                "log": logger,
                "log_output": options.log_output,
                "stdout_file": options.stdout_file,
                "stderr_file": options.stderr_file,
                "resources": {"metadata": {"path": options.cwd}} if options.cwd else {},
                # Streams are joined here, as they arrive; nbclient's way of doing it at the
                # end of a cell takes time that grows with the square of the longest line.
                "coalesce_streams": False,
                # Waiting for the rest of a large output is no reason to fail.
                "iopub_timeout": 600,
                **options.more,
            },
        )
        self.timeout_func = self._time_left
        self.on_cell_executed = self._refuse_exit
        self._deadline: float | None = None
        self._streams: dict[int, dict[str, tuple[Stream, Any]]] = {}
        self._closed: dict[tuple[int, str], int] = {}
        self._room: dict[int, int] = {}
        self._live = LiveText(self.options.scrubber, list(self._listeners()))
        self._interrupts = Interrupts()
        self._peak = 0
        nb_man.before_save = self._settle_streams

    def _listeners(self) -> Iterator[Listener]:
        if self.options.on_output:
            yield self.options.on_output
        for stream, file in (("stdout", self.stdout_file), ("stderr", self.stderr_file)):
            if file is not None:
                yield to_file(stream, file)
        if self.log_output:
            yield lambda name, text: self.log.info(text)

    # -- the run -------------------------------------------------------------------------

    def execute(self) -> Any:
        """Start a kernel, run the cells, end the kernel; the notebook is changed in place."""
        self.reset_execution_trackers()
        self.nb.metadata.setdefault("dataflow", {})["results"] = []
        given = self.options.environment
        environment = {**(os.environ if given is None else given), LISTENS_VARIABLE: "1"}
        with self._interrupts:
            self._start(environment)
            try:
                if self.options.on_ready is not None:
                    self.options.on_ready()
                if self.options.notebook_timeout:
                    self._deadline = time.monotonic() + self.options.notebook_timeout
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

    def _run_cells(self) -> bool:
        """Run the cells in order; whether the kernel is still there to talk to."""
        manager: StageManager = self.nb_man
        for index, cell in enumerate(self.nb.cells):
            manager.cell_start(cell, index)
            try:
                self.execute_cell(cell, index)
            except CellExecutionError as error:
                if error.ename == SKIPPED:
                    self._drop_error(cell)
                    manager.cell_skipped(cell)
                else:
                    self._keep_error(cell, error)
                    manager.cell_exception(cell, index, exception=error)
                return error.ename != EXITED
            except DeadKernelError:
                if self._interrupts.error is not None:
                    manager.cell_failed(cell, *CANCELLED, cancelled=True)
                else:
                    manager.cell_failed(cell, "KernelDied", self._how_it_died(self._peak))
                return False
            except CellTimeoutError:
                manager.cell_failed(cell, "Timeout", self._what_ran_out())
                return False
            except asyncio.CancelledError:
                raise
            except Exception as error:  # while saving, most likely: a full disk
                if self._interrupts.error is not None:
                    manager.cell_failed(cell, *CANCELLED, cancelled=True)
                else:
                    manager.cell_failed(cell, type(error).__name__, str(error))
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

    def _refuse_exit(self, *, execute_reply: Any, **_: Any) -> None:
        """Fail a cell that called `exit()`: its kernel ends soon, maybe in a later cell."""
        for payload in execute_reply["content"].get("payload", []):
            if payload.get("source") == "ask_exit" and not payload.get("keepkernel"):
                text = "the cell ended its kernel; stage.skip(reason) ends a stage early"
                raise CellExecutionError(traceback=f"{EXITED}: {text}", ename=EXITED, evalue=text)

    def _drop_error(self, cell: Any) -> None:
        cell.outputs = [output for output in cell.outputs if output.output_type != "error"]

    def _keep_error(self, cell: Any, error: CellExecutionError) -> None:
        """Keep the reason in the notebook: the author's own hook may have shown it as text."""
        import nbformat

        if not any(output.output_type == "error" for output in cell.outputs):
            text = f"{error.ename}: {error.evalue}"
            content = {"ename": error.ename, "evalue": error.evalue, "traceback": [text]}
            limit_error(content, self.options.scrubber.longest)
            cell.outputs.append(nbformat.v4.new_output("error", **content))

    # -- time ----------------------------------------------------------------------------

    def _time_left(self, cell: Any = None) -> float | None:
        limits = [self.options.execution_timeout or None]
        if self._deadline is not None:
            limits.append(max(0.01, self._deadline - time.monotonic()))
        return min((limit for limit in limits if limit is not None), default=None)

    def _what_ran_out(self) -> str:
        if self._deadline is not None and time.monotonic() >= self._deadline - 0.05:
            return f"the notebook's time limit of {self.options.notebook_timeout:g} s ran out in this cell"
        return f"the cell's time limit of {self.options.execution_timeout:g} s ran out"

    # -- the kernel's life -----------------------------------------------------------------

    async def _async_poll_kernel_alive(self) -> None:
        """Once a second: check that the kernel is alive, note its memory, save when it is time."""
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

    def _note_memory(self, cell: Any = None) -> None:
        peak = peak_memory(self._pid) if self._pid else None
        self._peak = max(self._peak, peak or 0)
        if self._peak:
            self.nb.metadata.setdefault("dataflow", {})["peak_memory_bytes"] = self._peak
            if cell is not None and cell.cell_type == "code":
                cell.metadata["dataflow"] = {"peak_memory_bytes": self._peak}

    # -- what the cells print and display ------------------------------------------------

    def process_message(self, msg: dict, cell: Any, cell_index: int) -> Any:
        """Take one message of the kernel; what the stage reports about itself is kept at once.

        It is not output: limits, `clear_output` and `%%capture` do not affect it.
        """
        if msg["msg_type"] == RESULT_MESSAGE:
            result = {**msg["content"], "cell_index": cell_index}
            self.nb.metadata["dataflow"]["results"].append(result)
            return None
        return super().process_message(msg, cell, cell_index)

    def output(self, outs: list, msg: dict, display_id: str | None, cell_index: int) -> Any:
        """Take one output into the cell, within the limits, and pass it on."""
        kind = msg["msg_type"]
        if kind == "stream" and not self.output_hook_stack[msg["parent_header"].get("msg_id")]:
            return self._stream(outs, msg["content"], cell_index)
        if kind in ("display_data", "execute_result"):
            room = self._room.get(cell_index, CELL_LIMIT)
            if room <= 0:
                return None  # a note already says that displays are missing
            self._room[cell_index] = room - limit_display(msg["content"]["data"], room)
        if kind == "error":
            limit_error(msg["content"], self.options.scrubber.longest)
        out = super().output(outs, msg, display_id, cell_index)
        if out is not None and "data" in out and "text/plain" in out["data"]:
            self._live.write("display", out["data"]["text/plain"])
        return out

    def _update_display_id(self, display_id: str, msg: dict) -> None:
        """Update a display, within the limit too."""
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
            self._close_streams(cell_index)  # text after a display belongs below it
        kept = streams.get(name)
        if kept is None or not any(out is kept[1] for out in outs[-2:]):
            node = nbformat.v4.new_output("stream", name=name, text="")
            outs.append(node)
            room = self.options.text_limit - self._closed.get((cell_index, name), 0)
            limit = max(room, LEAST_TEXT)
            kept = streams[name] = (Stream(limit, self.options.scrubber.longest), node)
        kept[0].write(text)
        self._live.write(name, text)
        return None

    def _close_streams(self, cell_index: int) -> None:
        """Begin new texts, within what is left of the cell's limit."""
        self._settle_streams()
        streams = self._streams[cell_index]
        for name, (_, node) in streams.items():
            key = (cell_index, name)
            self._closed[key] = self._closed.get(key, 0) + len(node["text"])
        streams.clear()

    def _settle_streams(self) -> None:
        """Put the text gathered so far into the notebook: once per save, not once per line."""
        for streams in self._streams.values():
            for stream, node in streams.values():
                node["text"] = stream.text
