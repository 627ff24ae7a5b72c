"""What a stage reported, read from its executed notebook; and what it will check, from its code."""

from __future__ import annotations

import ast
import datetime
import html
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dataflow.base.words import shortened
from dataflow.engine.output import LISTENS_VARIABLE, RESULT, RESULT_MESSAGE
from dataflow.errors import ConfigurationError
from dataflow.stages.parameters import author_numbers


class StageSkipped(BaseException):
    """Ends a stage early, as a success; not an `Exception`, so that no handler catches it."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback: this is not an error."""
        return [f"Stage skipped: {self}"]


@dataclass(frozen=True)
class Result:
    """One report of a stage: a record, a check, or that it skipped the rest."""

    kind: Literal["record", "check", "skip"]
    name: str | None = None
    table: str | None = None
    passed: bool | None = None
    severity: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The result as JSON; figures for which JSON has no type become text."""
        data = {key: value for key, value in asdict(self).items() if value is not None}
        data["metadata"] = {str(key): plain(value) for key, value in self.metadata.items()}
        return data

    @property
    def headline(self) -> str:
        """The result in one line."""
        if self.kind == "skip":
            return f"Stage skipped: {self.name}"
        if self.kind == "check":
            if self.passed:
                return f"✓ {self.name}"
            return f"{'✗' if self.severity == 'error' else '!'} {self.name}"
        return self.table or "Recorded"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        data = self.to_json()
        figures = data["metadata"]
        shown = ", ".join(f"{key} {figure_text(value)}" for key, value in figures.items())
        return {
            RESULT: data,
            "text/plain": f"{self.headline}: {shown}" if shown else self.headline,
            "text/html": self._html(figures),
        }

    def _html(self, figures: dict[str, Any]) -> str:
        colour = "#6b7280"
        if self.kind == "check":
            colour = (
                "#15803d" if self.passed else "#b91c1c" if self.severity == "error" else "#b45309"
            )
        cells = "".join(
            f'<span style="margin-left:1.2em;color:#6b7280">{html.escape(str(key))}</span> '
            f"<b>{html.escape(figure_text(value))}</b>"
            for key, value in figures.items()
        )
        return (
            f'<div style="border-left:3px solid {colour};padding:.3em .8em;margin:.2em 0;'
            f'font-family:system-ui,sans-serif;font-size:13px">'
            f'<span style="color:{colour};font-weight:600">{html.escape(self.headline)}</span>'
            f"{cells}</div>"
        )


# Further receivers of results: the step that runs an op, where no notebook keeps them.
listener: ContextVar[Callable[[Result], None] | None] = ContextVar("listener", default=None)


def show(result: Result) -> None:
    """Display `result`: in a notebook as a box, elsewhere as a line of text."""
    hear = listener.get()
    if hear is not None:
        hear(result)
    try:
        from IPython import get_ipython
    except ImportError:
        get_ipython = lambda: None  # noqa: E731
    shell = get_ipython()
    listened = LISTENS_VARIABLE in os.environ
    if listened and (shell is None or shell.kernel.session.pid != os.getpid()):
        # It would go unnoticed, and a failed check would pass.
        raise ConfigurationError(
            "stage.record, stage.check and stage.skip work in the notebook's own process, not in "
            "a subprocess",
            hint="Return the result to the notebook, and record or check it there.",
        )
    if shell is None:
        print(result._repr_mimebundle_()["text/plain"])
        return
    from IPython.display import display

    if listened:
        kernel = shell.kernel
        kernel.session.send(
            kernel.iopub_socket,
            RESULT_MESSAGE,
            content=result.to_json(),
            parent=kernel.get_parent("shell"),
        )
    display(result)


def plain(value: Any) -> Any:
    """`value` as JSON: numpy's and pandas' scalars become Python's."""
    if hasattr(value, "item") and callable(value.item) and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def figure_text(value: Any, most: int = 80) -> str:
    """A figure as people read it, in at most this many characters."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return shortened(text, most)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


@dataclass
class StageReport:
    """Everything a stage recorded.

    Args:
        tables: figures by table as named in the notebook; "" for the stage itself.
        checks: each with `name`, `passed`, `severity`, `table`, `metadata`, and the `cell` that made it.
        skipped: why the stage ended early, None when it did not.
    """

    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    skipped: str | None = None

    @property
    def failed_checks(self) -> list[dict[str, Any]]:
        """The checks of severity "error" that did not pass."""
        return [c for c in self.checks if not c["passed"] and c.get("severity") == "error"]

    @property
    def decisive_checks(self) -> dict[str, dict[str, Any]]:
        """For each name the check that counts: the worst of those that have it."""
        found: dict[str, dict[str, Any]] = {}
        for check in self.checks:
            before = found.get(check["name"])
            if before is None or _weight(check) >= _weight(before):
                found[check["name"]] = check
        return found

    @property
    def rows(self) -> dict[str, int]:
        """Rows by table, where they were recorded."""
        return {name: data["rows"] for name, data in self.tables.items() if name and "rows" in data}


def _weight(check: dict[str, Any]) -> int:
    if check["passed"]:
        return 0
    return 2 if check.get("severity") == "error" else 1


def read_report(nb: Any) -> StageReport:
    """Collect the records, checks and the skip from an executed notebook.

    The engine keeps them in the notebook's metadata as the kernel sends them. Notebooks of
    version 0.1.0 have them only in their outputs.
    """
    return report_of(results_in(nb))


def results_in(nb: Any) -> Iterator[dict[str, Any]]:
    """The results in an executed notebook, each with its `cell`: its number in the author's.

    The engine of version 0.2.0 and older did not note which cell it was.
    """
    kept = nb.metadata.get("dataflow", {}).get("results")
    numbers = [number for number, _ in author_numbers(nb.cells)]
    for result in _in_outputs(nb.cells) if kept is None else kept:
        index = result.get("cell_index")
        cell = {"cell": numbers[index]} if isinstance(index, int) and index < len(numbers) else {}
        yield {key: value for key, value in result.items() if key != "cell_index"} | cell


def report_of(results: Iterable[dict[str, Any]]) -> StageReport:
    """Collect results, each in the form of `Result.to_json`."""
    report = StageReport()
    for data in results:
        if data["kind"] == "record":
            report.tables.setdefault(data.get("table") or "", {}).update(data["metadata"])
        elif data["kind"] == "check":
            report.checks.append({"metadata": {}, "table": None, **data})
        elif data["kind"] == "skip":
            report.skipped = data.get("name", "")
    return report


def _in_outputs(cells: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for index, cell in enumerate(cells):
        for output in cell.get("outputs", []):
            if data := output.get("data", {}).get(RESULT):
                yield {**data, "cell_index": index}


@dataclass(frozen=True)
class DeclaredCheck:
    """A check that a notebook's code names: `stage.check("name", …)`."""

    name: str
    table: str | None = None
    severity: str = "error"


def declared_checks(cells: Iterable[Any]) -> list[DeclaredCheck]:
    """The checks that the code of `cells` names with plain strings, once each.

    Dagster has to know a check in advance; names computed at run time cannot be known (they are
    still recorded, and still stop the run when they fail).
    """
    found: dict[str, DeclaredCheck] = {}
    for cell in cells:
        if cell.get("cell_type") != "code":
            continue
        for call in _calls(code_of(cell)):
            name = _string(call.args[0]) if call.args else _keyword(call, "name")
            if name:
                found.setdefault(
                    name,
                    DeclaredCheck(
                        name, _keyword(call, "table"), _keyword(call, "severity") or "error"
                    ),
                )
    return list(found.values())


def code_of(cell: Any) -> str:
    """A code cell's source without IPython's magics, which are not Python."""
    source = "".join(cell["source"])
    if source.lstrip().startswith("%%"):
        return ""
    return "\n".join(
        "pass" if line.lstrip().startswith(("%", "!")) else line for line in source.split("\n")
    )


def _calls(source: str) -> list[ast.Call]:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "check"
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "stage"
    ]


def _keyword(call: ast.Call, name: str) -> str | None:
    return next((_string(k.value) for k in call.keywords if k.arg == name), None)


def _string(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None
