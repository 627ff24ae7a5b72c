"""What a run keeps of its code: the commit, and how the project's files differ from it."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import nbformat
import pytest
from projects import dataflow, make_project, run_data, run_folder, write_notebook

from dataflow.engine.secrets import Scrubber
from dataflow.orchestration.code_state import MOST_FILES, code_state, keep_difference
from dataflow.project import Project
from dataflow.runs.record import DIFFERENCE

SECRET = "s3cr3t-t0ken-of-somebody"


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.fixture
def project(tmp_path) -> Project:
    """A project that is committed, in a folder of a bigger repository."""
    root = tmp_path / "repository" / "pröject"
    project = make_project(root, {"shop": {"ingest": ["a = 1"]}})
    (root / ".gitignore").write_text("runs/\n.duckdb/\n.dataflow/\n")
    (root.parent / "beside.py").write_text("1\n")
    git(root.parent, "init", "-q")
    git(root.parent, "add", "-A")
    git(root.parent, "commit", "-qm", "first")
    return project


def difference(project: Project, folder: Path) -> str:
    state = code_state(project)
    assert state is not None
    kept = keep_difference(state, folder, "shop", Scrubber({"TOKEN": SECRET}))
    assert kept == (folder / DIFFERENCE).exists()
    return (folder / DIFFERENCE).read_text("utf-8") if kept else ""


def test_a_clean_project_has_a_commit_and_no_difference(project, tmp_path):
    """Files beside the project, and outputs that were saved with a notebook, are no other code."""
    (project.root.parent / "beside.py").write_text("2\n")
    state = code_state(project)
    assert state.facts() == {
        "commit": git(project.root, "rev-parse", "HEAD").strip(),
        "dirty": False,
    }

    path = project.notebooks / "shop" / "ingest.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].outputs = [nbformat.v4.new_output("stream", text="1\n")]
    nbformat.write(notebook, path)

    assert code_state(project).dirty
    assert difference(project, tmp_path) == ""


def test_changed_new_and_deleted_files_are_a_patch_that_git_applies(project, tmp_path):
    """It has any file name, the workflow's first, and secrets by their names."""
    models = project.dbt / "models" / "shop"
    models.mkdir(parents=True)
    (models / "a b ü.sql").write_text("select 1\n")
    (project.root / "gone.txt").write_text("x\n")
    git(project.root, "add", "-A")
    git(project.root, "commit", "-qm", "second")
    (models / "a b ü.sql").write_text(f"select '{SECRET}'\n")
    (project.root / "gone.txt").unlink()
    (project.root / "new folder").mkdir()
    (project.root / "new folder" / "aaa.py").write_text("b = 2\x0c\u2028")
    (project.root / ".env").write_text("PASSWORD=hunter2\n")
    (project.root / "data.bin").write_bytes(b"\0\1")
    (project.root / "link").symlink_to("/etc/passwd")
    write_notebook(project.notebooks / "shop" / "ingest.ipynb", ["a = 2"])

    text = difference(project, tmp_path)

    head, _, patch = text.partition("\n\n")
    assert git(project.root, "rev-parse", "HEAD").strip() in head
    assert "link, data.bin" in head or ".env" in head
    assert SECRET not in text
    assert "hunter2" not in text
    assert "root:" not in text
    names = [line[6:].strip() for line in patch.splitlines() if line.startswith("+++ b/")]
    assert names == [
        "dbt/models/shop/a b ü.sql",
        "notebooks/shop/ingest.ipynb",
        "new folder/aaa.py",
    ]
    assert '"a = 2"\n' in patch
    again = tmp_path / "again"
    git(tmp_path, "clone", "-q", str(project.root.parent), str(again))
    (tmp_path / "patch").write_text(patch.replace("${TOKEN}", "x"))
    git(again / "pröject", "apply", str(tmp_path / "patch"))
    assert (again / "pröject" / "new folder" / "aaa.py").read_text() == "b = 2\x0c\u2028"
    assert json.loads((again / "pröject/notebooks/shop/ingest.ipynb").read_text())


def test_without_a_commit_everything_is_new_and_without_git_nothing_is_said(tmp_path, project):
    fresh = make_project(tmp_path / "fresh", {"shop": {"ingest": ["a = 1"]}})
    assert code_state(fresh) is None

    git(fresh.root, "init", "-q")
    git(fresh.root, "add", "pyproject.toml")

    assert code_state(fresh).facts() == {"commit": "", "dirty": True}
    text = difference(fresh, tmp_path)
    assert "there was no commit yet" in text
    assert "+++ b/pyproject.toml" in text
    assert "+++ b/notebooks/shop/ingest.ipynb" in text


def test_folders_of_a_hundred_thousand_files_cost_no_time_and_no_room(project, tmp_path):
    """Untracked data is listed no further than what is kept, and the file says that there is more."""
    many = project.root / "data"
    many.mkdir()
    for number in range(5_000):
        (many / f"{number}.csv").write_text("a,b\n" * 100)
    (project.root / "big.sql").write_text("select 1\n" * 100_000)

    begun = time.monotonic()
    text = difference(project, tmp_path)

    assert time.monotonic() - begun < 60
    assert f"Only {MOST_FILES} files were looked at" in text
    assert "big.sql" in text.partition("\n\n")[0]
    assert len(text) < 1_500_000


def test_a_full_disk_or_a_broken_repository_does_not_stop_a_run(project, tmp_path):
    (project.root / "new.py").write_text("1\n")
    state = code_state(project)
    (tmp_path / "full").write_text("no folder")
    assert keep_difference(state, tmp_path / "full", "shop", Scrubber()) is False
    git(project.root, "add", "-A")
    git(project.root, "commit", "-qm", "x")
    (project.root / "new.py").write_text("2\n")
    state = code_state(project)
    (project.root.parent / ".git" / "HEAD").write_text("nonsense")
    assert keep_difference(state, tmp_path, "shop", Scrubber()) is False
    assert code_state(project) is None


@pytest.mark.slow
def test_a_run_keeps_the_difference_beside_its_record(project):
    """The file is among the run's files, `runs show` names it, a clean run has none."""
    assert dataflow(project, "workflow", "run", "shop", "-q").returncode == 0
    assert not (run_folder(project, "shop") / DIFFERENCE).exists()
    write_notebook(project.notebooks / "shop" / "ingest.ipynb", ["a = 'changed'"])

    assert dataflow(project, "workflow", "run", "shop", "-q").returncode == 0

    assert run_data(project, "shop")["git"]["dirty"]
    assert "a = 'changed'" in (run_folder(project, "shop") / DIFFERENCE).read_text()
    shown = dataflow(project, "runs", "show", "last").stdout
    assert f"{run_folder(project, 'shop').relative_to(project.root)}/{DIFFERENCE}" in shown
