"""What a stage left behind when a test ran it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dataflow import errors
from dataflow.base.sql import split_table
from dataflow.base.words import indented, nearest, numbered_lines

if TYPE_CHECKING:
    import pandas as pd
    from nbformat import NotebookNode

    from dataflow.stages.execute import CellError, StageOutcome

Value = TypeVar("Value")


class StageFailed(errors.StageFailed, AssertionError):
    """A stage that a test ran failed, or succeeded although it was expected to fail.

    Args:
        message: what failed, with the cell's source and the last frame.
        run: what the stage left behind.
        hint: where to look further.
    """

    def __init__(self, message: str, run: StageRun, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.run = run


class Named(dict[str, Value]):
    """A dict whose KeyError names the nearest key there is."""

    def __init__(self, kind: str, items: Mapping[str, Value]) -> None:
        super().__init__(items)
        self._kind = kind

    def __missing__(self, name: str) -> Value:
        raise UnknownName(self._kind, name, self)


class UnknownName(KeyError):
    """No table, check or record of that name."""

    def __init__(self, kind: str, name: str, known: Mapping[str, Any]) -> None:
        hint = nearest(name, known) or f"The stage left no {kind}."
        super().__init__(f"there is no {kind} {name!r}. {hint}")

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the repr


class Tables(Mapping[str, "pd.DataFrame"]):
    """The tables and views of the test's warehouse, read as data frames when asked for.

    A bare name is a table of the workflow's own schema `<workflow>_raw`.
    """

    def __init__(self, workflow_id: str, query: Callable[[str], pd.DataFrame]) -> None:
        self._workflow_id = workflow_id
        self._query = query

    def __getitem__(self, name: str) -> pd.DataFrame:
        table = split_table(name, self._workflow_id)
        names = list(self)
        if str(table) not in names:
            raise UnknownName("table", str(table), dict.fromkeys(names))
        return self._query(f"SELECT * FROM {table.quoted}")

    def __iter__(self) -> Iterator[str]:
        found = self._query(
            "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables "
            "WHERE table_catalog = current_catalog() AND table_schema <> '_dataflow' ORDER BY name"
        )
        return iter(found["name"])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<tables: {', '.join(self) or 'none'}>"


@dataclass(frozen=True)
class Check:
    """The result of a `stage.check`.

    Args:
        name: what should hold.
        passed: whether it does.
        severity: "error" or "warn".
        table: the table it is about, as the notebook names it; None for the stage's first.
        metadata: its figures.
    """

    name: str
    passed: bool
    severity: str
    table: str | None
    metadata: dict[str, Any]


@dataclass(frozen=True)
class StageRun:
    """What a stage left behind when a test ran it.

    Args:
        workflow_id: the workflow.
        stage: the stage.
        status: succeeded, skipped or failed; failed also when a check of severity "error"
            did not pass, as in a run.
        tables: the warehouse as it is now; see `Tables`.
        records: the figures given to `stage.record`, by table; "" for the stage itself.
        checks: the results of `stage.check`, by name.
        error: the cell that failed; None when none did.
        skipped: the reason given to `stage.skip`; None when it was not called.
        seconds: how long it took, the kernel's start included.
        path: the executed notebook.
    """

    workflow_id: str
    stage: str
    status: str
    tables: Tables
    records: Mapping[str, dict[str, Any]]
    checks: Mapping[str, Check]
    error: CellError | None
    skipped: str | None
    seconds: float
    path: Path

    @classmethod
    def of(
        cls,
        workflow_id: str,
        stage: str,
        outcome: StageOutcome,
        query: Callable[[str], pd.DataFrame],
    ) -> StageRun:
        """The outcome of executing a stage, in the form that tests use."""
        report = outcome.report
        status = outcome.status
        if status == "succeeded" and report.skipped is not None:
            status = "skipped"
        if report.failed_checks:
            status = "failed"
        checks = {
            check["name"]: Check(
                check["name"],
                check["passed"],
                check.get("severity", "error"),
                check["table"],
                check["metadata"],
            )
            for check in report.decisive_checks.values()
        }
        return cls(
            workflow_id,
            stage,
            status,
            Tables(workflow_id, query),
            Named("record", report.tables),
            Named("check", checks),
            outcome.error,
            report.skipped,
            outcome.seconds,
            outcome.notebook,
        )

    @property
    def notebook(self) -> NotebookNode:
        """The executed notebook."""
        import nbformat

        return nbformat.read(self.path, as_version=4)

    @property
    def output(self) -> str:
        """Everything the notebook printed, in order."""
        return "".join(
            output.text
            for cell in self.notebook.cells
            for output in cell.get("outputs", [])
            if output.output_type == "stream"
        )

    def query(self, sql: str) -> pd.DataFrame:
        """The rows of a SELECT on the test's warehouse."""
        return self.tables._query(sql)

    @property
    def failure(self) -> str | None:
        """The failure in words, with the cell's source and the last frame; None without one."""
        if self.error is not None:
            parts = [
                f"stage {self.stage} of {self.workflow_id} failed in {self.error.headline}",
                numbered_lines(self.error.source),
            ]
            if self.error.last_frame:
                parts.append(indented(self.error.last_frame))
            return "\n\n".join(parts)
        failed = [c for c in self.checks.values() if not c.passed and c.severity == "error"]
        if failed:
            lines = [f"stage {self.stage} of {self.workflow_id}: a check did not pass"]
            for check in failed:
                figures = ", ".join(f"{name}={value!r}" for name, value in check.metadata.items())
                lines.append(f"  ✗ {check.name}" + (f": {figures}" if figures else ""))
            return "\n".join(lines)
        return None if self.status != "failed" else f"stage {self.stage} failed"
