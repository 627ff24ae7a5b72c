"""A step's version: it changes when what the step makes may change. When in doubt it changes.

Prose, outputs, comments and formatting of code do not count, nor what only says when and for
whom a workflow runs, or how long and how often it is tried.
"""

from __future__ import annotations

import ast
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from dataflow.base.sharing import is_shared
from dataflow.dashboard.install import packages_hash
from dataflow.dbt.command import own_macros
from dataflow.project import Project
from dataflow.stages.notebook import Stage, read_notebook
from dataflow.stages.parameters import INJECTED_TAG
from dataflow.variables import DBT_VARIABLE, MADE_BY_DBT, SET_FOR_DBT, variables_in
from dataflow.workflows.ids import slug_of
from dataflow.workflows.model import Workflow
from dataflow.workflows.registry import other_workflows

# Keys of the section `workflow` that do not change what a step makes.
_ABOUT = {"description", "schedule", "timezone", "owner", "tags", "review"}
_MADE_BY_EVIDENCE = {"node_modules", "build", "sources", "pages"}
_BIG = 16_000_000  # bytes from which a file counts by size and time, not by content
_LONG = 20_000  # characters from which a string is text, not the names of files


def stage_version(project: Project, stage: Stage, values: Any = None) -> str:
    """The version of `stage`: its notebook, what that imports and names, its configuration.

    Args:
        project: the project.
        stage: the stage.
        values: its parameters in a run. Only the variables they name count here.
    """
    folder = stage.notebook.parent
    sources = list(_cells(stage.notebook))
    config = _read_config(folder)
    config.pop("stages", None)
    own = [stage.parameters, sorted(stage.writes), sorted(stage.after)]
    digest = _digest(project)
    for source in sources:
        _add(digest, "cell", _normal(source).encode())
    _add_files(digest, project, _files_used(sources, folder, project), config)
    _add(digest, "stage", _json(own))
    _add_variables(digest, project, [own, config, values])
    return digest.hexdigest()[:16]


def job_version(project: Project, workflow: Workflow, values: Any = None) -> str:
    """The version of a workflow written in Python: all of its modules, and what they use."""
    folder = workflow.folder
    modules = sorted(path for path in folder.rglob("*.py") if not _hidden(path, folder))
    used = set(modules)
    for module in modules:
        used |= _files_used([_text(module)], module.parent, project, roots=(folder,))
    config = _read_config(folder)
    digest = _digest(project)
    _add_files(digest, project, used, config)
    _add_variables(digest, project, [config, values])
    return digest.hexdigest()[:16]


def models_version(project: Project, workflow: Workflow) -> str:
    """The version of the dbt step: the dbt project without what belongs to other workflows."""
    others = other_workflows(project, workflow.id)
    digest = _digest(project)
    named: set[str] = set()
    for path in own_macros(project):
        _add(digest, path.name, _content(path))
    for path in _below(project.dbt):
        parts = path.relative_to(project.dbt).parts
        if parts[0] in MADE_BY_DBT or path.suffix == ".md":
            continue
        if len(parts) > 2 and parts[0] != "macros" and parts[1] in others:
            continue
        content = _content(path)
        named.update(DBT_VARIABLE.findall(content.decode("utf-8", "replace")))
        _add(digest, "/".join(parts), content)
    named -= SET_FOR_DBT
    _add_variables(digest, project, [f"${{{name}}}" for name in sorted(named)])
    return digest.hexdigest()[:16]


def publish_version(workflow: Workflow) -> str:
    """The version of the publish step: the schemas and tables it is to publish."""
    writes = sorted({write for stage in workflow.stages for write in stage.writes})
    return hashlib.sha256(_json([sorted(workflow.schemas), writes])).hexdigest()[:16]


def dashboard_version(project: Project, workflow: Workflow) -> str:
    """The version of the dashboard step: the workflow's queries and pages, and shared parts."""
    root = project.evidence
    pages = root / "pages"
    others = {slug_of(name) for name in other_workflows(project, workflow.id)}
    files = [
        path for path in _below(root) if path.relative_to(root).parts[0] not in _MADE_BY_EVIDENCE
    ]
    files += _below(root / "sources" / workflow.id)
    files += [
        path
        for path in _below(pages)
        if path.relative_to(pages).parts[0].removesuffix(".md") not in others
    ]
    digest = _digest(project)
    _add(digest, "packages", packages_hash(project).encode())
    for path in sorted(files):
        _add(digest, path.relative_to(root).as_posix(), _content(path))
    return digest.hexdigest()[:16]


def _digest(project: Project) -> Any:
    digest = hashlib.sha256()
    _add(digest, "timezone", project.timezone.encode())
    return digest


def _below(folder: Path) -> list[Path]:
    """The files below `folder`, without hidden ones and what tools install or make."""
    found: list[Path] = []
    for at, folders, files in os.walk(folder):
        folders[:] = [n for n in folders if n[0] != "." and n not in ("node_modules", "target")]
        found += [Path(at, name) for name in files if name[0] != "."]
    return sorted(found)


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _read_config(folder: Path) -> dict[str, Any]:
    """config.yaml without keys that do not change results: notebooks may read any other."""
    import yaml

    try:
        config = yaml.safe_load(_text(folder / "config.yaml"))
    except (yaml.YAMLError, ValueError):
        return {"unreadable": _text(folder / "config.yaml")}
    if not isinstance(config, dict):
        return {}
    if isinstance(config.get("workflow"), dict):
        config["workflow"] = {k: v for k, v in config["workflow"].items() if k not in _ABOUT}
    return config


