"""The dbt project: its manifest, its models by workflow, and how dbt is called."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import subprocess
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from dataflow.base.files import whole_file, write_whole
from dataflow.dbt.command import (
    dbt_command,
    dbt_environment,
    forget_variables,
    own_macros,
)
from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.workflows.model import Workflow

HINT = "Fix the file dbt names; `dataflow dbt parse` checks it."
SUFFIXES = {".sql", ".yml", ".yaml", ".csv", ".md", ".py"}
PARSED = ("models", "macros", "tests", "seeds", "snapshots", "analyses")


def has_models(project: Project, workflow_id: str) -> bool:
    """Whether the workflow has dbt models."""
    return next((project.dbt / "models" / workflow_id).rglob("*.sql"), None) is not None


def ensure_manifest(project: Project) -> Path:
    """Have dbt read the project, if its files changed since it last did.

    A workflow whose files dbt cannot read is left out: see `broken_models`.

    Returns:
        dbt's `manifest.json`.

    Raises:
        ConfigurationError: dbt cannot read what all workflows share; gives dbt's own messages.
    """
    from filelock import FileLock

    manifest = project.dbt / "target" / "manifest.json"
    stamp = project.state / "dbt-manifest.sha256"
    wanted = _sources_hash(project)
    if _is_current(manifest, stamp, wanted):
        return manifest
    project.state.mkdir(parents=True, exist_ok=True)
    with FileLock(project.state / "dbt-manifest.lock", timeout=300):
        if not _is_current(manifest, stamp, wanted):
            broken = _parse_what_can_be(project)
            write_whole(_broken_file(project), json.dumps(broken))
            stamp.write_text(wanted, "utf-8")
    return manifest


def broken_models(project: Project) -> dict[str, str]:
    """The workflows whose dbt files dbt could not read the last time, with its message."""
    try:
        return dict(json.loads(_broken_file(project).read_text("utf-8")))
    except (OSError, ValueError):
        return {}


def readable_folder(project: Project) -> Path:
    """The dbt project as dbt can read it: without the files of workflows that are broken."""
    broken = broken_models(project)
    return _without(project, broken) if broken else project.dbt


def _broken_file(project: Project) -> Path:
    return project.state / "dbt-broken.json"


def _parse_what_can_be(project: Project) -> dict[str, str]:
    """Have dbt read the project, leaving out workflows that it rejects until it can."""
    models = project.dbt / "models"
    workflows = [path.name for path in models.glob("*") if path.is_dir()]
    broken = {name: text for name in workflows if (text := _not_utf8(project, name))}
    while messages := _parse(project, _without(project, broken) if broken else project.dbt):
        text = "dbt cannot read the models:\n    " + "\n    ".join(messages[-12:])
        named = {name for name in workflows if _names(messages, name)} - broken.keys()
        if not named:
            raise ConfigurationError(text, where=project.relative(project.dbt), hint=HINT)
        broken |= dict.fromkeys(named, text)
    return broken


def _names(messages: list[str], workflow_id: str) -> bool:
    """Whether dbt names a workflow's files: `models/x/…`, or `Error reading project: x/…`."""
    places = "|".join(f"{folder}/" for folder in PARSED)
    pattern = rf"(?:\b(?:{places})|: ){re.escape(workflow_id)}/"
    return any(re.search(pattern, line) for line in messages)


def _not_utf8(project: Project, workflow_id: str) -> str:
    """Names the workflow's file that dbt cannot decode, which dbt itself does not."""
    for path in (path for part in PARSED for path in (project.dbt / part / workflow_id).rglob("*")):
        try:
            if path.suffix in SUFFIXES and path.is_file():
                path.read_bytes().decode()
        except UnicodeDecodeError:
            return f"dbt cannot read the models:\n    {project.relative(path)} is not in UTF-8"
    return ""


