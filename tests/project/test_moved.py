"""A project whose folder was moved: `make` sets its environment right."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from projects import REPOSITORY

from dataflow.base.moved import set_right

VENV = Path(sys.prefix)
MADE = VENV / "pyvenv.cfg"


def linked(source: str, target: str) -> None:
    """A copy that costs nothing; of what is to be written anew, a real one."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another file system
        shutil.copy2(source, target, follow_symlinks=False)


@pytest.mark.skipif(
    not MADE.is_file() or " -m venv " not in MADE.read_text(), reason="not made by make"
)
@pytest.mark.parametrize("name", ["moved", "moved with spaces"])
def test_make_sets_the_environment_of_a_moved_project_right(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    root.mkdir()
    for file in (
        "Makefile",
        "development.mk",
        "pyproject.toml",
        "requirements.lock",
        "requirements-dev.lock",
    ):
        shutil.copy2(REPOSITORY / file, root / file)
    shutil.copytree(
        REPOSITORY / "dataflow", root / "dataflow", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(VENV, root / ".venv", symlinks=True, copy_function=linked)
    (root / ".venv" / ".installed").touch()
    before = (VENV / "bin" / "dataflow").read_bytes()
    command = root / ".venv" / "bin" / "dataflow"

    began = time.monotonic()
    first = subprocess.run(
        ["make", ".venv/.installed"], cwd=root, capture_output=True, text=True, check=False
    )
    took = time.monotonic() - began

    assert first.returncode == 0, first.stderr
    assert "was moved" in first.stdout
    assert "installing" not in first.stdout
    assert took < 300
    shown = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    where = "import dataflow, sys; print(dataflow.__file__, sys.prefix)"
    found = subprocess.run(
        [root / ".venv" / "bin" / "python", "-c", where],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert found == f"{root / 'dataflow' / '__init__.py'} {root / '.venv'}"
    assert (VENV / "bin" / "dataflow").read_bytes() == before
    again = subprocess.run(
        ["make", ".venv/.installed"], cwd=root, capture_output=True, text=True, check=False
    )
    assert "up to date" in again.stdout


def test_an_environment_with_spaces_in_its_path_can_be_moved_again(tmp_path: Path) -> None:
    # A shell stands between it and its commands already.
    old, new = tmp_path / "first one" / ".venv", tmp_path / "once more" / ".venv"
    command = new / "bin" / "tool"
    command.parent.mkdir(parents=True)
    text = "#!/bin/sh\n'''exec' \"{}/bin/python\" \"$0\" \"$@\"\n' '''\nprint(1)\n"
    command.write_text(text.format(old))

    assert set_right(str(old), str(new)) == [command]
    assert command.read_text() == text.format(new)
