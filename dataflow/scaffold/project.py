"""A new project: the files that `dataflow init` writes, and `dataflow upgrade` keeps up to date."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from dataflow.base.version import DISTRIBUTION, installed
from dataflow.base.words import nearest
from dataflow.errors import ConfigurationError, Problem, ProjectNotFound
from dataflow.project import Project
from dataflow.scaffold.workflow import (
    all_or_nothing,
    make_folder,
    make_workflow,
    plan_workflow,
    refuse_name,
    refuse_template,
)

# What init wrote, in which version: upgrade tells by it what its owner changed.
RECORD = ".dataflow-init.json"
WHEELS = "wheels"
TEMPLATE = Path(__file__).with_name("project_template")
# DATAFLOW's repository is a project itself; a wheel has these files of it with it.
_IN_WHEEL = Path(__file__).with_name("repository")
REPOSITORY = _IN_WHEEL if _IN_WHEEL.is_dir() else Path(__file__).parents[2]
SHARED = (
    ".dockerignore", ".gitattributes", ".gitignore", ".pre-commit-config.yaml", "Containerfile",
    "Makefile", "compose.yaml", "dbt/dbt_project.yml", "dbt/macros/generate_schema_name.sql",
    "dbt/profiles.yml", "evidence/evidence.config.yaml", "requirements-own.txt",
    "requirements.lock",
)  # fmt: skip
EXAMPLES = {
    "earthquakes": (
        "dbt/models/earthquakes", "dbt/tests/earthquakes", "evidence/pages/earthquakes",
        "evidence/sources/earthquakes", "notebooks/earthquakes", "tests/workflows/earthquakes",
    )
}  # fmt: skip
# Folders that a project has from the beginning, and git keeps.
_KEPT = ("notebooks", "evidence/pages", "dbt/models")
# The version that pyproject.toml and environment.yml ask for.
PIN = re.compile(rb"(dataflow-notebooks(?:\[project\])?==)[\w.+]+")
_NAME = "my-project"
_LEFTOVERS = {"__pycache__", ".ipynb_checkpoints", "debug"}


@dataclass(frozen=True)
class NewProject:
    """A project that can be created.

    Args:
        root: its folder, which may exist.
        name: its name, as a Python package may be called.
        files: what is in each file, by its path from the root.
        template: what its first workflow, called like it, is made from; None without one.
    """

    root: Path
    name: str
    files: Mapping[str, bytes]
    template: str | None

    @property
    def workflow(self) -> str | None:
        """The workflow that the template makes."""
        return self.name.replace("-", "_") if self.template else None


def plan_project(root: Path, example: str | None = None, template: str | None = None) -> NewProject:
    """Check that a project can be created in `root`; nothing is written.

    Args:
        root: its folder; what is in it already stays.
        example: the name of a complete workflow to bring along.
        template: a template of a workflow to begin with, called like the project.

    Raises:
        ConfigurationError: there is no such example or template, the folder cannot have that
            name, lies in another project, or has one of the files already.
    """
    root = root.resolve()
    if example is not None and example not in EXAMPLES:
        raise ConfigurationError(
            f"there is no example `{example}`", hint=nearest(example, EXAMPLES)
        )
    name = re.sub(r"[^a-z0-9]+", "-", root.name.lower()).strip("-")
    if not name:
        raise ConfigurationError(
            f"`{root.name}` has no letter or digit that a project could be called by",
            hint="Name another folder, such as `shop`.",
        )
    with contextlib.suppress(ProjectNotFound):
        raise ConfigurationError(
            f"{root} lies in the project {Project.find(_existing(root)).root}",
            hint="Choose a folder outside of it, or add a workflow to it: "
            "dataflow workflow init NAME.",
        )
    files = {**owned_files(name), **_example_files(example)}
    if example is None:
        files |= {f"{folder}/.gitkeep": b"" for folder in _KEPT}
    taken = [Problem("exists already", root / path) for path in files if (root / path).exists()]
    if taken:
        raise ConfigurationError(
            f"{root} has files of a project already; nothing was created",
            hint="Choose another folder, or move them away.",
            problems=taken,
            root=root,
        )
    new = NewProject(root, name, files, template)
    if new.workflow is not None:
        refuse_template(str(template))
        refuse_name(new.workflow)
    return new


def owned_files(name: str) -> dict[str, bytes]:
    """The files that upgrades keep up to date in a project called `name`: their content by path."""
    files = {path: (REPOSITORY / path).read_bytes() for path in SHARED}
    for path in sorted(TEMPLATE.rglob("*")):
        if path.is_file() and _LEFTOVERS.isdisjoint(path.parts):
            text = path.read_bytes().replace(_NAME.encode(), name.encode())
            text = PIN.sub(rb"\g<1>" + installed().encode(), text)
            files[path.relative_to(TEMPLATE).as_posix()] = text
    return dict(sorted(files.items()))


def installed_wheel() -> Path | None:
    """The wheel that DATAFLOW was installed from, where it was and still is a file."""
    path = Path(unquote(urlparse(str(_origin().get("url"))).path))
    return path if path.suffix == ".whl" and path.is_file() else None


def lacks_wheel() -> bool:
    """Whether DATAFLOW came from no index, and the file it came from is not there."""
    return bool(_origin()) and installed_wheel() is None


def _origin() -> dict[str, Any]:
    """Where pip installed DATAFLOW from; nothing for an index."""
    return dict(
        json.loads(metadata.distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
    )


def make_project(plan: NewProject) -> list[str]:
    """Create the project: every file, or, when something fails, none; and a git repository.

    Returns:
        The paths of the files that were created, from the project's root.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    root = plan.root
    files = dict(plan.files)
    if (wheel := installed_wheel()) is not None:
        files[f"{WHEELS}/{wheel.name}"] = wheel.read_bytes()
    files[RECORD] = record_of(plan.name).encode()
    with all_or_nothing("the project", root) as made:
        for name, content in files.items():
            make_folder((root / name).parent, made)
            made.append(root / name)
            (root / name).write_bytes(content)
        if plan.workflow is not None:
            scaffold = plan_workflow(Project(root), plan.workflow, str(plan.template))
            made += scaffold.folders
            files |= {path.relative_to(root).as_posix(): b"" for path in make_workflow(scaffold)}
        _begin_git(root)
    return sorted(files)


