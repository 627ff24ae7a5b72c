"""Copies of this repository for tests: complete, and theirs to change."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from dataflow.dashboard.build import built_hash, pages_hash
from dataflow.dashboard.install import installed_hash, packages_hash
from dataflow.project import Project

REPOSITORY = Project(Path(__file__).parents[1])


def copy_repository(target: Path, built: Path | None = None) -> Project:
    """Copy the files that git knows of or would, as they are now.

    Args:
        target: the folder to make.
        built: a folder with built pages to take over.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY.root,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        source = REPOSITORY.root / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    project = Project(target)
    link_packages(project)
    if built is not None and built_hash(Project(built)) == pages_hash(project):
        shutil.copytree(built / "evidence" / "build", project.evidence / "build")
    return project


def link_packages(project: Project) -> None:
    """Use Evidence's packages of the repository where they are installed: that takes a minute."""
    installed = installed_hash(REPOSITORY)
    if installed and installed.split("-")[0] == packages_hash(REPOSITORY).split("-")[0]:
        (project.evidence / "node_modules").symlink_to(REPOSITORY.evidence / "node_modules")
