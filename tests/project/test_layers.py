"""Where a module may import from: from its own package, and from those below it."""

from __future__ import annotations

import ast
from pathlib import Path

import dataflow

PACKAGE = Path(dataflow.__file__).parent

# From the bottom to the top; docs/architecture.md says what each is for.
LAYERS = (
    "base", "errors", "settings", "project", "addresses", "warehouse", "runs", "engine", "stages",
    "workflows", "dbt", "shared", "dashboard", "validation", "orchestration", "testing",
    "scaffold", "services", "doctor", "cli",
)  # fmt: skip
# What authors and Dagster import: they lead into the package, and nothing in it imports them.
DOORS = {"__init__", "__main__", "definitions", "stage"}


def imports() -> dict[tuple[str, str], list[str]]:
    """Each part of the package with each other one that it imports, and where it does."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).parts
        if "template" in parts:
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
