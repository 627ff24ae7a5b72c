"""A papermill engine that tells the truth about how a notebook ended.

Registered with papermill as `dataflow` (`papermill --engine dataflow in.ipynb out.ipynb`
works anywhere); DATAFLOW's own runs use it too, with more of its options. Compared with
papermill's own and dagstermill's engines, it

- marks the right cell, with the reason, when the kernel dies, time runs out or the run is
  cancelled, and leaves the cells that never ran as `pending`;
- ends the kernel and the processes it started, and ties the kernel's life to this process;
- saves at intervals instead of twice per cell, always atomically, without secrets;
- keeps chatty output within limits, and passes it on while the cell runs;
- notes time per cell and peak memory in the notebook's metadata.

Of the rest of `dataflow` it uses `dataflow.base` only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from dataflow.engine.output import TEXT_LIMIT
from dataflow.engine.secrets import Scrubber


class NoKernel(Exception):
    """There is no Jupyter kernel of the name that a notebook asks for."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"there is no Jupyter kernel `{name}`")
        self.known = known


class KernelFailed(Exception):
    """A kernel ended as soon as it was started, time after time."""


@dataclass(frozen=True)
class Options:
    """How a notebook is executed.

    Args:
        output_path: where it is saved while it runs and at the end.
        cwd: the kernel's working directory.
        environment: the kernel's environment; this process's by default.
        scrubber: takes secrets out of what is saved and passed on.
        on_output: called with ("stdout" | "stderr" | "display", text) while cells run.
        kernel_server: the address of the process from which IPython's kernels are forked; empty to
            start each.
        on_ready: called when the kernel has started and is about to run the first cell.
        first_line: Python that an IPython kernel runs before the first cell.
        notebook_timeout: seconds for all cells together; 0 for no limit.
        execution_timeout: seconds for each cell.
        start_timeout: seconds for the kernel to start.
        text_limit: characters kept of one cell's stdout and of its stderr.
        autosave_cell_every: seconds between two saves; a second at most.
        progress_bar: papermill's progress bar.
        log_output: whether output goes to papermill's log too.
        stdout_file: where the cells' standard output goes too.
        stderr_file: where the cells' standard error goes too.
        more: further options of nbclient's `NotebookClient`.
    """

    output_path: str | None = None
    cwd: str | None = None
    environment: Mapping[str, str] | None = None
    scrubber: Scrubber = field(default_factory=Scrubber)
    on_output: Callable[[str, str], None] | None = None
    kernel_server: str = ""
    on_ready: Callable[[], None] | None = None
    first_line: str = ""
    notebook_timeout: float = 0.0
    execution_timeout: float | None = None
    start_timeout: float = 120
    text_limit: int = TEXT_LIMIT
    autosave_cell_every: float = 1.0
    progress_bar: bool | dict[str, Any] = True
    log_output: bool = False
    stdout_file: Any = None
    stderr_file: Any = None
    more: Mapping[str, Any] = field(default_factory=dict)


def execute(nb: Any, kernel_name: str, options: Options) -> Any:
    """Execute the prepared notebook `nb` in place, and return it without secrets.

    Raises:
        NoKernel: there is no Jupyter kernel of that name.
        KernelFailed: it ends as soon as it is started, time after time.
        KeyboardInterrupt: (or whatever a signal's handler raises) it was cancelled;
            the notebook is complete on disk nevertheless.
    """
    # Importing papermill imports every registered engine, this module too.
    from dataflow.engine.client import StageClient
    from dataflow.engine.saving import StageManager

    manager = StageManager(nb, options)
    manager.notebook_start()
    try:
        StageClient(manager, kernel_name, options).execute()
    except BaseException as error:
        manager.broken_off(error)
        raise
    finally:
        manager.notebook_complete()
    return manager.nb


class DataflowEngine:
    """What papermill calls; not a subclass of its `Engine`, which is not defined yet then."""

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str, **options: Any) -> Any:
        """Execute `nb` with the options of `Options`, and of papermill's own engine."""
        options.pop("input_path", None)
        if timeout := options.pop("timeout", None):  # papermill's other name for it
            options["execution_timeout"] = options.get("execution_timeout") or timeout
        known = {each.name for each in fields(Options)}
        more = {name: options.pop(name) for name in options.keys() - known}
        return execute(nb, kernel_name, Options(**options, more=more))

    @classmethod
    def nb_kernel_name(cls, nb: Any, name: str | None = None) -> str:
        """The kernel that `nb` asks for, or `name`."""
        from papermill.utils import nb_kernel_name

        return str(nb_kernel_name(nb, name))

    @classmethod
    def nb_language(cls, nb: Any, language: str | None = None) -> str:
        """The language of `nb`, or `language`."""
        from papermill.utils import nb_language

        return str(nb_language(nb, language))
