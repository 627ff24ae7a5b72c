"""A stage's notebook: reading it, and preparing it for a run as papermill does."""

from __future__ import annotations

import contextlib
import copy
import datetime
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflow.base.sql import TableName
from dataflow.base.words import first_line
from dataflow.errors import ConfigurationError
from dataflow.stages.parameters import INJECTED_TAG, Declaration, Parameter, read_declaration
from dataflow.variables import variables_in, without_escapes

if TYPE_CHECKING:
    from nbformat import NotebookNode

YAML = "yaml.safe_load"  # how a resolved variable that is not plain text is read
MERGE_MARKS = ("<<<<<<< ", ">>>>>>> ")


@dataclass(frozen=True)
class Stage:
    """One notebook of a workflow.

    Args:
        workflow_id: the workflow it belongs to.
        name: the notebook's file name without its ending.
        notebook: the notebook.
        parameters: values from config.yaml, which override the notebook's defaults;
            `${VAR}` not yet resolved.
        writes: the tables it writes.
        after: names of the stages that must have succeeded before.
        timeout: seconds for the whole notebook; None for no limit.
        retries: how often a failed execution is tried again.
    """

    workflow_id: str
    name: str
    notebook: Path
    parameters: dict[str, Any] = field(default_factory=dict)
    writes: tuple[TableName, ...] = ()
    after: tuple[str, ...] = ()
    timeout: float | None = None
    retries: int = 0


def read_notebook(path: Path) -> NotebookNode:
    """Read the notebook at `path`, upgraded to the current format.

    Raises:
        ConfigurationError: it does not exist, is not JSON, or is not a notebook.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError("there is no such notebook", where=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"cannot be read: {error}", where=str(path), hint="Save it in JupyterLab, as UTF-8."
        ) from None
    return parse_notebook(text, path)


def parse_notebook(text: str, path: Path) -> NotebookNode:
    """The notebook that `text`, the content of a file, is; upgraded to the current format.

    Raises:
        ConfigurationError: it is not JSON, or not a notebook.
    """
    with _without_iri_grammar():
        import nbformat.validator

    try:
        return nbformat.reads(text, as_version=4)
    except Exception as error:  # nbformat raises half a dozen kinds
        if any(line.startswith(MERGE_MARKS) for line in text.splitlines()):
            raise ConfigurationError(
                "the notebook holds unresolved merge marks",
                where=str(path),
                hint="Resolve the merge; `nbdime mergetool` shows both sides.",
            ) from None
        reason = first_line(error)[:200]
        raise ConfigurationError(
            f"not a valid notebook: {reason}",
            where=str(path),
            hint="Open and save it in JupyterLab.",
        ) from None


@contextlib.contextmanager
def _without_iri_grammar() -> Iterator[None]:
    """Let nbformat be imported without compiling a grammar that no notebook's schema uses.

    jsonschema imports it if it is installed, which takes more than a second.
    """
    name = "rfc3987_syntax"
    if name in sys.modules or "jsonschema" in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # makes the import an ImportError
    try:
        yield
    finally:
        del sys.modules[name]


def declared_parameters(path: Path) -> Declaration:
    """The parameters declared by the notebook at `path`.

    Raises:
        ConfigurationError: it is not a notebook.
    """
    return read_declaration(path, read_notebook(path).cells)


def prepare_notebook(
    notebook: NotebookNode, declaration: Declaration, values: Mapping[str, Any]
) -> NotebookNode:
    """A copy of `notebook` with `values` in a cell after the parameters cell, outputs cleared.

    The defaults stay where they are. A value with `${VAR}` is injected as a call that
    resolves it in the kernel, so the value is never in the file.
    """
    prepared = copy.deepcopy(notebook)
    prepared.cells = [
        cell for cell in prepared.cells if INJECTED_TAG not in cell.metadata.get("tags", [])
    ]
    for cell in prepared.cells:
        if cell.cell_type == "code":
            cell.outputs = []
            cell.execution_count = None
    papermill = prepared.metadata.setdefault("papermill", {})
    papermill["default_parameters"] = {}
    papermill["environment_variables"] = {}
    papermill["parameters"] = {
        name: value if isinstance(value, (str, int, float, bool, list, dict)) or value is None
        else str(value)
        for name, value in values.items()
    }  # fmt: skip
    papermill["version"] = version("papermill")
    if values and declaration.cell is not None:
        import nbformat

        before = notebook.cells[: declaration.cell]
        cell = nbformat.v4.new_code_cell(source=injected_source(declaration, values))
        cell.metadata["tags"] = [INJECTED_TAG]
        # The same id every run: executed notebooks of two runs can be compared cell by cell.
        cell["id"] = "injected-parameters"
        if (prepared.nbformat, prepared.nbformat_minor) < (4, 5):
            del cell["id"]  # cells have none before
        injected = sum(INJECTED_TAG in c.metadata.get("tags", []) for c in before)
        prepared.cells.insert(declaration.cell - injected + 1, cell)
    return prepared


def injected_source(declaration: Declaration, values: Mapping[str, Any]) -> str:
    """The source of the injected cell: papermill's own format, one assignment per line."""
    # Called directly: dagstermill, once imported, replaces papermill's registered translator.
    from papermill.translators import PythonTranslator

    lines = ["# Parameters of this run"]
    if any(next(variables_in(value), None) for value in values.values()):
        lines.append("from dataflow.shared.config import resolve")
    for name, value in values.items():
        lines.append(
            f"{name} = {_expression(declaration.parameters[name], value, PythonTranslator)}"
        )
    if any(YAML in line for line in lines):
        lines.insert(1, "import yaml")
    return "\n".join(lines)


