"""What a stage reports about its own result: figures, checks, and that there was nothing to do.

By hand, in JupyterLab, each call shows a small box. In a run the kernel sends the result beside the
box as well, since a display can be cleared or captured, and the engine keeps it in the executed
notebook's metadata (see `dataflow.stages.result`).
"""

from __future__ import annotations

from typing import Any, Literal

from dataflow.stages.result import Result, StageSkipped, show


class Passed(int):
    """Whether a check passed; shows nothing as the last line of a cell, where the box says it."""

    def _ipython_display_(self) -> None:
        """IPython's question how to show it."""

    def __repr__(self) -> str:
        return str(bool(self))


def record(table: str | None = None, rows: int | None = None, **metadata: Any) -> None:
    """Record figures about the stage, or about a table it wrote.

    They become metadata of the table's asset and of the run.

    Args:
        table: the table the figures are about, `table` or `schema.table`; without it they
            are about the stage.
        rows: how many rows were written.
        metadata: more figures, by name: numbers, text, dates, small lists and dicts.
    """
    figures = dict(metadata)
    if rows is not None:
        figures = {"rows": int(rows), **figures}
    show(Result("record", table=table, metadata=figures))


def check(
    name: str,
    passed: Any,
    *,
    severity: Literal["error", "warn"] = "error",
    table: str | None = None,
    **metadata: Any,
) -> Passed:
    """Check something about the data; it becomes an asset check of the same name.

    A failed check of severity "error" stops downstream steps, a warning does not.

    Args:
        name: what should be true, such as "no negative depths". A plain string, not computed:
            it is read from the notebook before it runs.
        passed: whether it holds (`bool(passed)` counts; numpy's booleans are fine).
        severity: "error" or "warn".
        table: the table it is about; without it the stage's first table.
        metadata: figures that explain the result, by name.

    Returns:
        Whether it passed, as a condition: true or false.

    Raises:
        ValueError: `severity` is neither.
    """
    if severity not in ("error", "warn"):
        raise ValueError(f'severity is "error" or "warn", not {severity!r}')
    ok = bool(passed)
    show(Result("check", name=name, passed=ok, severity=severity, table=table, metadata=metadata))
    return Passed(ok)


def skip(reason: str) -> None:
    """End the stage here, as a success: there is nothing to do.

    The cells that follow are not run; downstream steps run with the tables as they are. By hand
    it shows the reason and stops "Run all" at this cell.

    Args:
        reason: why, for the reader of the run.
    """
    show(Result("skip", name=reason))
    raise StageSkipped(reason)
