"""Notebooks and git: what a commit keeps, refuses, and how notebooks are compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from projects import REPOSITORY, make_project

from dataflow.project import Project


@pytest.fixture
def lab(tmp_path: Path) -> Project:
    """A clone of a project with this repository's settings for git."""
    project = make_project(tmp_path / "project", {"lab": {"count": ["print(1)\n"]}})
    for name in (".pre-commit-config.yaml", ".gitattributes"):
        shutil.copy(REPOSITORY / name, project.root / name)
    git(project, "init", "-q")
    git(project, "add", "--all")
    git(project, "commit", "-q", "--message", "Start")
    return project


def environment(project: Project) -> dict[str, str]:
    identity = {f"GIT_{who}_{what}": "lab@example.org" for who in ("AUTHOR", "COMMITTER")
                for what in ("NAME", "EMAIL")}  # fmt: skip
    tools = str(Path(sys.executable).parent)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        **identity,
        "HOME": str(project.root.parent),
        "GIT_CONFIG_NOSYSTEM": "1",
        "PATH": os.pathsep.join([tools, os.environ["PATH"]]),
        "PRE_COMMIT_HOME": str(project.root.parent / "pre-commit"),
        # Hooks need no network: whoever tries to use it fails.
        "https_proxy": "http://127.0.0.1:9",
    }


def git(project: Project, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *arguments],
        cwd=project.root,
        env=environment(project),
        capture_output=True,
        text=True,
        check=check,
    )


def edit(project: Project, source: str) -> Path:
    """Write the notebook's cell and save it as JupyterLab does, with its output."""
    path = project.notebooks / "lab" / "count.ipynb"
    nb = nbformat.read(path, as_version=4)
    nb.cells[0].source = source
    nb.cells[0].execution_count = 7
    nb.cells[0].outputs = [nbformat.v4.new_output("stream", text="1\n")]
    nb.metadata.language_info = {"name": "python", "version": "3.11.7", "mimetype": "text/x-python"}
    nbformat.write(nb, path)
    return path


def install_hooks(project: Project) -> None:
    subprocess.run(
        [sys.executable, "-m", "pre_commit", "install"],
        cwd=project.root,
        env=environment(project),
        capture_output=True,
        check=True,
    )


def test_a_commit_takes_outputs_out_and_keeps_cells_ids(lab):
    install_hooks(lab)
    path = edit(lab, "print(1)\nprint(2)\n")
    before = nbformat.read(path, as_version=4)

    refused = git(lab, "commit", "-qam", "Print more", check=False)
    assert refused.returncode == 1
    assert "notebooks without outputs" in refused.stderr + refused.stdout
    git(lab, "commit", "-qam", "Print more")

    after = nbformat.read(path, as_version=4)
    assert after.cells[0].outputs == []
    assert after.cells[0].execution_count is None
    assert after.cells[0].id == before.cells[0].id
    assert after.cells[0].source == before.cells[0].source.strip()
    assert after.metadata.language_info == {"name": "python"}


def test_a_commit_with_a_mistake_is_held_back(lab):
    install_hooks(lab)
    config = lab.notebooks / "lab" / "config.yaml"
    config.write_text(config.read_text("utf-8") + "  schedule: daily\n", encoding="utf-8")

    refused = git(lab, "commit", "-qam", "Daily", check=False)

    assert refused.returncode == 1
    assert "notebooks/lab/config.yaml:3" in refused.stderr + refused.stdout


def test_notebooks_are_compared_cell_by_cell(lab):
    subprocess.run(
        [sys.executable, "-m", "nbdime", "config-git", "--enable"],
        cwd=lab.root,
        env=environment(lab),
        check=True,
    )
    edit(lab, "print(1)\nprint(2)\n")

    # nbdime colours whatever git says about colours.
    shown = re.sub(r"\x1b\[[0-9;]*m", "", git(lab, "diff").stdout)

    assert shown.startswith("nbdiff ")
    assert "modified /cells/0/source" in shown
    assert "\n+print(2)" in shown, shown


def test_this_repositorys_notebooks_are_without_outputs():
    listed = git(Project(REPOSITORY), "ls-files", "*.ipynb").stdout.split()
    assert listed
    for name in listed:
        nb = nbformat.read(REPOSITORY / name, as_version=4)
        assert not any(cell.get("outputs") for cell in nb.cells), name
