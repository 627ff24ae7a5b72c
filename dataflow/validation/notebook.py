"""Everything that can be checked in a notebook without running it."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataflow.base.words import meant, nearest
from dataflow.engine.secrets import Scrubber
from dataflow.errors import ConfigurationError, Fix, ParameterError, Problem
from dataflow.stages.notebook import MERGE_MARKS, read_notebook
from dataflow.stages.parameters import INJECTED_TAG, TAG, parse, read_declaration
from dataflow.stages.result import code_of
from dataflow.stages.values import check_values
from dataflow.variables import unset_variables
from dataflow.workflows.load import stage_names
from dataflow.workflows.yaml_file import YamlFile

STRIP = "nbstripout --keep-id {path}"


def examine_notebook(
    path: Path,
    stage: str,
    values: Mapping[str, Any],
    secrets: Mapping[str, str],
    config: YamlFile | None = None,
) -> tuple[list[Problem], list[Problem], bool]:
    """Check a stage's notebook: format, kernel, code, parameters, and saved outputs.

    Args:
        path: the notebook.
        stage: the stage's name.
        values: its parameters' values.
        secrets: values that must not be in the file, by the name of their variable.
        config: the config.yaml that gives the values.

    Returns:
        Problems, which keep the stage from running or should keep the file from being
        committed; warnings; and whether it was saved with outputs.
    """
    try:
        notebook = read_notebook(path)
    except ConfigurationError as error:
        return [Problem(error.message, path, hint=error.hint)], [], False

    problems = _kernel_problems(path, notebook.metadata)
    wrong, warnings = examine_cells(path, notebook.cells, stage, values, secrets, config)
    scrubbers = _scrubbers(secrets)
    for number, cell in enumerate(notebook.cells, start=1):
        problems += _secrets_in_output(path, number, cell, scrubbers)
    has_outputs = any(cell.get("outputs") for cell in notebook.cells)
    return list(dict.fromkeys([*problems, *wrong])), warnings, has_outputs


def examine_cells(
    path: Path,
    cells: list[Any],
    stage: str,
    values: Mapping[str, Any],
    secrets: Mapping[str, str],
    config: YamlFile | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[list[Problem], list[Problem]]:
    """Check what a notebook's author writes, its cells, as it is or is going to be saved.

    Args:
        path: the notebook.
        cells: its cells.
        stage: see `examine_notebook`.
        values: see there.
        secrets: see there.
        config: see there.
        environment: the variables there are; this process's by default.

    Returns:
        Problems and warnings.
    """
    scrubbers = _scrubbers(secrets)
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for number, cell in enumerate(cells, start=1):
        problems += _merge_problems(path, number, cell.source)
        if cell.cell_type == "code":
            problems += _syntax_problems(path, number, cell)
        problems += _secrets_in_source(path, number, cell.source, scrubbers)
        if INJECTED_TAG in cell.metadata.get("tags", []):
            warnings.append(_injected(path, number))
    problems += _parameter_problems(path, cells, stage, values, config, environment)
    scrub = Scrubber(secrets).text  # messages quote what is wrong
    return [_without_secrets(one, scrub) for one in dict.fromkeys(problems)], warnings


def _without_secrets(problem: Problem, scrub: Callable[[str], str]) -> Problem:
    message, hint = scrub(problem.message), scrub(problem.hint or "") or None
    fix = problem.fix if scrub(str(problem.fix)) == str(problem.fix) else None
    return replace(problem, message=message, hint=hint, fix=fix)


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
                Problem("unresolved merge marks", path, line,
                        "Resolve the merge; `nbdime mergetool` shows both sides.", cell=number)
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
        Problem(f"not valid Python: {error.msg}", path, error.lineno,
                "Fix the cell; `ruff check` of the notebook shows more.", cell=number)
    ]  # fmt: skip


def _syntax_error(source: str) -> SyntaxError | None:
    try:
        parse(source, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)  # IPython allows `await` at the top of a cell
    except SyntaxError as error:
        return error
    return None


def _scrubbers(secrets: Mapping[str, str]) -> dict[str, Scrubber]:
    return {name: Scrubber({name: value}) for name, value in secrets.items()}


def _secrets_in_source(
    path: Path, number: int, source: str, scrubbers: Mapping[str, Scrubber]
) -> list[Problem]:
    problems = []
    for name, scrubber in scrubbers.items():
        if scrubber.text(source) != source:
            lines = source.split("\n")
            # A value that is wrapped is in no line by itself.
            line = next((n for n, text in enumerate(lines, 1) if scrubber.text(text) != text), None)
            hint = f'Read it: resolve("${{{name}}}") from dataflow.shared.config, or load_config.'
            text = f"the source holds the value of {name}"
            problems.append(Problem(text, path, line, hint, cell=number))
    return problems


def _secrets_in_output(
    path: Path, number: int, cell: Any, scrubbers: Mapping[str, Scrubber]
) -> list[Problem]:
    output = json.dumps(cell.get("outputs", []))
    strip = STRIP.format(path=path.relative_to(path.parents[2]))
    return [
        Problem(f"the saved output holds the value of {name}", path,
                hint=f"Strip it before it is committed: {strip}", cell=number)
        for name, scrubber in scrubbers.items()
        if scrubber.text(output) != output
    ]  # fmt: skip


def _parameter_problems(
    path: Path,
    cells: list[Any],
    stage: str,
    values: Mapping[str, Any],
    config: YamlFile | None,
    environment: Mapping[str, str] | None,
) -> list[Problem]:
    declaration = read_declaration(path, cells)
    problems = list(declaration.problems) if declaration.cell is not None else []
    # Unset variables are named with their line in config.yaml.
    resolvable = {
        n: value for n, value in values.items() if not unset_variables(value, environment)
    }
    try:
        check_values(declaration, resolvable, stage=stage, environment=environment)
    except ParameterError as error:
        hidden = values.keys() - resolvable.keys()
        said = set(problems)
        for problem in error.problems:
            if problem.parameter in hidden or problem in said:
                continue
            if declaration.cell is None and (number := _untagged(path, cells, values)):
                fix = Fix("tag", "Tag the cell as `parameters`")
                problem = replace(problem, cell=number, fix=fix)
            if config and problem.parameter in values:
                problem = _in_config(problem, config, stage, declaration.parameters)
            problems.append(problem)
    return problems


def _untagged(path: Path, cells: list[Any], values: Mapping[str, Any]) -> int | None:
    """The only cell that declares all of these values, as a cell tagged `parameters` does."""
    found = []
    for number, cell in enumerate(cells, start=1):
        if INJECTED_TAG in cell.metadata.get("tags", []):
            continue
        tagged = {"cell_type": cell.cell_type, "source": cell.source, "metadata": {"tags": [TAG]}}
        declared = read_declaration(path, [tagged])
        if not declared.problems and values and values.keys() <= declared.parameters.keys():
            found.append(number)
    return found[0] if len(found) == 1 else None


def _in_config(
    problem: Problem, config: YamlFile, stage: str, declared: Collection[str]
) -> Problem:
    """A problem of a parameter's value where config.yaml gives the value."""
    name = str(problem.parameter)
    for index, other in enumerate(stage_names(config.data)):
        location = ("stages", index, "parameters", name)
        if other == stage and (line := config.lines.get(location)):
            right = None if name in declared else meant(name, declared)
            fix = Fix.replacing(name, right, config.line_text(line))
            return replace(problem, path=config.path, line=line, fix=fix)
    return problem


def _injected(path: Path, number: int) -> Problem:
    return Problem(
        "parameters of an earlier run (`injected-parameters`) are left in the notebook",
        path,
        hint="Delete the cell; a run injects its own.",
        cell=number,
        fix=Fix("delete", "Delete the cell"),
    )
