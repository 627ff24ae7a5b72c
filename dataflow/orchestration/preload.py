"""What Dagster and a stage import only when they are at work, imported before it is needed.

Without it, a step in a process of its own spends more than a second on importing, whose process is
therefore forked from one that has this module imported (`executor.py`). A run in one process does
it while its first notebook runs in a kernel, and this process has nothing to do.
"""

import contextlib
import gc
import importlib
import sys
import threading

# The pages of executed notebooks are made with the last two.
NEEDED = (
    "upath", "duckdb", "dagster._core.execution.api", "dagster._core.storage.event_log.sqlite",
    "dagster._core.storage.runs.sqlite", "dagster._core.storage.schedules.sqlite", "psutil",
    "papermill", "dataflow.engine.client", "dataflow.warehouse.store", "dataflow.orchestration.run",
    "dataflow.orchestration.build", "dataflow.orchestration.lost",
    "dataflow.orchestration.databases", "nbformat", "nbconvert.filters.markdown_mistune", "jinja2",
)  # fmt: skip

_wanted = [*NEEDED]
_begun = False


def preload(*more: str) -> None:
    """Import what a run needs, and `more`; for a process that others are forked from, or waits."""
    for name in (*NEEDED, *more):
        importlib.import_module(name)
    # A fork that collects garbage looks only through what is its own: no copies of all the pages.
    gc.collect()
    gc.freeze()


def want(*names: str) -> None:
    """Have the modules `names`, which are needed after the run, imported by `import_meanwhile`."""
    _wanted.extend(names)


def import_meanwhile() -> None:
    """Import what is still missing in a thread, while this process waits for a kernel; once."""
    global _begun
    missing = [name for name in _wanted if name not in sys.modules]
    if _begun or not missing:
        return
    _begun = True

    def import_all() -> None:
        for name in missing:
            # An error comes again where the module is used, and says there what for.
            with contextlib.suppress(Exception):
                importlib.import_module(name)

    threading.Thread(target=import_all, name="imports", daemon=True).start()