def _without(project: Project, broken: Iterable[str]) -> Path:
    """A folder that is the dbt project without the files of the `broken` workflows."""
    names = sorted(broken)
    name = hashlib.sha256("\0".join(names).encode()).hexdigest()[:16]
    folder = project.state / "dbt-without" / name
    folder.mkdir(parents=True, exist_ok=True)
    ignore = project.dbt / ".dbtignore"
    lines = [f"/{part}/{workflow_id}/" for workflow_id in names for part in PARSED]
    own = ignore.read_text("utf-8").splitlines() if ignore.exists() else []
    with whole_file(folder / ignore.name) as draft:
        draft.write_text("\n".join([*own, *lines, ""]), "utf-8")
    for path in project.dbt.iterdir():
        if path.name != ignore.name:
            with contextlib.suppress(FileExistsError):
                (folder / path.name).symlink_to(path)
    with contextlib.suppress(FileExistsError):  # for `../.dataflow` in dbt_project.yml
        (folder.parent / project.state.name).symlink_to(project.state)
    return folder


def _is_current(manifest: Path, stamp: Path, wanted: str) -> bool:
    try:
        return manifest.is_file() and stamp.read_text("utf-8") == wanted
    except OSError:
        return False


def _sources_hash(project: Project) -> str:
    digest = hashlib.sha256(str(project.root).encode())
    files = [project.dbt / "dbt_project.yml", project.dbt / "profiles.yml"]
    for folder in PARSED:
        files += [path for path in (project.dbt / folder).rglob("*") if path.is_file()]
    for path in [*sorted(files), *own_macros(project)]:
        if path.is_file() and path.suffix in SUFFIXES:
            digest.update(f"\0{project.relative(path)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _parse(project: Project, folder: Path) -> list[str]:
    """Have dbt read `folder`; returns its messages when it cannot."""
    result = subprocess.run(
        [
            *dbt_command(project, "parse", folder=folder),
            *("--target-path", str(project.dbt / "target")),
            *("--log-path", str(project.dbt / "logs")),
        ],
        env=dbt_environment(project),
        cwd=project.dbt,
        capture_output=True,
        text=True,
        check=False,
    )
    forget_variables(project)
    if not result.returncode:
        return []
    messages = [line.strip() for line in (result.stdout + result.stderr).splitlines()]
    return [line for line in messages if line and "Running with dbt" not in line] or ["nothing"]


@lru_cache(maxsize=1)
def _read_manifest(path: Path, changed_at: float) -> dict[str, Any]:
    return dict(json.loads(path.read_text("utf-8")))


def read_manifest(project: Project, workflow: Workflow) -> dict[str, Any]:
    """dbt's manifest of the project, made if need be.

    Raises:
        ConfigurationError: dbt cannot read it, or the files of `workflow`.
    """
    path = ensure_manifest(project)
    if message := broken_models(project).get(workflow.id):
        raise ConfigurationError(message, where=project.relative(project.dbt), hint=HINT)
    return _read_manifest(path, path.stat().st_mtime)


def workflow_of(node: dict[str, Any]) -> str:
    """The workflow a dbt node belongs to: its folder below `models/`."""
    parts = Path(node["original_file_path"]).parts
    return parts[1] if len(parts) > 2 else "dbt"


def models_of(manifest: dict[str, Any], workflow: Workflow) -> dict[str, dict[str, Any]]:
    """The workflow's models, seeds and snapshots in dbt's manifest, by unique id."""
    return {
        name: node
        for name, node in manifest["nodes"].items()
        if node["resource_type"] in {"model", "seed", "snapshot"}
        and workflow_of(node) == workflow.id
    }


def model_keys(project: Project, workflow: Workflow, *, last_only: bool = False) -> list[list[str]]:
    """The asset keys of the workflow's models: (schema, table).

    Args:
        project: the project.
        workflow: the workflow.
        last_only: leave out the models that others of the workflow are built on.
    """
    models = models_of(read_manifest(project, workflow), workflow)
    inner = {
        name for node in models.values() for name in node.get("depends_on", {}).get("nodes", [])
    }
    return [
        [node["schema"], node["alias"]]
        for name, node in models.items()
        if not (last_only and name in inner)
    ]


def selection_of(project: Project, workflow_id: str) -> str:
    """dbt's selection of a workflow's models: by name, since dbt resolves paths where it runs."""
    name = yaml.safe_load((project.dbt / "dbt_project.yml").read_text("utf-8"))["name"]
    return f"fqn:{name}.{workflow_id}"
