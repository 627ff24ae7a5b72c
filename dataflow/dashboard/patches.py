"""What DATAFLOW changes in Evidence's packages once they are installed.

Each change fails loudly on any other code than it was made for.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from dataflow.base.files import write_whole
from dataflow.errors import DashboardError

# DATAFLOW's own part of every dashboard; a file of the same name in a project's `evidence/`
# comes before it.
OWN = Path(__file__).with_name("evidence")
LAYOUT = OWN / "+layout.svelte"
FIRST_PAGE = OWN / "index.md"
# Evidence opens every table of the project, two requests each, before a page shows anything.
# With this, a table is opened by the first query that names it.
LAZY_TABLES = OWN / "lazy_tables.js"
# Where a page's data comes from: a component like Evidence's own.
PROVENANCE = OWN / "Provenance.svelte"
PATCHES = (LAZY_TABLES, Path(__file__))
LAID_OVER = (LAYOUT, FIRST_PAGE, PROVENANCE)

TEMPLATE = Path("@evidence-dev", "evidence", "template")
# Evidence sets two options that the DuckDB inside duckdb-wasm 1.28 does not know yet. That
# version is pinned because it has Parquet built in; newer ones download it when a page opens.
_CLIENTS = Path("@evidence-dev", "universal-sql", "src", "client-duckdb")
_COMPONENTS = Path("@evidence-dev", "core-components", "dist", "unsorted", "ui")
_CLIENT_FILES = ("browser.js", "node.js")
_OPTIONS = ("ieee_floating_point_ops = false", "old_implicit_casting = true")
_MARK = "/* dataflow: unknown to this DuckDB */"

_OPENING = re.compile(r"^\t+if \(append\) \{\n.*?\n(?=\t\t\t\}\n)", re.DOTALL | re.MULTILINE)
_QUERYING = re.compile(r"^(\t+)(const res = await connection\.query\(sql\).*)$", re.MULTILINE)
_ADAPTER = "pages: process.env.EVIDENCE_BUILD_DIR ?? './build',\n"


def patch(modules: Path, packages: Path) -> None:
    """Change the packages in `modules`, a folder `node_modules` that npm has just made.

    Args:
        modules: the folder.
        packages: the `package.json` that it was made from.

    Raises:
        DashboardError: the code is not what a patch was made for.
    """
    make_offline(modules)
    make_lazy(modules)
    lay_over(modules, packages)


def make_offline(modules: Path) -> None:
    """Let Evidence's DuckDB client go on when an option is unknown to the pinned DuckDB.

    Raises:
        DashboardError: the code is not what this patch was made for.
    """
    for name in _CLIENT_FILES:
        path = modules / _CLIENTS / name
        code = _read(path)
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
                raise _unknown_version(what, _CLIENTS / name, "make_offline()")
        write_whole(path, code)


def make_lazy(modules: Path) -> None:
    """Let Evidence's DuckDB client open a table when a query first names it.

    Raises:
        DashboardError: the code is not what this patch was made for.
    """
    path = modules / _CLIENTS / "browser.js"
    own = LAZY_TABLES.read_text(encoding="utf-8")
    code = _read(path)
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
        raise _unknown_version(what, _CLIENTS / path.name, "make_lazy()")
    write_whole(path, code + own)


def lay_over(modules: Path, packages: Path) -> None:
    """Put DATAFLOW's layout and first page into the template that every build starts from, and its
    component among Evidence's.

    With `packages`, the list of packages: by it Vite tells which are made of Svelte.

    The build makes a single page of it: pages read their data when they are opened, so that
    new data needs no rebuild.

    Raises:
        DashboardError: the template is not what this patch was made for.
    """
    template = modules / TEMPLATE
    config = template / "svelte.config.js"
    code, single = _read(config), f"{_ADAPTER}\t\t\tfallback: 'index.html',\n"
    if single not in code:
        if code.count(_ADAPTER) != 1:
            what = "the template's adapter is not where it was"
            raise _unknown_version(what, TEMPLATE / config.name, "lay_over()")
        write_whole(config, code.replace(_ADAPTER, single))
    shutil.copyfile(LAYOUT, template / "src" / "pages" / LAYOUT.name)
    shutil.copyfile(FIRST_PAGE, template / "src" / "pages" / "+page.md")
    shutil.copyfile(packages, template / packages.name)
    components = modules / _COMPONENTS / "index.js"
    code, export = (
        _read(components),
        f"export {{ default as Provenance }} from './{PROVENANCE.name}';",
    )
    if export not in code:
        if "'./LastRefreshed.svelte'" not in code:
            what = "the list of its components is not where it was"
            raise _unknown_version(what, _COMPONENTS / components.name, "lay_over()")
        write_whole(components, f"{code.rstrip()}\n{export}\n")
    shutil.copyfile(PROVENANCE, components.with_name(PROVENANCE.name))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _unknown_version(what: str, file: Path, patch: str) -> DashboardError:
    return DashboardError(
        f"Evidence is not the version that is known to work: {what}",
        where=str(Path("evidence", "node_modules") / file),
        hint="Remove the project's own evidence/package.json and package-lock.json, or adapt "
        f"{patch} in dataflow/dashboard/patches.py to the new version.",
    )
