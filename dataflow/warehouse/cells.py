"""Which cell of a notebook runs, as seen from its kernel: by the number that Jupyter shows at it."""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Callable
from typing import Any


def current() -> int | None:
    """The execution count of the cell that runs; None outside of IPython."""
    shell = _shell()
    history = None if shell is None else shell.history_manager
    # Its own count is raised before or after the cell's code runs, depending on its version.
    return None if history is None else len(history.input_hist_parsed) - 1


def at_end_of_each(told: Callable[[int], None]) -> Callable[[], None]:
    """Call a bound method at the end of each cell, until what is returned is called.

    Args:
        told: takes the execution count; its object is not kept alive, and its errors are ignored.
    """
    shell = _shell()
    if shell is None:
        return lambda: None
    method = weakref.WeakMethod(told)

    def ended(result: Any) -> None:
        # An error would be shown as output of the author's cell.
        with contextlib.suppress(Exception):
            if (function := method()) is not None and result.execution_count is not None:
                function(result.execution_count)

    def forget() -> None:
        with contextlib.suppress(ValueError):
            shell.events.unregister("post_run_cell", ended)

    shell.events.register("post_run_cell", ended)
    return forget


def _shell() -> Any:
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()
