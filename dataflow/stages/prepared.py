"""Kernels that begin with packages imported: which, and the process that forks them.

It imports what a workflow's notebooks do while the run is being planned. Never the author's own
modules, which a stage may find changed, and no package that does something else when it is imported
before a fork.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from dataflow.base.fork_servers import fork_server
from dataflow.base.forked import Refused
from dataflow.project import Project
from dataflow.stages.execute import SERVER_VARIABLE, kernel_environment
from dataflow.stages.notebook import Stage

# Packages that do the same when they are imported before a fork, each with what has to be done
# next: importing DuckDB starts threads, for a database of its own.
PACKAGES = {
    "numpy": (),
    "scipy": (),
    "pyarrow": (),
    "pandas": (),
    "duckdb": ("duckdb:close",),
    "matplotlib": (),
    "yaml": (),
    "httpx": (),
    "requests": (),
    "nbformat": (),
    "dataflow": (),
}
# Modules of these, that `from package import module` may mean; all of ours are found in the folder.
MODULES = {"matplotlib.pyplot", "pyarrow.compute", "pyarrow.dataset", "pyarrow.parquet"}
# What is imported with a module: what modules of ours import when they are used, and numpy before
# what imports it, since its threads are known to do no harm.
WITH = {
    "dataflow.shared.db": (
        "pandas",
        "duckdb",
        "dataflow.warehouse.store",
        "dataflow.warehouse.write",
    ),
    "dataflow.shared.explore": ("pandas", "duckdb"),
    "dataflow.shared.http": ("httpx",),
    "dataflow.shared.config": ("yaml",),
    **dict.fromkeys(("pandas", "pyarrow", "matplotlib", *MODULES), ("numpy",)),
}
# It looks for the run's context where it is imported.
NOT_OURS = {"dataflow.stages.kernel"}
OURS = Path(__file__).parents[1]


@contextlib.contextmanager
def prepared_kernels(
    project: Project, stages: Iterable[Stage], tell: Callable[[str], object]
) -> Iterator[None]:
    """Have kernels of `stages` forked in the block, if the setting `kernels` says so.

    Where they are already, in a run whose step this is, that is left to it.

    Args:
        project: the project.
        stages: those whose notebooks say what is imported.
        tell: told why there is no such process, where there should be one.
    """
    stages = list(stages)
    wanted = stages and sys.platform == "linux" and project.settings.kernels == "warm"
    if not wanted or SERVER_VARIABLE in os.environ:
        yield
        return
    # Only where it is needed: it imports jupyter_client.
    from dataflow.engine.provisioner import kernel_server

    # Variables that name a run would have its end taken for this one's.
    environment = kernel_environment(project, stages[0], "")
    environment = {n: v for n, v in environment.items() if not n.startswith("DATAFLOW_")}
    server = kernel_server(imports_of(project, stages), environment)
    with contextlib.ExitStack() as until_the_end:
        try:
            until_the_end.enter_context(fork_server(SERVER_VARIABLE, server))
        except Refused as error:
            tell(f"Kernels are not prepared: {error}")
        yield


def imports_of(project: Project, stages: Iterable[Stage]) -> list[str]:
    """What is imported before the kernels of `stages` are forked, in that order.

    Args:
        project: the project.
        stages: the stages; what cannot be read in their notebooks is left out.
    """
    names = {"dataflow.stages.context"}  # every kernel of a run has it
    for stage in stages:
        names |= _names(stage.notebook, [stage.notebook.parent, project.notebooks])
    size = 0
    while size < len(names):
        size = len(names)
        names |= {other for name in names for other in WITH.get(name, ())}
    chosen = {name for name in names if _is_prepared(name)}
    ordered: list[str] = []
    for package, after in PACKAGES.items():
        of_it = sorted(name for name in chosen if name.partition(".")[0] == package)
        ordered += [*of_it, *after] if of_it else []
    return ordered


def _names(notebook: Path, folders: list[Path]) -> set[str]:
    """What a notebook and the author's modules in `folders` import that is not the author's."""
    names: set[str] = set()
    waiting = [_code(notebook)]
    seen: set[Path] = set()
    while waiting:
        found = _imported(waiting.pop())
        own = {path for name in found for path in _modules(name, folders)}
        names |= {name for name in found if not _modules(name, folders)}
        waiting += [_text(path) for path in own - seen]
        seen |= own
    return names


def _is_prepared(name: str) -> bool:
    package, *more = name.split(".")
    if package == "dataflow":
        path = OURS.joinpath(*more)
        return name not in NOT_OURS and (path.is_dir() or path.with_suffix(".py").exists())
    return name in PACKAGES or name in MODULES or package == "scipy"


def _modules(name: str, folders: Iterable[Path]) -> list[Path]:
    """The author's files that importing `name` may execute."""
    parts = name.split(".")
    bases = [
        folder.joinpath(*parts[:depth]) for folder in folders for depth in range(1, len(parts) + 1)
    ]
    paths = [path for base in bases for path in (Path(f"{base}.py"), base / "__init__.py")]
    return [path for path in paths if path.is_file()]


def _code(notebook: Path) -> str:
    """The code of a notebook's cells, without the lines that are IPython's."""
    try:
        cells: list[Any] = json.loads(_text(notebook))["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError):
        return ""  # the stage says so
    return "\n".join(source for source in map(_python, sources) if source)


def _python(source: str) -> str:
    """A cell's source if it is Python; empty if not."""
    lines = [line for line in source.splitlines() if not line.lstrip().startswith(("%", "!", "?"))]
    source = "\n".join(lines)
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    return source


def _imported(source: str) -> set[str]:
    """The modules that Python code imports, or may: the names after `from … import`, too."""
    names: set[str] = set()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return names
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
