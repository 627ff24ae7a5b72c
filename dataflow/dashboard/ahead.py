"""The pages are built while a run's stages go on, so that its dashboard step finds them built."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dataflow.base.memory import free_memory
from dataflow.dashboard.build import is_stale, staged_pages
from dataflow.dashboard.build_errors import PAGE_ERROR
from dataflow.dashboard.install import installed_hash, packages_hash
from dataflow.dashboard.node import Stopped
from dataflow.errors import DataflowError
from dataflow.project import Project

NEEDED = 3 << 30  # bytes: of a build, and something for the stages beside it


@contextmanager
def pages_built_ahead(
    project: Project, workflow_id: str, say: Callable[[str], None]
) -> Iterator[None]:
    """Build the pages in the background while the block runs, if they have to be built.

    Nobody sees them: `staged_pages` waits for them, and finds them if they are what it wants. What
    still goes on at the end of the block is ended, and leaves nothing behind.

    Args:
        project: the project.
        workflow_id: the workflow that runs, whose pages they are.
        say: takes what went wrong, in words.
    """
    if not _is_wanted(project, workflow_id, say):
        yield
        return
    over = threading.Event()

    def build() -> None:
        try:
            with staged_pages(project, workflow_id, until=over.is_set):
                pass  # shown by the step, with the data
        except Stopped:
            pass
        except DataflowError as error:
            if PAGE_ERROR in error.message:
                say(f"  … the step dashboard will fail, unless this is fixed by then: {error}")
            else:
                say(f"  … the dashboard's pages are built at the end: {error}")
        except Exception as error:
            say(f"  … the dashboard's pages are built at the end: {type(error).__name__}: {error}")

    thread = threading.Thread(target=build, name="pages", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _is_wanted(project: Project, workflow_id: str, say: Callable[[str], None]) -> bool:
    try:
        if not (project.settings.build_pages and is_stale(project, workflow_id)):
            return False
        # An installation is not ended halfway.
        if installed_hash(project) != packages_hash(project):
            return False
    except (DataflowError, OSError):
        return False  # the step says what is wrong, if it comes to that
    free = free_memory()
    if free < NEEDED:
        say(
            f"  … the dashboard's pages are built at the end: {free / 1e9:.1f} GB of memory are "
            f"free, and beside stages it takes {NEEDED / 1e9:.1f}"
        )
        return False
    return True
