"""What JupyterLab loads is built from lab/; `make lint` builds it anew and compares."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
from projects import REPOSITORY

from dataflow.dashboard.node import Node
from dataflow.errors import ConfigurationError


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """lab/build.py, for a copy of lab/ without packages, and an npm that reaches nothing."""
    spec = importlib.util.spec_from_file_location("build", REPOSITORY / "lab" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "lab").mkdir()
    shutil.copy(REPOSITORY / "lab" / "package-lock.json", tmp_path / "lab")
    monkeypatch.setattr(module, "LAB", tmp_path / "lab")
    monkeypatch.setattr(module, "INSTALLED", tmp_path / "lab" / "node_modules" / ".installed")
    npm = (sys.executable, "-c", "raise SystemExit('npm error ECONNREFUSED')")
    monkeypatch.setattr(module, "find_node", lambda: Node(Path("node"), npm, "22.0.0"))
    return module


def test_files_that_differ_are_missing_or_too_many_are_named(builder, tmp_path):
    for folder, files in {"one": {"a": "1", "b/c": "2"}, "other": {"a": "2", "d": ""}}.items():
        for name, text in files.items():
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).write_text(text)

    found = builder.differences(tmp_path / "one", tmp_path / "other")

    assert sorted(found) == ["a", "b/c", "d"]
    assert list(builder.differences(tmp_path / "one", tmp_path / "one")) == []


def test_without_npm_packages_the_check_is_skipped_loudly_and_fails_in_ci(
    builder, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["build.py", "--check"])
    monkeypatch.delenv("CI", raising=False)
    assert builder.main() == 0
    assert "NOT CHECKED" in capsys.readouterr().err

    monkeypatch.setenv("CI", "true")
    assert builder.main() == 1
    said = capsys.readouterr().err
    assert "ECONNREFUSED" in said
    assert "→ Check the network" in said


def test_packages_are_installed_again_only_when_their_lock_changed(builder):
    builder.INSTALLED.parent.mkdir()
    shutil.copy(builder.LAB / "package-lock.json", builder.INSTALLED)
    builder.install(builder.find_node())

    builder.INSTALLED.write_text("{}")
    with pytest.raises(ConfigurationError, match="npm could not install"):
        builder.install(builder.find_node())
