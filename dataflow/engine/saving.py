"""The state of a notebook while it is executed, and its file on disk."""

from __future__ import annotations

import copy
import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dataflow.base.files import write_whole
from dataflow.engine import Options


def write_notebook(nb: Any, path: Path) -> None:
    """Write the notebook `nb` to `path`, whole or not at all."""
    import nbformat

    write_whole(path, nbformat.writes(nb) + "\n")


# Importing papermill takes longer than starting a kernel, so nothing here does; its log is used.
logger = logging.getLogger("papermill")
# What a cell's comment may have the progress bar say.
_DESCRIPTION = re.compile(r"papermill_description=(\S+)")


class StageManager:
    """papermill's bookkeeping in a notebook's metadata, with honest states and whole, timely files.

    Args:
        nb: the notebook.
        options: how it is executed.
    """

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    def __init__(self, nb: Any, options: Options) -> None:
        self.nb = nb
        self.output_path = options.output_path
        self.scrubber = options.scrubber
        self.before_save: Callable[[], None] = lambda: None
        self._log_output = options.log_output
        self._bar = _progress_bar(options.progress_bar, len(nb.cells))
        # papermill's own default of 30 s is for saves within a cell; it saves at every cell's
        # start and end besides.
        self._every = min(options.autosave_cell_every or 1.0, 1.0)
        self._next_save = 0.0
        self._changed = True
        self._end = self.COMPLETED
        self._begun = datetime.now(UTC)

    def notebook_start(self) -> None:
        """Clear the notebook's marks and put the first file on disk."""
        self._begun = datetime.now(UTC)
        marks = self.nb.metadata.setdefault("papermill", {})
        marks.update(
            start_time=self._begun.isoformat(), end_time=None, duration=None, exception=None
        )
        for cell in self.nb.cells:
            if cell.cell_type == "code":
                cell.update(execution_count=None, outputs=[])
            cell.metadata["papermill"] = {
                "exception": None,
                "start_time": None,
                "end_time": None,
                "duration": None,
                "status": self.PENDING,
            }
        self.save(now=True)

    def cell_start(self, cell: Any, cell_index: int) -> None:
        """Note that `cell` runs."""
        if self._log_output:
            logger.info("Executing Cell %s", f"{cell_index + 1:-<40}")
        cell.metadata.papermill.update(
            start_time=datetime.now(UTC).isoformat(), status=self.RUNNING, exception=False
        )
        if self._bar is not None and (said := _DESCRIPTION.search(cell.source or "")):
            self._bar.set_description(f"Executing {said[1]}")
        self.save()

    def save(self, *, now: bool = False) -> None:
        """Save when it is time to, or `now`.

        papermill saves twice per cell, which takes longer than the cells of a long notebook. Here
        the time between two saves is a second, and at least ten times what the last save took.
        """
        self._changed = True
        if now or time.monotonic() >= self._next_save:
            self._write()

    def save_if_due(self) -> None:
        """Save what has changed since the last save, when it is time to."""
        if self._changed and time.monotonic() >= self._next_save:
            self._write()

    def _write(self, *, final: bool = False) -> None:
        start = time.monotonic()
        self.before_save()
        if final:
            # What follows (papermill's own last save, the run's record) sees clean content only.
            self.scrubber.notebook(self.nb)
        if self.output_path:
            if Path(self.output_path).exists() or "://" not in str(self.output_path):
                write_notebook(self._clean(final), Path(self.output_path))
            else:  # a store that papermill has a handler for, such as s3://
                from papermill.iorw import write_ipynb

                write_ipynb(self._clean(final), self.output_path)
        self._changed = False
        took = time.monotonic() - start
        self._next_save = time.monotonic() + max(self._every, 10 * took)

    def _clean(self, final: bool) -> Any:
        if final or not self.scrubber:
            return self.nb
        return self.scrubber.notebook(copy.deepcopy(self.nb))

    def cell_exception(self, cell: Any) -> None:
        """Mark `cell` as the one that failed."""
        cell.metadata.papermill.update(exception=True, status=self.FAILED)
        self.nb.metadata.papermill["exception"] = True
        self._end = self.FAILED

    def cell_failed(self, cell: Any, ename: str, evalue: str, *, cancelled: bool = False) -> None:
        """Mark `cell` as ended from outside, with the reason as its last output.

        Args:
            cell: the cell that was running.
            ename: what happened, in the form of an exception's name.
            evalue: the reason, a sentence.
            cancelled: whether it was cancelled rather than having failed.
        """
        import nbformat

        self.before_save()
        cell.outputs.append(
            nbformat.v4.new_output(
                "error", ename=ename, evalue=evalue, traceback=[f"{ename}: {evalue}"]
            )
        )
        self.cell_exception(cell)
        if cancelled:
            cell.metadata.papermill["status"] = self.CANCELLED
            self._end = self.CANCELLED

    def broken_off(self, error: BaseException) -> None:
        """Note that `error` ended the execution when no cell could be marked with it.

        The kernel did not start, or a signal came between two cells.
        """
        if self._end != self.COMPLETED:
            return
        self._end = self.FAILED if isinstance(error, Exception) else self.CANCELLED
        self.nb.metadata.papermill["exception"] = True
        for cell in self.nb.cells:
            if cell.metadata.papermill["status"] == self.RUNNING:
                cell.metadata.papermill["status"] = self._end

    def cell_skipped(self, cell: Any) -> None:
        """Mark `cell` as the one that ended the stage early, as a success."""
        self._end = self.SKIPPED

    def cell_complete(self, cell: Any, cell_index: int) -> None:
        """Note the cell's end and duration; a failed or cancelled cell stays what it is."""
        end, marks = datetime.now(UTC), cell.metadata.papermill
        if self._log_output:
            logger.info("Ending Cell %s", f"{cell_index + 1:-<43}")
        marks["end_time"] = end.isoformat()
        if marks.get("start_time"):
            marks["duration"] = (end - datetime.fromisoformat(marks["start_time"])).total_seconds()
        if marks["status"] not in (self.FAILED, self.CANCELLED):
            marks["status"] = self.COMPLETED
        self.save()
        if self._bar is not None:
            self._bar.update(1)

    def notebook_complete(self) -> None:
        """Note the notebook's end and save it; cells that never ran stay `pending`."""
        end = datetime.now(UTC)
        self.nb.metadata.papermill.update(
            end_time=end.isoformat(),
            duration=(end - self._begun).total_seconds(),
            status=self._end,
        )
        if self._bar is not None:
            self._bar.close()
        self._write(final=True)


def _progress_bar(wanted: bool | dict[str, Any], cells: int) -> Any:
    """papermill's progress bar, with options of `tqdm` if they were given; None for no bar."""
    if not wanted:
        return None
    from tqdm.auto import tqdm

    options = wanted if isinstance(wanted, dict) else {}
    return tqdm(**{"total": cells, "unit": "cell", "desc": "Executing", **options})
