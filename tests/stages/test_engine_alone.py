"""The engine needs papermill and Jupyter's packages, and of ours only the bottom layer."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from projects import REPOSITORY

PACKAGES = {
    "papermill", "nbclient", "jupyter_client", "jupyter_core", "nbformat", "psutil",
    "ipykernel", "IPython", "traitlets",
}  # fmt: skip


def imported_by(path: Path) -> set[str]:
    """The modules that the file at `path` imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def test_the_engine_could_be_published_without_the_rest_of_the_package() -> None:
    waiting = list((REPOSITORY / "dataflow" / "engine").glob("*.py"))
    assert len(waiting) > 4
    looked_at: set[Path] = set()
    while waiting:
        path = waiting.pop()
        looked_at.add(path)
        for name in imported_by(path):
            if name.startswith(("dataflow.base.", "dataflow.engine.")):
                other = REPOSITORY.joinpath(*name.split(".")).with_suffix(".py")
                waiting += [other] if other not in looked_at else []
            elif name != "dataflow.engine":
                package = name.partition(".")[0]
                assert package in PACKAGES | set(sys.stdlib_module_names), f"{path.name}: {name}"