def _expression(parameter: Parameter, value: Any, translator: Any) -> str:
    if next(variables_in(value), None):
        call = f"resolve({translator.translate(value)})"
        return _read_as(parameter, value, call)
    value = without_escapes(value)
    return _literal(value, "datetime." in parameter.annotation, translator)


def _literal(value: Any, dotted: bool, translator: Any) -> str:
    """`value` as source; papermill's translator would turn dates into text."""
    if isinstance(value, (datetime.date, datetime.datetime)):
        # Named as in the annotation: that name exists wherever the annotation works.
        if getattr(value, "tzinfo", None) is not None:  # the annotation brings no `timezone`
            return f"{'datetime.' if dotted else ''}datetime.fromisoformat({value.isoformat()!r})"
        text = repr(value)  # datetime.date(2018, 2, 5)
        return text if dotted else text.replace("datetime.", "", 1)
    if isinstance(value, list):
        return "[" + ", ".join(_literal(item, dotted, translator) for item in value) + "]"
    if isinstance(value, tuple):
        return "(" + "".join(f"{_literal(item, dotted, translator)}, " for item in value) + ")"
    if isinstance(value, dict):
        items = (
            f"{translator.translate(key)}: {_literal(item, dotted, translator)}"
            for key, item in value.items()
        )
        return "{" + ", ".join(items) + "}"
    return str(translator.translate(value))


def _read_as(parameter: Parameter, value: Any, call: str) -> str:
    """The expression that converts what `call` resolves to the parameter's type."""
    if not isinstance(value, str):
        return call  # a list or mapping with variables inside
    kinds = [parameter.type]
    if typing.get_origin(parameter.type) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(parameter.type) if kind is not type(None)]
    if any(kind in (str, Any) or _is_literal_text(kind) for kind in kinds):
        return call
    if kinds in ([int], [float]):
        return f"{kinds[0].__name__}({call})"
    return f"{YAML}({call})"  # true, dates, lists: as on the command line


def _is_literal_text(kind: Any) -> bool:
    return typing.get_origin(kind) is typing.Literal and all(
        isinstance(item, str) for item in typing.get_args(kind)
    )