def _add(digest: Any, name: str, content: bytes) -> None:
    digest.update(f"\0{name}\0{len(content)}\0".encode())
    digest.update(content)


def _add_files(digest: Any, project: Project, paths: Iterable[Path], config: Any) -> None:
    for path in sorted(paths):
        if path.suffix == ".ipynb":
            content = "\0".join(map(_normal, _cells(path))).encode()
        elif path.suffix == ".py":
            content = _normal(_text(path)).encode()
        elif path.name == "config.yaml":
            content = _json(_read_config(path.parent))
        else:
            content = _content(path)
        _add(digest, project.relative(path), content)
    _add(digest, "config", _json(config))


def _add_variables(digest: Any, project: Project, named: Any) -> None:
    """Add the values of the variables in `named`, by a hash that only this project can make."""
    found = dict(variables_in(named))
    if not found:
        return
    values = {name: os.environ.get(name, default) for name, default in found.items()}
    _add(digest, "variables", hmac.digest(_salt(project), _json(values), "sha256"))


def _salt(project: Project) -> bytes:
    """The salt of this project's hashes of secrets, created once."""
    path = project.state / "salt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".salt.{secrets.token_hex(8)}")
        scratch.touch(mode=0o660 if is_shared(project.root) else 0o600)
        scratch.write_bytes(secrets.token_bytes(32))
        with suppress(FileExistsError):  # another process was first
            os.link(scratch, path)
        scratch.unlink()
    return path.read_bytes()


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode()


def _content(path: Path) -> bytes:
    about = path.stat()
    if about.st_size > _BIG:
        return f"{about.st_size} {about.st_mtime_ns}".encode()
    return path.read_bytes()


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""


def _cells(notebook: Path) -> Iterator[str]:
    for cell in read_notebook(notebook).cells:
        tags = cell.get("metadata", {}).get("tags", [])
        if cell.get("cell_type") == "code" and INJECTED_TAG not in tags:
            yield "".join(cell["source"])


def _normal(source: str) -> str:
    """`source` without comments and formatting; as it is when it is not Python."""
    tree = _parsed(source)
    return source if tree is None else ast.unparse(tree)


def _parsed(source: str) -> ast.Module | None:
    """The code of a cell: IPython's magics and commands become the calls that they stand for."""
    with suppress(SyntaxError, ValueError):
        return ast.parse(source)
    from IPython.core.inputtransformer2 import TransformerManager

    with suppress(SyntaxError, ValueError):
        return ast.parse(TransformerManager().transform_cell(source))
    return None


def _files_used(
    sources: Iterable[str], folder: Path, project: Project, *, roots: tuple[Path, ...] = ()
) -> set[Path]:
    """The files that code in `folder` imports or names, directly or through each other.

    Imported are modules beside the notebook, packages, and other workflows' modules. Named in
    the strings of commands, magics and calls are files beside the notebook, modules
    (`import_module`), and workflows whose configuration is read.
    """
    roots = (folder, *roots, project.notebooks)
    waiting = [(source, folder) for source in sources]
    found: set[Path] = set()
    while waiting:
        source, beside = waiting.pop()
        tree = _parsed(source)
        if tree is None:
            continue
        files: set[Path] = set()
        for node in ast.walk(tree):
            files.update(_imported(node, beside, roots))
            if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                continue
            if "\n" in node.value and "import" in node.value:
                waiting.append((node.value, beside))  # the body of a cell magic is code, too
            files.update(_named(node.value, beside, roots))
        for path in files - found:
            found.add(path)
            if path.suffix == ".py":
                waiting.append((_text(path), path.parent))
            elif path.suffix == ".ipynb":
                waiting += [(cell, path.parent) for cell in _cells(path)]
    return found


def _imported(node: ast.AST, beside: Path, roots: tuple[Path, ...]) -> Iterator[Path]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield from _modules(alias.name, (beside, *roots))
    elif isinstance(node, ast.ImportFrom):
        if node.level:
            home = beside.joinpath(*[".."] * (node.level - 1)).resolve()
            roots = (home,)
            yield from _existing(home / "__init__.py")
        for alias in node.names:
            name = f"{node.module}.{alias.name}" if node.module else alias.name
            yield from _modules(name, (beside, *roots) if not node.level else roots)
            if alias.name == "*":
                for root in roots:  # what `__all__` names may be modules
                    package = root.joinpath(*(node.module or "").split("."))
                    yield from package.glob("*.py")


def _modules(name: str, roots: Iterable[Path]) -> Iterator[Path]:
    """The files of the module `name` below `roots`, and of the packages it is in."""
    for root in roots:
        path = root
        for part in name.split("."):
            path = path / part
            yield from _existing(path.with_suffix(".py"))
            yield from _existing(path / "__init__.py")


def _named(text: str, beside: Path, roots: tuple[Path, ...]) -> Iterator[Path]:
    """The files that `text` names, as a whole or word by word."""
    if len(text) > _LONG:
        return
    for word in {text, *re.split(r"[\s'\"=,;|<>()]+", text)}:
        if not word or "\n" in word or "\0" in word or len(word) > 200:
            continue
        for root in {beside, roots[0]}:
            if word.strip("./") and not Path(word).is_absolute():
                yield from (p for p in _existing(root / word) if p.name[0] != ".")
        if all(part.isidentifier() for part in word.split(".")):
            yield from _modules(word, (beside, *roots[:-1]))
            yield from _existing(roots[-1] / word / "config.yaml")


def _existing(path: Path) -> Iterator[Path]:
    with suppress(OSError):
        if path.is_file():
            yield path.resolve()
