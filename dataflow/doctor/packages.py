"""The installed Python packages against those that were tested together."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from dataflow.doctor.finding import Finding, broken, ok, warning
from dataflow.project import Project

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "dataflow-notebooks"
SUBJECT = "packages"
MEND = "pip install --require-hashes --no-deps -r requirements.lock (make setup does it)"


def check_packages(project: Project) -> Iterator[Finding]:
    """Compare the installed packages with `requirements.lock`."""
    lock = project.root / "requirements.lock"
    if not lock.is_file():
        yield ok(SUBJECT, "the project has no requirements.lock to compare with")
        return
    locked = read_lock(lock)
    installed = {name: version for name in locked if (version := installed_version(name))}
    needed = needed_packages()
    missing = sorted(name for name in locked if name in needed and name not in installed)
    other = [
        f"{name} {version} (locked: {locked[name]})"
        for name, version in sorted(installed.items())
        if version != locked[name]
    ]
    if missing:
        yield broken(SUBJECT, f"missing: {', '.join(missing)}", MEND)
    if other:
        yield warning(SUBJECT, f"not the versions that were tested: {', '.join(other)}", MEND)
    if not missing and not other:
        yield ok(SUBJECT, f"{len(installed)} are as requirements.lock has them")


def read_lock(path: Path) -> dict[str, str]:
    """The locked version of each package that this Python on this machine needs, by name."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    locked: dict[str, str] = {}
    for line in path.read_text("utf-8").splitlines():
        text = line.split("\\")[0].strip()
        if not text or line.startswith((" ", "#", "-")):
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if _applies(requirement) and (specifier := next(iter(requirement.specifier), None)):
            locked[str(canonicalize_name(requirement.name))] = specifier.version
    return locked


def installed_version(name: str) -> str | None:
    """The installed version of a package; None when it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def needed_packages() -> set[str]:
    """Every package that DATAFLOW needs, and those they need; without optional ones."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    needed: set[str] = set()
    waiting = [DISTRIBUTION]
    while waiting:
        try:
            requires = metadata.requires(waiting.pop()) or []
        except metadata.PackageNotFoundError:
            continue  # reported as missing
        for requirement in map(Requirement, requires):
            name = canonicalize_name(requirement.name)
            if name not in needed and _applies(requirement):
                needed.add(name)
                waiting.append(name)
    return needed


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})
