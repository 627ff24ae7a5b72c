"""Install what dashboards are built with: Node where there is none, and Evidence's packages."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

from dataflow.dashboard.node import Node, find_node, run_limited
from dataflow.dashboard.patches import LAID_OVER, OWN, PATCHES, lay_over, patch
from dataflow.dashboard.paths import lock_file
from dataflow.errors import ConfigurationError, DashboardError
from dataflow.project import Project

STAMP = ".dataflow-installed"
LISTS = ("package.json", "package-lock.json")
NODE_LOCK = OWN / "requirements-node.lock"
# What npm says of each package that it downloads or finds in its cache.
_FETCHED = re.compile(r"npm http (?:fetch|cache) .*\.tgz")

OnLine = Callable[[str], None]
OnPart = Callable[[int, int], None]


def install(
    project: Project,
    *,
    force: bool = False,
    on_line: OnLine = lambda line: None,
    on_part: OnPart = lambda done, of: None,
) -> bool:
    """Make `evidence/node_modules` what `package-lock.json` says, with DATAFLOW's changes.

    Quick when nothing changed. Only one installation runs at a time; one that fails leaves
    what was installed before.

    Args:
        force: install again although nothing changed.
        on_line: called with what happens, in words, and with npm's errors.
        on_part: called with the number of packages that npm has, and of all.

    Returns:
        Whether anything had to be installed.

    Raises:
        ConfigurationError: one of the project's own lists is missing, or Node cannot be had.
        DashboardError: npm failed, or Evidence is not the version the patches were made for.
    """
    wanted = packages_hash(project)
    if not force and installed_hash(project) == wanted:
        return False
    with FileLock(lock_file(project, "install")):
        if not force and installed_hash(project) == wanted:
            return False
        modules = project.evidence / "node_modules"
        stamp = f"{wanted}\n{_npm_hash(project)}\n"
        if not force and not modules.is_symlink() and _stamp(project)[1:] == stamp.split()[1:]:
            # The packages are there; only what is laid over them changed.
            lay_over(modules, package_list(project, LISTS[0]))
            (modules / STAMP).write_text(stamp, encoding="utf-8")
            return True
        node = ensure_node(project, on_line)
        # Beside its place, since npm begins by emptying the folder.
        work = project.evidence / ".evidence" / "packages"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        for file in (*(package_list(project, name) for name in LISTS), project.evidence / ".npmrc"):
            if file.is_file():
                shutil.copyfile(file, work / file.name)
        _npm_ci(project, node, work, on_line, on_part)
        made = work / "node_modules"
        patch(made, package_list(project, LISTS[0]))
        (made / STAMP).write_text(stamp, encoding="utf-8")
        if modules.is_symlink():
            modules.unlink()
        elif modules.exists():
            shutil.rmtree(modules)
        made.rename(modules)
        shutil.rmtree(work)
    return True


def package_list(project: Project, name: str) -> Path:
    """The file that lists the packages: the project's own `evidence/NAME`, or DATAFLOW's.

    Raises:
        ConfigurationError: the project has only one of `LISTS`.
    """
    own = [project.evidence / each for each in LISTS]
    missing = [path for path in own if not path.is_file()]
    if len(missing) == 1:
        raise ConfigurationError(
            "the list of the dashboard's packages is missing",
            where=project.relative(missing[0]),
            hint="Restore it, or remove the other list, too: then those of DATAFLOW are used.",
        )
    return (OWN if missing else project.evidence) / name


def packages_hash(project: Project) -> str:
    """What the packages are supposed to be: a hash of their lists, the patches, and what is laid
    over them."""
    return _hash(_npm_hash(project).encode(), LAID_OVER)


def _npm_hash(project: Project) -> str:
    """The same of what npm installs, and of the patches."""
    return _hash(b"2", (*(package_list(project, name) for name in LISTS), *PATCHES))


def _hash(first: bytes, files: Iterable[Path]) -> str:
    digest = hashlib.sha256(first)
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def installed_hash(project: Project) -> str | None:
    """What `packages_hash` was when the packages were last installed; None when never."""
    return next(iter(_stamp(project)), None)


def _stamp(project: Project) -> list[str]:
    """What the packages were when they were last installed: as a whole, and what npm installed."""
    try:
        return (project.evidence / "node_modules" / STAMP).read_text(encoding="utf-8").split()
    except OSError:
        return []


def ensure_node(project: Project, on_line: OnLine = lambda line: None) -> Node:
    """Find Node, or install the one from PyPI into this environment.

    Raises:
        ConfigurationError: there is none, and pip cannot install it.
    """
    try:
        return find_node(project)
    except ConfigurationError as error:
        if find_spec("pip") is None:
            raise
        on_line("installing Node from PyPI: this machine has none that is new enough")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq", "install"]
        command = [*pip, "--require-hashes", "--no-deps", "--requirement", str(NODE_LOCK)]
        what = "the installation of Node"
        seconds = project.settings.node_timeout
        code, lines = run_limited(command, what, project.root, None, on_line, seconds)
        if code != 0:
            reason = lines[-1] if lines else f"pip ended with exit code {code}"
            raise ConfigurationError(f"{error.message}; {reason}", hint=error.hint) from None
    invalidate_caches()
    return find_node(project)


def _npm_ci(project: Project, node: Node, work: Path, on_line: OnLine, on_part: OnPart) -> None:
    lock = (work / LISTS[1]).read_text("utf-8")
    total, done = lock.count('"integrity"'), 0

    def take(line: str) -> None:
        nonlocal done
        if _FETCHED.match(line):
            done += 1
            on_part(min(done, total), total)
        elif line.startswith("npm error"):
            on_line(line)

    on_line(f"installing the {total} packages of the dashboard")
    command = [*node.npm, "ci", "--no-progress", "--loglevel=http"]
    what = "the installation of the dashboard's packages"
    seconds = project.settings.node_timeout
    code, lines = run_limited(command, what, work, node.environment(), take, seconds)
    if code != 0:
        errors = [line for line in lines if line.startswith("npm error")] or lines
        raise DashboardError(
            "npm could not install the dashboard's packages: " + "\n".join(errors[:8]),
            where=project.relative(package_list(project, LISTS[1])),
            hint="Check the network and npm's registry setting, then run it again.",
        )
