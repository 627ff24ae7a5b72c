"""What pyproject.toml asks for, what the locks say, and what conda gets are one set."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from projects import REPOSITORY

from dataflow.dashboard.node import OLDEST

NODE_LOCK = "dataflow/dashboard/evidence/requirements-node.lock"
LOCKS = ("requirements.lock", "requirements-dev.lock", NODE_LOCK)


def read(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


PROJECT: dict[str, Any] = tomllib.loads(read("pyproject.toml"))
PACKAGE: dict[str, Any] = json.loads(read("dataflow/dashboard/evidence/package.json"))
PACKAGE_LOCK: dict[str, Any] = json.loads(read("dataflow/dashboard/evidence/package-lock.json"))
LAB_LOCK: dict[str, Any] = json.loads(read("lab/package-lock.json"))
CONDA: dict[str, Any] = yaml.safe_load(read("environment.yml"))


def pins(name: str) -> list[tuple[Requirement, list[str]]]:
    """A lock's pins, each with its hashes."""
    # An entry begins at the start of a line; its hashes and where it comes from are indented.
    entries = re.split(r"\n(?=[A-Za-z0-9])", read(name))
    return [
        (Requirement(entry.split("\\")[0].strip()), re.findall(r"--hash=(\S+)", entry))
        for entry in entries
    ]


def versions(name: str, requirement: Requirement) -> list[str]:
    """The versions that a lock has of a package, one for each kind of machine."""
    wanted = canonicalize_name(requirement.name)
    return [
        next(iter(pin.specifier)).version
        for pin, _ in pins(name)
        if canonicalize_name(pin.name) == wanted
    ]


def requirements(*extras: str) -> list[Requirement]:
    optional = PROJECT["project"]["optional-dependencies"]
    named = [*PROJECT["project"]["dependencies"], *(line for e in extras for line in optional[e])]
    return [Requirement(line) for line in named]


def test_the_locks_have_what_pyproject_asks_for() -> None:
    for_projects = requirements("project")
    for_development = [r for r in requirements("dev") if r not in for_projects]
    for lock, asked in zip(LOCKS[:2], (for_projects, for_development), strict=True):
        for requirement in asked:
            locked = versions(lock, requirement)
            assert locked, requirement
            assert all(requirement.specifier.contains(v, prereleases=True) for v in locked)


def test_pyproject_names_what_the_package_and_its_templates_import() -> None:
    named = {canonicalize_name(requirement.name) for requirement in requirements()}
    given = metadata.packages_distributions()
    missing = set()
    for path in (REPOSITORY / "dataflow").rglob("*.py"):
        for name in imported(path) - sys.stdlib_module_names - {"dataflow", "my_workflow"}:
            if named.isdisjoint(canonicalize_name(package) for package in given[name]):
                missing.add(f"{name}: {path.relative_to(REPOSITORY)}")
    assert missing == set()


def imported(path: Path) -> set[str]:
    """The top level names of what a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_the_lock_of_node_has_what_pyproject_asks_for() -> None:
    (requirement,) = [Requirement(r) for r in PROJECT["project"]["optional-dependencies"]["node"]]
    (locked,) = versions(NODE_LOCK, requirement)
    assert requirement.specifier.contains(locked)
    assert int(locked.split(".")[0]) >= OLDEST


def test_what_builds_dataflow_is_in_the_lock() -> None:
    for line in [*PROJECT["build-system"]["requires"], "editables"]:
        assert versions("requirements-dev.lock", Requirement(line)), line


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes(name: str) -> None:
    assert pins(name)
    for pin, hashes in pins(name):
        assert [s.operator for s in pin.specifier] == ["=="], pin
        assert hashes, pin
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in hashes), pin


@pytest.mark.parametrize("name", LOCKS)
def test_the_locks_hold_no_addresses(name: str) -> None:
    text = read(name)
    assert "://" not in text
    assert re.findall(r"--(?:index-url|extra-index-url|find-links|trusted-host)", text) == []


@pytest.mark.parametrize("lock", [PACKAGE_LOCK, LAB_LOCK], ids=["dashboard", "JupyterLab"])
def test_the_locks_of_npm_hold_no_addresses_to_install_from(lock: dict[str, Any]) -> None:
    entries = {path: entry for path, entry in lock["packages"].items() if path}
    assert [path for path, entry in entries.items() if "resolved" in entry] == []
    # What comes inside another package is covered by that one's hash.
    loose = [path for path, e in entries.items() if not e.get("inBundle") and "integrity" not in e]
    assert loose == []
    versions = [str(entry["version"]) for entry in entries.values()]
    assert [version for version in versions if ":" in version] == []


def test_what_jupyterlab_loads_has_the_version_of_the_package_that_brings_it() -> None:
    asked = json.loads(read("lab/package.json"))
    loaded = json.loads(read("dataflow/lab/labextensions/dataflow-jupyterlab/package.json"))
    assert asked["version"] == loaded["version"] == PROJECT["project"]["version"]
    for kind in ("dependencies", "devDependencies"):
        assert LAB_LOCK["packages"][""][kind] == asked[kind]


def test_the_dashboards_packages_are_exact_and_locked_as_asked_for() -> None:
    root = PACKAGE_LOCK["packages"][""]
    for kind in ("dependencies", "devDependencies"):
        assert root[kind] == PACKAGE[kind]
    asked = {**PACKAGE["dependencies"], **PACKAGE["devDependencies"], **PACKAGE["overrides"]}
    for name, version in asked.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+(-[\w.]+)?", version), f"{name} {version}"
        installed = [
            entry["version"]
            for path, entry in PACKAGE_LOCK["packages"].items()
            if path.endswith(f"node_modules/{name}")
        ]
        assert installed, name
        assert set(installed) == {version}, name


def test_the_dashboard_reads_the_warehouse_with_the_same_duckdb() -> None:
    (python,) = versions("requirements.lock", Requirement("duckdb"))
    assert PACKAGE["overrides"]["@duckdb/node-api"].startswith(f"{python}-")


def test_conda_gets_the_same_set() -> None:
    wanted = {line.split("=")[0]: line for line in CONDA["dependencies"] if isinstance(line, str)}
    (pip,) = [line["pip"] for line in CONDA["dependencies"] if isinstance(line, dict)]
    assert pip == ["--requirement requirements.lock"]
    assert set(wanted) == {"python", "nodejs", "pip"}
    supported = SpecifierSet(PROJECT["project"]["requires-python"])
    assert supported.contains(wanted["python"].split("=")[1])
    assert int(wanted["nodejs"].split("=")[1]) >= OLDEST
    assert CONDA["channels"] == ["conda-forge"]


def test_the_oldest_python_is_the_one_that_is_checked() -> None:
    oldest = "3.11"
    assert PROJECT["project"]["requires-python"].startswith(f">={oldest},")
    assert PROJECT["tool"]["mypy"]["python_version"] == oldest
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + oldest.replace(".", "")
    assert f"--python-version {oldest}" in read("development.mk")


def test_the_tests_run_with_what_the_lock_says() -> None:
    others = {}
    for pin, _ in [*pins("requirements.lock"), *pins("requirements-dev.lock")]:
        if pin.marker is not None and not Marker(str(pin.marker)).evaluate():
            continue
        installed = metadata.version(pin.name)
        if not pin.specifier.contains(installed, prereleases=True):
            others[pin.name] = f"{installed}, not {pin.specifier}"
    assert others == {}, "run `make setup`"
