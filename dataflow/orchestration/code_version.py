"""A stage's code version: it changes when what the stage computes may change, and only then."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dataflow.stages.parameters import INJECTED_TAG
from dataflow.stages.result import code_of


def code_version(cells: Iterable[Any], parameters: dict[str, Any], folder: Path) -> str:
    """Hash the code cells, the parameters from config.yaml and the workflow's own modules.

    Prose, outputs, comments and formatting do not count.

    Args:
        cells: the notebook's cells.
        parameters: the values config.yaml gives the stage.
        folder: the workflow's folder; modules that the code imports from there count.
    """
    sources = [
        code_of(cell)
        for cell in cells
        if cell.get("cell_type") == "code"
        and INJECTED_TAG not in cell.get("metadata", {}).get("tags", [])
    ]
    digest = hashlib.sha256()
    for source in sources:
        digest.update(_normal(source).encode())
    for path in sorted(set(_modules(sources, folder))):
        digest.update(f"\0{path.relative_to(folder.parent)}\0".encode())
        digest.update(_normal(path.read_text("utf-8", errors="replace")).encode())
    digest.update(json.dumps(parameters, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def files_version(folders: Iterable[Path], root: Path) -> str:
    """Hash every file below `folders`, by its path from `root` and its content."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        if path.is_file():
            digest.update(f"\0{path.relative_to(root).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _normal(source: str) -> str:
    """`source` without comments and formatting; as it is when it is not plain Python."""
    try:
        return ast.unparse(ast.parse(source))
    except SyntaxError:
        return source


def _modules(sources: Iterable[str], folder: Path) -> Iterator[Path]:
    """The files below `folder` that the sources import, directly or through each other."""
    waiting = list(sources)
    seen: set[Path] = set()
    while waiting:
        try:
            tree = ast.parse(waiting.pop())
        except SyntaxError:
            continue
        for name in _imported(tree):
            for path in _files(name, folder):
                if path not in seen:
                    seen.add(path)
                    waiting.append(path.read_text("utf-8", errors="replace"))
    yield from seen


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if base:
                yield base
            for alias in node.names:
                yield f"{base}.{alias.name}" if base else alias.name


def _files(name: str, folder: Path) -> Iterator[Path]:
    """The files of module `name`, imported from beside the notebook or as `<workflow>.module`."""
    for root, dotted in ((folder, name), (folder.parent, name)):
        if root == folder.parent and name.split(".")[0] != folder.name:
            continue
        path = root.joinpath(*dotted.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                yield file
