"""A project of one's own: what `init` writes, and what `upgrade` makes of it later."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from browser import browser_page
from projects import REPOSITORY, copy_repository, environment, free_port

from dataflow.base.version import installed
from dataflow.cli.main import run
from dataflow.dashboard.build import built_hash, pages_hash
from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.scaffold.project import (
    EXAMPLES,
    RECORD,
    SHARED,
    make_project,
    owned_files,
    plan_project,
)
from dataflow.scaffold.upgrade import DIFFERENCE, plan_upgrade, upgrade

COUNT = "1,679"  # earthquakes of the example, on its dashboard


def everything_in(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_the_wheel_has_with_it_what_init_writes():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    included = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]

    assert included == {
        name: f"dataflow/scaffold/repository/{name}"
        for name in [*SHARED, *(folder for folders in EXAMPLES.values() for folder in folders)]
    }


def test_init_makes_a_complete_project_whose_workflow_is_valid(tmp_path, monkeypatch, capsys):
    assert run(["init", str(tmp_path / "My shop"), "--template", "minimal"]) == 0
    root = tmp_path / "My shop"

    assert "project my-shop created" in capsys.readouterr().err
    assert everything_in(root) >= {
        "pyproject.toml", "environment.yml", ".gitignore", ".gitattributes", "README.md",
        ".pre-commit-config.yaml", "Makefile", ".github/workflows/ci.yml", ".git/HEAD",
        "dbt/dbt_project.yml", "evidence/evidence.config.yaml", "tests/test_project.py",
        "notebooks/my_shop/config.yaml", RECORD,
    }  # fmt: skip
    asked = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert asked["name"] == "my-shop"
    assert asked["dependencies"] == [f"dataflow-notebooks[project]=={installed()}"]
    monkeypatch.chdir(root)
    assert run(["workflow", "validate"]) == 0
    commands = subprocess.run(
        ["make", "-n", "setup"], cwd=root, capture_output=True, text=True, check=True
    ).stdout
    assert f'"dataflow-notebooks[project]=={installed()}"' in commands
    assert "requirements-dev.lock" not in commands


def test_init_writes_nothing_where_a_project_is_or_files_are_in_the_way(tmp_path, capsys):
    (tmp_path / "Makefile").write_text("mine")
    assert run(["init", str(tmp_path)]) == 2
    assert "Makefile: exists already" in capsys.readouterr().err
    assert run(["init", str(tmp_path / "a"), "--example", "earthquake"]) == 2
    assert "Did you mean `earthquakes`?" in capsys.readouterr().err
    assert run(["init", str(tmp_path / "a"), "--dry-run"]) == 0
    assert everything_in(tmp_path) == {"Makefile"}

    made = make_project(plan_project(tmp_path / "b"))
    assert set(made) == {p for p in everything_in(tmp_path / "b") if not p.startswith(".git/")}
    with pytest.raises(ConfigurationError, match="lies in the project"):
        plan_project(tmp_path / "b" / "inner")


def test_init_that_cannot_write_leaves_nothing(tmp_path):
    root = tmp_path / "shop"
    plan = plan_project(root)
    broken = type(plan)(root, plan.name, {**plan.files, "x" * 300: b""}, None)

    with pytest.raises(ConfigurationError, match="nothing was created"):
        make_project(broken)
    assert not root.exists()


def test_upgrade_updates_what_nobody_changed_and_leaves_the_rest_with_the_difference(tmp_path):
    """A project of an older version: files that were another there, that are gone, that are new."""
    root = tmp_path / "shop"
    make_project(plan_project(root))
    project = Project(root)
    new = {name: (root / name).read_bytes() for name in owned_files("shop")}
    record = json.loads((root / RECORD).read_text())

    def older(name: str, text: str, recorded: str | None = None) -> None:
        """`name` as an older version wrote it, and as its owner has it now."""
        from dataflow.scaffold.project import digest

        (root / name).write_text(text)
        record["files"][name] = digest((recorded or text).encode())

    older("Makefile", "all:\n")
    older("README.md", "# Ours\n", recorded="# shop\n")
    older("gone.cfg", "old\n")
    older("kept.cfg", "ours\n", recorded="old\n")
    (root / ".gitignore").unlink()
    (root / ".gitattributes").unlink()
    del record["files"][".gitattributes"]
    pins = root / "pyproject.toml"
    pins.write_text(pins.read_text().replace(f"=={installed()}", "==0.1.9") + "# ours\n")
    record["version"] = "0.1.9"
    (root / RECORD).write_text(json.dumps(record))
    before = everything_in(root)

    changes = {change.path: change.what for change in plan_upgrade(project).changes}
    assert everything_in(root) == before, "a plan writes nothing"
    upgrade(plan_upgrade(project))

    assert (root / "Makefile").read_bytes() == new["Makefile"]
    assert (root / "README.md").read_text() == "# Ours\n"
    assert "-# Ours" in (root / f"README.md{DIFFERENCE}").read_text()
    assert not (root / "gone.cfg").exists()
    assert (root / "kept.cfg").read_text() == "ours\n"
    assert not (root / ".gitignore").exists(), "its owner removed it"
    assert (root / ".gitattributes").read_bytes() == new[".gitattributes"]
    assert pins.read_bytes() == new["pyproject.toml"] + b"# ours\n"
    assert set(changes) == {
        "Makefile", "README.md", "gone.cfg", "kept.cfg", ".gitignore", ".gitattributes",
        "pyproject.toml",
    }  # fmt: skip
    (root / f"README.md{DIFFERENCE}").unlink()
    # A colleague's clone may be called otherwise.
    root = root.rename(tmp_path / "clone")
    (again,) = plan_upgrade(Project(root)).changes
    assert again.path == ".gitignore"
    assert again.content is None
    assert json.loads((root / RECORD).read_text())["version"] == installed()


def test_a_project_of_a_newer_version_or_of_nobody_is_not_upgraded(tmp_path):
    root = tmp_path / "shop"
    make_project(plan_project(root))
    record = json.loads((root / RECORD).read_text())
    (root / RECORD).write_text(json.dumps(record | {"version": "99.0"}))
    with pytest.raises(ConfigurationError, match=r"of version 99\.0"):
        plan_upgrade(Project(root))
    (root / RECORD).unlink()
    with pytest.raises(ConfigurationError, match="was not made by"):
        plan_upgrade(Project(root))


def build_wheel(folder: Path) -> Path:
    """Build the wheel from the files in `folder`."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_the_wheel_to_a_dashboard_and_on_to_the_next_version(tmp_path, built_pages):
    """A fresh environment, `init`, a run, the dashboard; then the next version, and `upgrade`."""
    source = copy_repository(tmp_path / "source").root
    python = tmp_path / "env" / "bin" / "python"
    shop = Project(tmp_path / "work" / "shop")
    shop.root.parent.mkdir()
    env = environment({"PATH": f"{python.parent}:{os.environ['PATH']}"})
    del env["PYTHONPATH"]

    def call(*command: str | Path, cwd: Path = shop.root) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    wheel = build_wheel(source)
    # Python compiles what is imported; pip would all of it, in half a minute.
    call(python, "-m", "pip", "install", "-q", "--no-compile", wheel, cwd=tmp_path)
    # Any `jupyter lab` of this environment has the panel, and the server's part of it.
    listed = call("jupyter", "server", "extension", "list", cwd=tmp_path)
    assert re.search(r"dataflow\.lab\.extension .*OK", listed.stdout + listed.stderr)
    shared = tmp_path / "env" / "share" / "jupyter" / "labextensions" / "dataflow-jupyterlab"
    loads = json.loads((shared / "package.json").read_text())["jupyterlab"]["_build"]["load"]
    assert (shared / loads).is_file()
    call("dataflow", "init", "shop", "--example", "earthquakes", cwd=shop.root.parent)
    assert not (shop.root / "lab").exists()
    assert (shop.root / "wheels" / wheel.name).is_file()
    # Installing and building them is what other tests do; here it would take two minutes.
    (shop.evidence / "node_modules").symlink_to(REPOSITORY / "evidence" / "node_modules")
    assert built_hash(Project(built_pages)) == pages_hash(shop)
    shutil.copytree(built_pages / "evidence" / "build", shop.evidence / "build")

    ran = call("dataflow", "workflow", "run", "earthquakes")
    assert "succeeded" in ran.stdout
    call(python, "-m", "pytest", "-q", "tests/test_project.py")
    port = str(free_port())
    call("dataflow", "service", "start", "evidence", "-d", "--port", port)
    try:
        with browser_page() as visit:
            visit.page.goto(f"http://127.0.0.1:{port}/earthquakes")
            visit.page.get_by_text(COUNT).first.wait_for(timeout=60_000)
            visit.assert_clean()
    finally:
        call("dataflow", "service", "stop", "evidence")

    settings = source / "pyproject.toml"
    settings.write_text(
        re.sub(r'^version = ".*"$', 'version = "9.0.0"', settings.read_text(), flags=re.M)
    )
    for name in ("Makefile", ".gitignore"):
        (source / name).write_text((source / name).read_text() + "# of version 9\n")
    (shop.root / ".gitignore").write_text("# ours\n")
    shutil.rmtree(source / "dist")
    newer = build_wheel(source)
    call(python, "-m", "pip", "install", "-q", "--no-deps", newer, cwd=tmp_path)

    told = call("dataflow", "upgrade").stdout
    assert "Makefile: updated" in told
    assert ".gitignore: changed by you and by this version" in told
    assert (shop.root / "Makefile").read_text().endswith("# of version 9\n")
    assert (shop.root / ".gitignore").read_text() == "# ours\n"
    assert "+# of version 9" in (shop.root / f".gitignore{DIFFERENCE}").read_text()
    assert "==9.0.0" in (shop.root / "pyproject.toml").read_text()
    assert [path.name for path in (shop.root / "wheels").iterdir()] == [newer.name]
    assert "nothing to do" in call("dataflow", "upgrade").stderr
    assert "earthquakes" in call("dataflow", "runs", "list").stdout
