"""What a stage said, read back from its executed notebook; and what it will say, from its code."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dataflow.stages.display import MIME


@dataclass
class StageReport:
    """Everything a stage recorded.

    Args:
        tables: figures by table as named in the notebook; "" for the stage itself.
        checks: each with `name`, `passed`, `severity`, `table`, `metadata`.
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
    """Gather the records, checks and the skip from an executed notebook.

    The engine keeps them in the notebook's metadata as the kernel sends them. Notebooks of
    version 0.1.0 have them in their outputs only.
    """
    kept = nb.metadata.get("dataflow", {}).get("results")
    return report_of(_in_outputs(nb.cells) if kept is None else kept)


def report_of(results: Iterable[dict[str, Any]]) -> StageReport:
    """Gather results, each as `Result.to_json` makes it."""
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
    for cell in cells:
        for output in cell.get("outputs", []):
            if data := output.get("data", {}).get(MIME):
                yield data


@dataclass(frozen=True)
class DeclaredCheck:
    """A check that a notebook's code names: `stage.check("name", …)`."""

    name: str
    table: str | None = None
    severity: str = "error"


def declared_checks(cells: Iterable[Any]) -> list[DeclaredCheck]:
    """The checks that the code of `cells` names with plain strings, once each.

    Dagster has to know a check before it is made; names computed at run time cannot be
    known (they are still recorded, and still stop the run when they fail).
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
