"""Workflows written in Python: import `dagster_job.py`, with errors that name file and line."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.machinery
import importlib.util
import sys
import traceback
import types
from dataclasses import dataclass
from pathlib import Path

from dataflow.base.process import environment
from dataflow.base.words import first_line
from dataflow.errors import ConfigurationError, Problem
from dataflow.project import ROOT_VARIABLE, Project
from dataflow.workflows.ids import STEPS_THAT_FOLLOW
from dataflow.workflows.model import Workflow
from dataflow.workflows.registration import Registration, forget_registrations, registrations

JOB_FILE = "dagster_job.py"  # with it, a workflow is written in Python
# Code that mentions one of these runs the workflow's dbt models itself.
MODEL_BUILDERS = frozenset({"run_dbt_models", "DbtCliResource"})

_imported: dict[Path, tuple[str, Registration]] = {}


@dataclass(frozen=True)
class PythonWorkflow(Workflow):
    """A workflow whose steps are the ops of a Dagster job, in its `dagster_job.py`."""

    @property
    def step_names(self) -> list[str]:
        """The functions decorated with `@op`; only the import tells which of them the job has."""
        tree = _parsed(self.folder / JOB_FILE)
        return [
            node.name
            for node in tree.body
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            and any(_called_name(decorator) == "op" for decorator in node.decorator_list)
        ]

    @property
    def builds_models(self) -> bool:
        """Whether one of its modules names a function that runs dbt models."""
        return any(
            getattr(node, "id", None) in MODEL_BUILDERS
            or getattr(node, "attr", None) in MODEL_BUILDERS
            for path in self.folder.rglob("*.py")
            for node in ast.walk(_parsed(path))
        )

    def code_problems(self, project: Project) -> list[Problem]:
        """What keeps the job from being imported, and ops whose names are reserved."""
        path = self.folder / JOB_FILE
        try:
            load_registration(project, self)
        except ConfigurationError as error:
            place, _, line = (error.where or "").rpartition(":")
            if line.isdigit():
                return [Problem(error.message, project.root / place, int(line), error.hint)]
            return [Problem(error.message, path, hint=error.hint)]
        return [
            Problem(
                f"an op cannot be called `{name}`",
                path,
                hint="Rename it: every workflow has a step of that name after its ops.",
            )
            for name in self.step_names
            if name in STEPS_THAT_FOLLOW
        ]


def load_registration(project: Project, workflow: Workflow) -> Registration:
    """Import the workflow's `dagster_job.py`, again if its code changed.

    Inside the folder modules are imported relatively (`from .ingestion import extract_data`) or
    below the workflow's name (`from my_workflow.ingestion import extract_data`).

    Raises:
        ConfigurationError: it cannot be imported, or registers no job; `where` has file and line.
    """
    folder = workflow.folder.resolve()
    version = code_version(folder)
    known = _imported.get(folder)
    if known is None or known[0] != version:
        registration = _import(project, workflow, folder)
        known = _imported[folder] = (version, registration)
    return known[1]


def code_version(folder: Path) -> str:
    """A hash of the workflow's modules and its configuration."""
    digest = hashlib.sha256()
    for path in sorted({*folder.rglob("*.py"), folder / "config.yaml"}):
        if path.is_file():
            digest.update(f"\0{path.relative_to(folder).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _parsed(path: Path) -> ast.Module:
    """The code of a module; empty if it is not valid Python."""
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


def _called_name(node: ast.expr) -> str:
    target = node.func if isinstance(node, ast.Call) else node
    return str(getattr(target, "attr", getattr(target, "id", "")))


def _import(project: Project, workflow: Workflow, folder: Path) -> Registration:
    where = project.relative(workflow.folder / JOB_FILE)
    _make_package(workflow.id, folder, where)
    if str(project.notebooks) not in sys.path:
        sys.path.append(str(project.notebooks))  # for modules of other workflows
    forget_registrations()
    try:
        # load_config may be called on import.
        with environment({ROOT_VARIABLE: str(project.root)}):
            importlib.import_module(f"{workflow.id}.dagster_job")
    except ConfigurationError as error:
        raise ConfigurationError(
            error.message, where=error.where or _place(project, folder, error), hint=error.hint
        ) from error
    except SyntaxError as error:
        place = project.relative(Path(error.filename or where))
        raise ConfigurationError(
            f"not valid Python: {error.msg}", where=f"{place}:{error.lineno}"
        ) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also an exit, or pytest's exception to skip
        reason = first_line(error)
        raise ConfigurationError(
            f"{type(error).__name__}: {reason}" if reason else type(error).__name__,
            where=_place(project, folder, error),
            hint=_import_hint(error, workflow),
        ) from error
    return _own_registration(workflow, where)


def _own_registration(workflow: Workflow, where: str) -> Registration:
    found = registrations()
    if workflow.id in found:
        return found[workflow.id]
    wanted = f'register_workflow(workflow_id="{workflow.id}", job=…)'
    if found:
        others = ", ".join(f"`{name}`" for name in found)
        raise ConfigurationError(
            f"it registers {others}, but the workflow is called `{workflow.id}`, like its folder",
            where=where,
            hint=f"Write {wanted}.",
        )
    raise ConfigurationError(
        "it registers no workflow",
        where=where,
        hint=f"End it with {wanted}, from dataflow.workflows.registry.",
    )


def _make_package(name: str, folder: Path, where: str) -> None:
    """Make `import <workflow>.module` find the folder, and not an earlier version of it."""
    present = sys.modules.get(name)
    paths = [str(Path(path).resolve()) for path in getattr(present, "__path__", [])]
    origin = getattr(present, "__file__", None)
    if present is not None and (
        not paths or (origin is not None and Path(origin).resolve().parent != folder)
    ):
        raise ConfigurationError(
            f"a Python package called `{name}` is imported already: {origin or 'built in'}",
            where=where,
            hint="Give the workflow, and so its folder, another name.",
        )
    for module in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
        del sys.modules[module]
    importlib.invalidate_caches()
    package = types.ModuleType(name, f"The workflow {name}.")
    package.__path__ = [str(folder)]
    package.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    sys.modules[name] = package
    if (folder / "__init__.py").is_file():
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        assert spec.loader is not None
        package.__spec__ = spec
        package.__file__ = str(folder / "__init__.py")
        spec.loader.exec_module(package)


def _place(project: Project, folder: Path, error: BaseException) -> str:
    """The innermost line of the workflow's own code that led to `error`."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename).resolve()
        if path.is_relative_to(folder):
            return f"{project.relative(path)}:{frame.lineno}"
    return project.relative(folder / JOB_FILE)


def _import_hint(error: BaseException, workflow: Workflow) -> str | None:
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    if (workflow.folder / f"{error.name}.py").is_file():
        return f"Write `from .{error.name} import …`: it is in the workflow's folder."
    return f"Install the package that has `{error.name}`, or fix the name."
