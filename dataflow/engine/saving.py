"""The state of a notebook while it is executed, and its file on disk."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from papermill.engines import NotebookExecutionManager

from dataflow.base.files import write_whole
from dataflow.engine import Options


def write_notebook(nb: Any, path: Path) -> None:
    """Write the notebook `nb` to `path`, whole or not at all."""
    import nbformat

    write_whole(path, nbformat.writes(nb) + "\n")


class StageManager(NotebookExecutionManager):
    """papermill's bookkeeping with honest states and whole, clean, timely files.

    Args:
        nb: the notebook.
        options: how it is executed.
    """

    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    def __init__(self, nb: Any, options: Options) -> None:
        super().__init__(
            nb,
            output_path=options.output_path,
            log_output=options.log_output,
            progress_bar=options.progress_bar,
        )
        self.scrubber = options.scrubber
        self.before_save: Callable[[], None] = lambda: None
        # papermill's own default of 30 s is for saves within a cell; it saves at every cell's
        # start and end besides.
        self._every = min(options.autosave_cell_every or 1.0, 1.0)
        self._next_save = 0.0
        self._changed = True
        self._end = self.COMPLETED

    def notebook_start(self, **kwargs: Any) -> None:
        """Clear the notebook's marks and put the first file on disk."""
        self.nb.metadata.setdefault("papermill", {})
        super().notebook_start(**kwargs)
        self.save(now=True)

    def save(self, *, now: bool = False, **kwargs: Any) -> None:
        """Save when it is time to, or `now`.

        papermill saves twice per cell, which takes longer than the cells of a long notebook. Here the time between two saves is a second, and at
        least ten times what the last save took.
        """
        self._changed = True
        if now or time.monotonic() >= self._next_save:
            self._write()

    def autosave_cell(self, **kwargs: Any) -> None:
        """Called for every message of the kernel: save when it is time to."""
        self.save()

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

    def cell_exception(self, cell: Any, cell_index: int | None = None, **kwargs: Any) -> None:
        """Mark `cell` as the one that failed."""
        super().cell_exception(cell, cell_index, **kwargs)
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

    def cell_complete(self, cell: Any, cell_index: int | None = None, **kwargs: Any) -> None:
        """Note the cell's end and duration; a failed or cancelled cell stays what it is."""
        status = cell.metadata.papermill.get("status")
        super().cell_complete(cell, cell_index, **kwargs)
        if status in (self.FAILED, self.CANCELLED):
            cell.metadata.papermill["status"] = status

    def notebook_complete(self, **kwargs: Any) -> None:
        """Note the notebook's end and save it; cells that never ran stay `pending`."""
        self.end_time = self.now()
        metadata = self.nb.metadata.papermill
        metadata["end_time"] = self.end_time.isoformat()
        if self.start_time is not None:
            metadata["duration"] = (self.end_time - self.start_time).total_seconds()
        metadata["status"] = self._end
        self.complete_pbar()
        self.cleanup_pbar()
        self._write(final=True)
