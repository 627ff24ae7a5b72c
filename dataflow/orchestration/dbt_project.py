"""The dbt project: its manifest, its models by workflow, and how dbt is called."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from dataflow.base.files import whole_file
from dataflow.errors import ConfigurationError
from dataflow.project import TIMEZONE_VARIABLE, Project
from dataflow.workflows.model import Workflow

WAREHOUSE_VARIABLE = "DATAFLOW_WAREHOUSE_PATH"  # what dbt/profiles.yml reads
PARSED = ("models", "macros", "tests", "seeds", "snapshots", "analyses")


def has_models(project: Project, workflow_id: str) -> bool:
    """Whether the workflow has dbt models."""
    return next((project.dbt / "models" / workflow_id).rglob("*.sql"), None) is not None


def ensure_manifest(project: Project) -> Path:
    """Have dbt read the project, if its files changed since it last did.

    Returns:
        dbt's `manifest.json`.

    Raises:
        ConfigurationError: dbt cannot read the project; says what dbt said.
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
            _parse(project)
            stamp.write_text(wanted, "utf-8")
    return manifest


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
    for path in sorted(files):
        if path.is_file() and path.suffix in {".sql", ".yml", ".yaml", ".csv", ".md", ".py"}:
            digest.update(f"\0{path.relative_to(project.dbt)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def dbt_command(project: Project, *arguments: str) -> list[str]:
    """The command line that runs dbt on the project."""
    return [
        sys.executable,
        "-W",
        "ignore::RuntimeWarning:runpy",  # about dbt's own way to import itself
        "-m",
        "dbt.cli.main",
        "--no-use-colors",
        *arguments,
        "--project-dir",
        str(project.dbt),
        "--profiles-dir",
        str(project.dbt),
    ]


def dbt_environment(project: Project) -> dict[str, str]:
    """The environment dbt runs in: the working warehouse, nothing sent anywhere."""
    return {
        **os.environ,
        WAREHOUSE_VARIABLE: str(project.warehouse),
        TIMEZONE_VARIABLE: project.timezone,
        "TZ": project.timezone,
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DO_NOT_TRACK": "1",
        "DBT_USE_COLORS": "false",
    }


def _parse(project: Project) -> None:
    result = subprocess.run(
        dbt_command(project, "parse"),
        env=dbt_environment(project),
        cwd=project.dbt,
        capture_output=True,
        text=True,
        check=False,
    )
    forget_variables(project)
    if result.returncode:
        said = [line.strip() for line in (result.stdout + result.stderr).splitlines()]
        lines = [line for line in said if line and "Running with dbt" not in line]
        raise ConfigurationError(
            "dbt cannot read the models:\n    " + "\n    ".join(lines[-12:]),
            where=project.relative(project.dbt),
            hint="Mend the file dbt names; `dataflow dbt parse` tells whether it is right.",
        )


def forget_variables(project: Project) -> None:
    """Take the values of environment variables out of what dbt keeps for its next parse.

    dbt compares them then, and reads those files anew that name a variable.
    """
    import msgpack

    path = project.dbt / "target" / "partial_parse.msgpack"
    with suppress(OSError, ValueError, msgpack.exceptions.UnpackException):
        kept = msgpack.unpackb(path.read_bytes(), strict_map_key=False)
        if kept.get("env_vars"):
            kept["env_vars"] = dict.fromkeys(kept["env_vars"], "")
            with whole_file(path) as draft:
                draft.write_bytes(msgpack.packb(kept))


@lru_cache(maxsize=1)
def _read_manifest(path: Path, changed_at: float) -> dict[str, Any]:
    return dict(json.loads(path.read_text("utf-8")))


def read_manifest(project: Project) -> dict[str, Any]:
    """dbt's manifest of the project, made if need be."""
    path = ensure_manifest(project)
    return _read_manifest(path, path.stat().st_mtime)


def workflow_of(node: dict[str, Any]) -> str:
    """The workflow a dbt node belongs to: the folder below `models/` it stands in."""
    parts = Path(node["original_file_path"]).parts
    return parts[1] if len(parts) > 2 else "dbt"


def model_keys(project: Project, workflow: Workflow, *, last_only: bool = False) -> list[list[str]]:
    """The asset keys of the workflow's models: (schema, table).

    Args:
        project: the project.
        workflow: the workflow.
        last_only: leave out the models that others of the workflow are built on.
    """
    models = {
        name: node
        for name, node in read_manifest(project)["nodes"].items()
        if node["resource_type"] in {"model", "seed", "snapshot"}
        and workflow_of(node) == workflow.id
    }
    inner = {
        name for node in models.values() for name in node.get("depends_on", {}).get("nodes", [])
    }
    return [
        [node["schema"], node["alias"]]
        for name, node in models.items()
        if not (last_only and name in inner)
    ]
