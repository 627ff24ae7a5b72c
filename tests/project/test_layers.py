"""Where a module may import from: from its own package, and from those below it."""

from __future__ import annotations

import ast
from pathlib import Path

import dataflow

PACKAGE = Path(dataflow.__file__).parent

# From the bottom to the top; docs/architecture.md says what each is for.
LAYERS = (
    "base", "errors", "settings", "variables", "project", "addresses", "warehouse", "engine", "stages",
    "runs", "workflows", "dbt", "shared", "dashboard", "validation", "orchestration", "review",
    "documentation", "testing", "scaffold", "services", "api", "lab", "doctor", "cli",
)  # fmt: skip
# What authors and Dagster import: they lead into the package, and nothing in it imports them.
DOORS = {"__init__", "__main__", "definitions", "stage"}


def imports() -> dict[tuple[str, str], list[str]]:
    """Each part of the package with each other one that it imports, and where it does."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).parts
        if {"template", "project_template"} & {*parts}:
            continue
        own = parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "dataflow":
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dataflow."):
                names = [str(node.module).split(".")[1]]
            elif isinstance(node, ast.Import):
                modules = [alias.name.split(".") for alias in node.names]
                names = [module[1] for module in modules if module[0] == "dataflow" != module[-1]]
            else:
                continue
            for name in names:
                if name != own:
                    place = f"{path.relative_to(PACKAGE)}:{node.lineno}"
                    found.setdefault((own, name), []).append(place)
    return found


def test_every_part_of_the_package_has_its_layer():
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}

    assert parts - DOORS - {"__pycache__"} == set(LAYERS)


def test_imports_only_go_down():
    upward = {
        f"{own} imports {name}": places
        for (own, name), places in imports().items()
        if own not in DOORS and (name in DOORS or LAYERS.index(own) < LAYERS.index(name))
    }

    assert upward == {}


# What takes long to import, so that a function may import a module of ours for its sake.
HEAVY = {
    "IPython", "croniter", "dagster", "dagster_dbt", "dagstermill", "dotenv", "duckdb", "filelock",
    "httpx", "jinja2", "jupyter_client", "jupyter_core", "jupyter_server", "msgpack", "nbclient",
    "nbconvert", "nbformat", "numpy", "packaging", "pandas", "papermill", "psutil", "pyarrow",
    "pydantic", "rich", "starlette", "tornado", "typer", "uvicorn", "yaml",
}  # fmt: skip
# They import inside of functions for other reasons.
LATE = {
    "cli",  # every command is a function of one program, and imports what it needs
    "doctor",  # a package that is missing is a finding of the check that looks at it
    "dataflow",  # IPython's extension, and the API
    "dataflow.stages.kernel",  # runs in every kernel, as its first line
}


def late_imports() -> tuple[dict[str, set[str]], list[tuple[str, int, str]]]:
    """By module what it imports at its top; and the imports of ours inside of functions."""
    files = [
        path
        for path in PACKAGE.rglob("*.py")
        if not {"template", "project_template"} & {*path.parts}
    ]
    modules = {
        ".".join(("dataflow", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): path
        for path in files
    }
    at_top: dict[str, set[str]] = {}
    late: list[tuple[str, int, str]] = []

    def names(node: ast.AST) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        assert isinstance(node, ast.ImportFrom)
        whole = [f"{node.module}.{alias.name}" for alias in node.names]
        return [name if name in modules else str(node.module) for name in whole]

    def walk(node: ast.AST, module: str, inside: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import | ast.ImportFrom):
                if inside:
                    late.extend((module, child.lineno, name) for name in names(child))
                else:
                    at_top[module].update(names(child))
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            walk(child, module, inside or is_function)

    for module, path in modules.items():
        at_top[module] = set()
        walk(ast.parse(path.read_text("utf-8")), module, inside=False)
    return at_top, [one for one in late if one[2] in modules]


def loaded_with(module: str, at_top: dict[str, set[str]]) -> set[str]:
    """All modules that importing `module` imports."""
    loaded: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in loaded:
            loaded.add(name)
            waiting += at_top.get(name, ())
            waiting += [name.rpartition(".")[0]] if "." in name else []
    return loaded


def test_functions_import_modules_of_ours_only_where_that_saves_a_heavy_package():
    at_top, late = late_imports()
    needless = []
    for module, line, name in late:
        if module in LATE or (module.split(".")[1:2] and module.split(".")[1] in LATE):
            continue
        costs = {other.split(".")[0] for other in loaded_with(name, at_top)} & HEAVY
        has = {other.split(".")[0] for other in loaded_with(module, at_top)} & HEAVY
        if not costs - has:
            needless.append(f"{module}:{line} imports {name}")

    assert needless == []