def record_of(name: str) -> str:
    """The content of `RECORD` for a project called `name`, as this version writes its files."""
    hashes = {path: digest(content) for path, content in owned_files(name).items()}
    record = {"name": name, "version": installed(), "files": hashes}
    return json.dumps(record, indent=2) + "\n"


def digest(content: bytes) -> str:
    """A hash of a file's content, whatever version of DATAFLOW it asks for.

    A checkout with Windows' line ends has the same.
    """
    text = PIN.sub(rb"\g<1>", content.replace(b"\r\n", b"\n"))
    return hashlib.sha256(text).hexdigest()


def _example_files(example: str | None) -> dict[str, bytes]:
    return {
        path.relative_to(REPOSITORY).as_posix(): path.read_bytes()
        for folder in EXAMPLES.get(example or "", ())
        for path in sorted((REPOSITORY / folder).rglob("*"))
        if path.is_file() and _LEFTOVERS.isdisjoint(path.relative_to(REPOSITORY).parts)
    }


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _begin_git(root: Path) -> None:
    """Make a git repository, unless there is one around, or no git."""
    with contextlib.suppress(FileNotFoundError):
        inside = ["git", "rev-parse", "--is-inside-work-tree"]
        if subprocess.run(inside, cwd=root, capture_output=True, check=False).returncode:
            subprocess.run(["git", "init", "--quiet"], cwd=root, capture_output=True, check=False)
