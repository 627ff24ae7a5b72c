"""Everything that can be checked in a notebook without running it."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataflow.base.words import nearest
from dataflow.engine.secrets import Scrubber
from dataflow.errors import ConfigurationError, ParameterError, Problem
from dataflow.stages.notebook import MERGE_MARKS, read_notebook
from dataflow.stages.parameters import read_declaration
from dataflow.stages.result import code_of
from dataflow.stages.values import check_values
from dataflow.variables import unset_variables

STRIP = "nbstripout --keep-id {path}"


def examine_notebook(
    path: Path, stage: str, values: Mapping[str, Any], secrets: Mapping[str, str]
) -> tuple[list[Problem], list[Problem], bool]:
    """Check a stage's notebook: format, kernel, code, parameters, and saved outputs.

    Args:
        path: the notebook.
        stage: the stage's name.
        values: the parameters that config.yaml gives.
        secrets: values that must not be in the file, by the name of their variable.

    Returns:
        Problems, which keep the stage from running or should keep the file from being
        committed; warnings; and whether it was saved with outputs.
    """
    try:
        notebook = read_notebook(path)
    except ConfigurationError as error:
        return [Problem(error.message, path, hint=error.hint)], [], False

    scrubbers = {name: Scrubber({name: value}) for name, value in secrets.items()}
    problems = _kernel_problems(path, notebook.metadata)
    warnings: list[Problem] = []
    for number, cell in enumerate(notebook.cells, start=1):
        problems += _merge_problems(path, number, cell.source)
        if cell.cell_type == "code":
            problems += _syntax_problems(path, number, cell)
        problems += _secret_problems(path, number, cell, scrubbers)
        if "injected-parameters" in cell.metadata.get("tags", []):
            warnings.append(_injected(path, number))
    problems += _parameter_problems(path, notebook.cells, stage, values)
    has_outputs = any(cell.get("outputs") for cell in notebook.cells)
    return list(dict.fromkeys(problems)), warnings, has_outputs


def _kernel_problems(path: Path, metadata: Any) -> list[Problem]:
    kernel = metadata.get("kernelspec", {}).get("name")
    language = metadata.get("kernelspec", {}).get("language") or metadata.get(
        "language_info", {}
    ).get("name", "python")
    if not kernel:
        return [Problem("the notebook names no kernel", path,
                        hint="Open it in JupyterLab, choose the kernel Python 3, save.")]  # fmt: skip
    if language.lower() != "python":
        return [Problem(f"the notebook is in {language}; stages are in Python", path,
                        hint="Choose a Python kernel.")]  # fmt: skip
    installed = installed_kernels()
    if kernel not in installed:
        hint = nearest(kernel, installed) or "Install one: pip install ipykernel."
        return [
            Problem(f"the kernel `{kernel}` is not installed", path,
                    hint=f"{hint} In JupyterLab: Kernel, Change Kernel…, save.")
        ]  # fmt: skip
    return []


def installed_kernels() -> set[str]:
    """The names of the kernels that Jupyter would find."""
    from importlib.util import find_spec

    from jupyter_core.paths import jupyter_path

    found = {
        spec.parent.name
        for folder in jupyter_path("kernels")
        for spec in Path(folder).glob("*/kernel.json")
    }
    # ipykernel's own kernel needs no file.
    return found | ({"python3"} if find_spec("ipykernel") else set())


def _merge_problems(path: Path, number: int, source: str) -> list[Problem]:
    for line, text in enumerate(source.split("\n"), start=1):
        if text.startswith(MERGE_MARKS):
            return [
                Problem(f"cell {number}, line {line}: unresolved merge marks", path,
                        hint="Resolve the merge; `nbdime mergetool` shows both sides.")
            ]  # fmt: skip
    return []


def _syntax_problems(path: Path, number: int, cell: Any) -> list[Problem]:
    if cell.source.startswith(MERGE_MARKS) or "\n<<<<<<< " in cell.source:
        return []  # reported already
    error = _syntax_error(code_of(cell))
    if error is not None:
        # `files = !ls` and `?name` are IPython's syntax, not Python's; only IPython knows it.
        from IPython.core.inputtransformer2 import TransformerManager

        error = _syntax_error(TransformerManager().transform_cell(cell.source))
    if error is None:
        return []
    return [
        Problem(f"cell {number}, line {error.lineno}: not valid Python: {error.msg}", path,
                hint="Fix the cell; `ruff check` of the notebook shows more.")
    ]  # fmt: skip


def _syntax_error(source: str) -> SyntaxError | None:
    try:
        # IPython allows `await` at the top of a cell.
        compile(source, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
    except SyntaxError as error:
        return error
    except ValueError as error:  # a null byte
        return SyntaxError(str(error), ("cell", 1, 1, ""))
    return None


def _secret_problems(
    path: Path, number: int, cell: Any, scrubbers: Mapping[str, Scrubber]
) -> list[Problem]:
    parts = {"source": cell.source, "saved output": json.dumps(cell.get("outputs", []))}
    problems = []
    for where, text in parts.items():
        for name, scrubber in scrubbers.items():
            if scrubber.text(text) != text:
                hint = (
                    f'Read it: resolve("${{{name}}}") from dataflow.shared.config, or load_config.'
                    if where == "source"
                    else f"Strip it before it is committed: {STRIP.format(path=path.relative_to(path.parents[2]))}"
                )
                problems.append(
                    Problem(
                        f"cell {number}: the {where} holds the value of {name}", path, hint=hint
                    )
                )
    return problems


def _parameter_problems(
    path: Path, cells: list[Any], stage: str, values: Mapping[str, Any]
) -> list[Problem]:
    declaration = read_declaration(path, cells)
    problems = list(declaration.problems) if declaration.cell is not None else []
    # Unset variables are named with their line in config.yaml.
    resolvable = {name: value for name, value in values.items() if not unset_variables(value)}
    try:
        check_values(declaration, resolvable, stage=stage)
    except ParameterError as error:
        hidden = values.keys() - resolvable.keys()
        problems += [p for p in error.problems if not any(f"`{n}`" in p.message for n in hidden)]
    return problems


def _injected(path: Path, number: int) -> Problem:
    return Problem(
        f"cell {number}: parameters of an earlier run (`injected-parameters`) are left in it",
        path,
        hint="Delete the cell; a run injects its own.",
    )
