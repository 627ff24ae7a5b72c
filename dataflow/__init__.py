"""DATAFLOW: workflows whose stages are Jupyter notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataflow.api import Project as Project


def __getattr__(name: str) -> Any:
    """Import the API when it is asked for: every kernel of a run imports this package."""
    if name != "Project":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dataflow.api import Project

    return Project


def load_ipython_extension(ipython: object) -> None:
    """What `%load_ext dataflow` calls: `tables()` and `query("…")` in the notebook."""
    from dataflow.shared.explore import load_extension

    load_extension(ipython)
