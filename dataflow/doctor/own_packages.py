"""A project's own Python packages: `requirements-own.txt`, beside the lock.

`python -m dataflow.doctor.own_packages` installs them, and changes no package of the lock.
"""

from __future__ import annotations

import ast
import contextlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from dataflow.base.finding import Finding, broken, ok, warning
from dataflow.base.version import DISTRIBUTION
from dataflow.base.words import counted
from dataflow.dashboard.install import NODE_LOCK
from dataflow.doctor.machine import needed_packages, read_lock
from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.stages.notebook import read_notebook
from dataflow.stages.result import code_of

FILE = "requirements-own.txt"
LOCKS = ("requirements.lock", "requirements-dev.lock")
SUBJECT = "own packages"
# What makes and fills an environment, whoever made it.
_TOOLS = {"pip", "setuptools", "wheel", "uv", DISTRIBUTION}


@dataclass(frozen=True)
class Wanted:
    """One line of `requirements-own.txt`.

    Args:
        line: as it is written.
        name: the package, in its canonical form; None for a folder or address not installed yet.
        installed: the installed version; None when there is none, or not one that is asked for.
    """

    line: str
    name: str | None
    installed: str | None


def install(root: Path) -> int:
    """Install the packages of `requirements-own.txt`, held to the versions of the lock.

    Args:
        root: the project's folder; nothing happens where the file asks for nothing.

    Returns:
        pip's exit code; what it printed is shown when it failed.
    """
    wanted = read_own(root / FILE)
    if not wanted:
        return 0
    print(f"installing {counted(len(wanted), 'package')} of {FILE}")
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as held:
        lock = root / "requirements.lock"
        versions = read_lock(lock) if lock.is_file() else {}
        held.writelines(f"{name}=={version}\n" for name, version in versions.items())
        held.flush()
        done = subprocess.run(
            [*(sys.executable, "-m", "pip", "--disable-pip-version-check", "install"),
             *("--constraint", held.name, "--requirement", FILE)],
            cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        lines = done.stdout.splitlines()
        sys.stdout.flush()
        print(*(x for x in lines if "already satisfied" not in x), sep="\n", file=sys.stderr)
        print(f"error: {FILE} could not be installed\n  → Change it: the versions that pip calls "
              "constraints are those of requirements.lock.", file=sys.stderr)  # fmt: skip
    return done.returncode


def check_own_packages(project: Project) -> Iterator[Finding]:
    """What is installed or imported here is what a colleague's clone gets, too."""
    own = read_own(project.root / FILE)
    asked = {*_with_dependencies(wanted.name for wanted in own if wanted.name)}
    asked |= _TOOLS | needed_packages()
    for lock in (*(project.root / name for name in LOCKS), NODE_LOCK):
        if lock.is_file():
            asked |= read_lock(lock).keys()
    findings = [*_not_installed(own), *_imports(project, asked)]
    if (project.root / LOCKS[0]).is_file():
        named = " ".join(finding.detail for finding in findings)
        findings += _installed_only_here(asked, named)
    yield from findings
    if not findings:
        yield ok(SUBJECT, f"{counted(len(own), 'package')} in {FILE}" if own else "none")


def read_own(path: Path) -> list[Wanted]:
    """The packages that a file of requirements asks for; none when it does not exist."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    wanted = []
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        place = re.sub(r"^(-e|--editable)[\s=]+", "", text)
        if not text or place.startswith("-"):  # an option for pip
            continue
        try:
            requirement = Requirement(place.split(" --hash")[0].rstrip("\\ "))
        except InvalidRequirement:
            distribution = _installed_from(path.parent, place)
            name = canonicalize_name(distribution.name) if distribution else None
            wanted.append(Wanted(text, name, distribution.version if distribution else None))
            continue
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        name = canonicalize_name(requirement.name)
        version = None
        with contextlib.suppress(metadata.PackageNotFoundError):
            found = metadata.version(name)
            version = found if requirement.specifier.contains(found, prereleases=True) else None
        wanted.append(Wanted(text, name, version))
    return wanted


def _installed_from(root: Path, place: str) -> metadata.Distribution | None:
    """The package that was installed from a folder, a file or an address."""
    wanted = place if "://" in place else (root / place).resolve().as_uri()
    for distribution in metadata.distributions():
        direct = distribution.read_text("direct_url.json")
        if direct and str(json.loads(direct).get("url")).rstrip("/") == wanted.rstrip("/"):
            return distribution
    return None


def _with_dependencies(names: Iterable[str]) -> dict[str, set[str]]:
    """Packages and all that they bring along, each with what it asks for itself."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, set[str]] = {}
    waiting = [str(canonicalize_name(name)) for name in names]
    while waiting:
        name = waiting.pop()
        if name not in found:
            lines: list[str] = []
            with contextlib.suppress(metadata.PackageNotFoundError):
                lines = metadata.requires(name) or []
            found[name] = {str(canonicalize_name(Requirement(line).name)) for line in lines}
            waiting += found[name]
    return found


def _not_installed(own: list[Wanted]) -> Iterator[Finding]:
    if missing := [wanted.line for wanted in own if wanted.installed is None]:
        yield broken(SUBJECT, f"{FILE} asks for what is not installed: {', '.join(missing)}",
                     "make setup")  # fmt: skip


def _imports(project: Project, asked: set[str]) -> Iterator[Finding]:
    """Imports of notebooks and modules that the project's files do not provide."""
    from packaging.utils import canonicalize_name

    given = metadata.packages_distributions()
    said: set[str] = set()
    for path in sorted([*project.notebooks.glob("*/*.ipynb"), *project.notebooks.glob("*/*.py")]):
        for module in sorted(_imported(path) - said):
            if (
                module in sys.stdlib_module_names
                or any((path.parent / name).exists() for name in (module, f"{module}.py"))
                or (project.notebooks / module).exists()
            ):
                continue
            said.add(module)
            where = project.relative(path)
            packages = {canonicalize_name(name) for name in given.get(module, ())}
            if packages and asked.isdisjoint(packages):
                name = min(packages)
                yield warning(
                    SUBJECT,
                    f"{where} imports {module}, of the package {name}, which a colleague's clone "
                    "would miss: no file of the project asks for it",
                    f"Add a line to {FILE}: {name}=={metadata.version(name)}",
                )
            elif not packages and find_spec(module) is None:
                yield broken(
                    SUBJECT,
                    f"{where} imports {module}, which is not installed",
                    f"Add its package to {FILE}, then: make setup",
                )


def _imported(path: Path) -> set[str]:
    """The names of the packages that a notebook or module imports; tried ones do not count."""
    try:
        sources = (
            [path.read_text("utf-8", errors="replace")]
            if path.suffix == ".py"
            else [code_of(c) for c in read_notebook(path).cells if c.cell_type == "code"]
        )
    except ConfigurationError:
        return set()  # which `validate` reports
    found = set()
    for source in sources:
        with contextlib.suppress(SyntaxError, ValueError):
            waiting: list[ast.AST] = [ast.parse(source)]
            while waiting:
                node = waiting.pop()
                if isinstance(node, ast.Import):
                    found |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.add(node.module.split(".")[0])
                elif not isinstance(node, ast.Try):
                    waiting += ast.iter_child_nodes(node)
    return found


def _installed_only_here(asked: set[str], said: str) -> Iterator[Finding]:
    """Packages that no file asks for; without those that they bring along."""
    from packaging.utils import canonicalize_name

    extra = {str(canonicalize_name(each.name)): each.version for each in metadata.distributions()}
    extra = {name: version for name, version in extra.items() if name not in asked}
    needs = _with_dependencies(extra)
    brought = {dep for name in needs for dep in needs[name] - {name}}
    alone = [
        f"{name} {version}"
        for name, version in sorted(extra.items())
        if name not in brought and f"package {name}," not in said
    ]
    if alone:
        yield warning(
            SUBJECT,
            f"installed here, and no file of the project asks for them: {', '.join(alone)}",
            f"Add those you need to {FILE}, where colleagues get them, too; pip uninstall others.",
        )


if __name__ == "__main__":
    sys.exit(install(Path.cwd()))
