"""A papermill engine that tells the truth about how a notebook ended.

Registered with papermill as `dataflow` (`papermill --engine dataflow in.ipynb out.ipynb`
works anywhere); DATAFLOW's own runs use it too, with more of its options. Compared with
papermill's own and dagstermill's engine, of whose family it is, it

- marks the right cell, with the reason, when the kernel dies, time runs out or the run is
  cancelled, and leaves the cells that never ran as `pending`;
- ends the kernel and what that started, and ties the kernel's life to this process;
- saves by the clock instead of twice per cell, always whole files, without secrets;
- keeps chatty output within limits, and hands it on while the cell runs;
- notes time per cell and peak memory in the notebook's metadata.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataflow.stages.scrub import Scrubber

if TYPE_CHECKING:
    from dataflow.stages.manager import StageManager


class DataflowEngine:
    """Executes a notebook for papermill; see the module's text for what it adds.

    Not a subclass of papermill's `Engine`: importing papermill imports every registered
    engine, this one too, so whichever of the two came first would meet a half-made other.
    """

    @classmethod
    def execute_notebook(
        cls,
        nb: Any,
        kernel_name: str,
        output_path: str | None = None,
        progress_bar: bool | dict = True,
        log_output: bool = False,
        autosave_cell_every: float = 1.0,
        scrubber: Scrubber | None = None,
        **kwargs: Any,
    ) -> Any:
        """Execute `nb` and return it, executed, scrubbed of secrets.

        Args:
            nb: the prepared notebook; changed in place.
            kernel_name: the Jupyter kernel to run it in.
            output_path: where it is saved while it runs and at the end.
            progress_bar: papermill's progress bar.
            log_output: whether output goes to papermill's log too.
            autosave_cell_every: seconds between two saves at least.
            scrubber: takes secrets out of what is saved and handed on.
            kwargs: options of `StageClient`, and of papermill's own engine.

        Raises:
            KeyboardInterrupt: (or what else a signal's handler raises) it was cancelled;
                the notebook is complete on disk all the same.
        """
        from dataflow.stages.manager import StageManager

        scrubber = scrubber or Scrubber()
        manager = StageManager(
            nb,
            output_path=output_path,
            progress_bar=progress_bar,
            log_output=log_output,
            autosave_cell_every=autosave_cell_every,
            scrubber=scrubber,
        )
        manager.notebook_start()
        try:
            cls.execute_managed_notebook(
                manager, kernel_name, log_output=log_output, scrubber=scrubber, **kwargs
            )
        except BaseException as error:
            manager.broken_off(error)
            raise
        finally:
            manager.cleanup_pbar()
            manager.notebook_complete()
        return manager.nb

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

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: StageManager,
        kernel_name: str,
        log_output: bool = False,
        stdout_file: Any = None,
        stderr_file: Any = None,
        start_timeout: float = 120,
        execution_timeout: float | None = None,
        cwd: str | None = None,
        environment: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Run the cells; see `StageClient` for the options.

        Args:
            nb_man: the state of the execution.
            kernel_name: the Jupyter kernel to run it in.
            log_output: whether output goes to papermill's log too.
            stdout_file: where the cells' standard output goes too.
            stderr_file: where the cells' standard error goes too.
            start_timeout: seconds for the kernel to start.
            execution_timeout: seconds for each cell.
            cwd: the kernel's working directory.
            environment: the kernel's environment; this process's by default.
            kwargs: further options of `StageClient`.
        """
        from papermill.log import logger

        from dataflow.stages.client import StageClient

        for unused in ("input_path", "startup_timeout"):
            kwargs.pop(unused, None)
        timeout = execution_timeout or kwargs.pop("timeout", None)
        kwargs.pop("timeout", None)
        client = StageClient(
            nb_man,
            timeout=timeout,
            startup_timeout=start_timeout,
            kernel_name=kernel_name,
            log=logger,
            log_output=log_output,
            stdout_file=stdout_file,
            stderr_file=stderr_file,
            resources={"metadata": {"path": cwd}} if cwd else {},
            **kwargs,
        )
        client.execute(**({"env": environment} if environment is not None else {}))
