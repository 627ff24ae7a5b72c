"""Install Evidence's packages, exactly as locked, and make its page engine work offline.

`python -m dataflow.dashboard.install` does it for the project it is started in.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from dataflow.base.files import write_whole
from dataflow.dashboard.node import find_node, run_limited
from dataflow.dashboard.paths import lock_file
from dataflow.errors import ConfigurationError, DashboardError, DataflowError
from dataflow.project import Project

STAMP = ".dataflow-installed"

# Evidence sets two options that the DuckDB inside duckdb-wasm 1.28 does not know yet. That
# version is pinned because it has Parquet built in; newer ones download it when a page opens.
_CLIENTS = Path("@evidence-dev", "universal-sql", "src", "client-duckdb")
_CLIENT_FILES = ("browser.js", "node.js")
_OPTIONS = ("ieee_floating_point_ops = false", "old_implicit_casting = true")
_MARK = "/* dataflow: unknown to this DuckDB */"

# Evidence opens every table of the project, two requests each, before a page shows anything.
# With this, a table is opened by the first query that names it.
LAZY_TABLES = Path(__file__).with_name("lazy_tables.js")
_OPENING = re.compile(r"^\t+if \(append\) \{\n.*?\n(?=\t\t\t\}\n)", re.DOTALL | re.MULTILINE)
_QUERYING = re.compile(r"^(\t+)(const res = await connection\.query\(sql\).*)$", re.MULTILINE)


def install(
    project: Project, *, force: bool = False, on_line: Callable[[str], None] = lambda line: None
) -> bool:
    """Make `evidence/node_modules` what `package-lock.json` says.

    Quick when nothing changed. Only one installation runs at a time.

    Args:
        force: install again although nothing changed.
        on_line: called with each line npm prints.

    Returns:
        Whether anything had to be installed.

    Raises:
        ConfigurationError: no lock file, or no Node.
        DashboardError: npm failed, or Evidence is not the version the patch was made for.
    """
    wanted = packages_hash(project)
    modules = project.evidence / "node_modules"
    if not force and installed_hash(project) == wanted:
        return False
    with FileLock(lock_file(project, "install")):
        if not force and installed_hash(project) == wanted:
            return False
        # Packages that the first version installed only lack a patch.
        unpatched = installed_hash(project) == wanted.split("-")[0]
        (modules / STAMP).unlink(missing_ok=True)
        if force or not unpatched:
            _npm_ci(project, on_line)
        make_offline(modules)
        make_lazy(modules)
        (modules / STAMP).write_text(wanted, encoding="utf-8")
    return True


def packages_hash(project: Project) -> str:
    """What the packages are supposed to be: a hash of `package.json` and its lock, and of the patch."""
    digest = hashlib.sha256(b"1")
    for name in ("package.json", "package-lock.json"):
        path = project.evidence / name
        if not path.is_file():
            raise ConfigurationError(
                "the list of the dashboard's packages is missing",
                where=project.relative(path),
                hint="Restore the file from the repository.",
            )
        digest.update(path.read_bytes())
    patch = hashlib.sha256(LAZY_TABLES.read_bytes()).hexdigest()[:12]
    return f"{digest.hexdigest()}-{patch}"


def installed_hash(project: Project) -> str | None:
    """What `packages_hash` was when the packages were last installed; None when never."""
    try:
        return (project.evidence / "node_modules" / STAMP).read_text(encoding="utf-8")
    except OSError:
        return None


def make_offline(modules: Path) -> None:
    """Let Evidence's DuckDB client go on when an option is unknown to the pinned DuckDB.

    Raises:
        DashboardError: the code is not what this patch was made for.
    """
    for name in _CLIENT_FILES:
        path = modules / _CLIENTS / name
        try:
            code = path.read_text(encoding="utf-8")
        except OSError:
            code = ""
        for option in _OPTIONS:
            call = f"await connection.query('SET {option};');"
            tolerant = f"try {{ {call} }} catch {{ {_MARK} }}"
            if tolerant in code:
                continue
            code, count = re.subn(
                rf"^(\s*){re.escape(call)}$", rf"\g<1>{tolerant}", code, flags=re.MULTILINE
            )
            if count != 1:
                what = f"'SET {option}' was expected once and found {count} times"
                raise _unknown_version(what, name, "make_offline()")
        write_whole(path, code)


def make_lazy(modules: Path) -> None:
    """Let Evidence's DuckDB client open a table when a query first names it.

    Raises:
        DashboardError: the code is not what this patch was made for.
    """
    path = modules / _CLIENTS / "browser.js"
    own = LAZY_TABLES.read_text(encoding="utf-8")
    code = path.read_text(encoding="utf-8")
    if own in code:
        return
    code, openings = _OPENING.subn(
        lambda match: (
            "\t\t\t\tclosedTables.set(file_name, new ClosedTable(source, table, async () => {\n"
            f"{match[0]}\t\t\t\t}}));\n"
        ),
        code,
    )
    code, queries = _QUERYING.subn(r"\1await openTables(sql);\n\1\2", code)
    if (openings, queries) != (1, 1) or "registerFileURL" not in code:
        what = "the code that opens its tables is not where it was"
        raise _unknown_version(what, path.name, "make_lazy()")
    write_whole(path, code + own)


def _unknown_version(what: str, file: str, patch: str) -> DashboardError:
    return DashboardError(
        f"Evidence is not the version that is known to work: {what}",
        where=str(Path("evidence", "node_modules") / _CLIENTS / file),
        hint=f"Restore package.json and package-lock.json, or adapt {patch} in "
        "dataflow/dashboard/install.py to the new version.",
    )


def _npm_ci(project: Project, on_line: Callable[[str], None]) -> None:
    node = find_node(project)
    command = [*node.npm, "ci", "--no-progress", "--loglevel=error"]
    what = "the installation of the dashboard's packages"
    seconds = project.settings.node_timeout
    code, lines = run_limited(command, what, project.evidence, node.environment(), on_line, seconds)
    if code != 0:
        errors = [line for line in lines if line.startswith("npm error")] or lines
        raise DashboardError(
            "npm could not install the dashboard's packages: " + "\n".join(errors[:8]),
            where=project.relative(project.evidence / "package-lock.json"),
            hint="Check the network and npm's registry setting, then run it again.",
        )


def main() -> int:
    """Install for the project around the current folder; exit code like `dataflow`'s."""
    try:
        done = install(Project.find(), on_line=print)
    except DataflowError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(
        "Installed the dashboard's packages."
        if done
        else "The dashboard's packages are installed already."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
