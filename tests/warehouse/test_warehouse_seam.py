"""What is outside the warehouse knows it by `store.py` only."""

from __future__ import annotations

import ast
from pathlib import Path

import dataflow
from dataflow.warehouse import store

PACKAGE = Path(dataflow.__file__).parent
SEAM = {"dataflow.warehouse.store"}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            # `from dataflow.warehouse import lock` imports a module, too.
            deep = node.module == "dataflow.warehouse"
            found |= {f"{node.module}.{a.name}" if deep else str(node.module) for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith("dataflow.warehouse")}


def test_nothing_outside_imports_past_the_seam():
    outside = [p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE / "warehouse"]
    past = {str(p.relative_to(PACKAGE)): names for p in outside if (names := imported(p) - SEAM)}
    assert not past


def test_all_that_the_seam_offers_is_used_outside():
    outside = [p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE / "warehouse"]
    used = {
        alias.name
        for p in outside
        for node in ast.walk(ast.parse(p.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module in SEAM
        for alias in node.names
    }
    assert used == set(store.__all__)
