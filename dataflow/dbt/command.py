"""How dbt is called: its command line and environment; and dbt by hand, in turn with runs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from dataflow.base.files import whole_file, write_whole
from dataflow.dbt.results import writing
from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.settings import variable_of

WAREHOUSE_VARIABLE = "DATAFLOW_WAREHOUSE_PATH"  # what dbt/profiles.yml reads
# DATAFLOW's own macros and generic tests.
MACROS = Path(__file__).with_name("macros")
# These need no database; everything else waits for its turn.
WITHOUT_DATABASE = {"parse", "ls", "list", "deps", "clean", "init"}

# The command `dbt`, but for a grammar that jsonschema would compile for it: a second of CPU, for a
# format that no schema of dbt uses.
_START = (
    "import sys; sys.argv[0] = 'dbt'; sys.modules['rfc3987_syntax'] = None; "
    "from dbt.cli.main import cli; cli()"
)
DBT = (sys.executable, "-P", "-c", _START)

# For a build whose output is kept: dbt's own log, in a folder that goes away, would only cost time.
WITHOUT_LOG = {"DBT_LOG_LEVEL_FILE": "none"}


def run_by_hand(project: Project, arguments: list[str]) -> int:
    """Run dbt on the working warehouse, in turn with runs that write; returns its exit code.

    Raises:
        ConfigurationError: there is no command.
        WarehouseLocked: somebody else held the warehouse all the time.
    """
    if not arguments:
        raise ConfigurationError(
            "dbt needs a command", hint="For instance: dataflow dbt build --select earthquakes."
        )
    command = next((word for word in arguments if not word.startswith("-")), "")
    with contextlib.ExitStack() as turn:
        if command not in WITHOUT_DATABASE:
            words = " ".join(["dbt", *arguments])
            turn.enter_context(writing(project, words, project.dbt / "target"))
        done = subprocess.run(
            dbt_command(project, *arguments),
            cwd=project.dbt,
            env=dbt_environment(project),
            check=False,
        )
        forget_variables(project)
    return done.returncode


def own_macros(project: Project) -> list[Path]:
    """DATAFLOW's macros and generic tests, but for those that the project has a file of."""
    folders = (project.dbt / "macros", project.dbt / "tests")
    replaced = {path.name for folder in folders for path in folder.rglob("*.sql")}
    return [path for path in sorted(MACROS.glob("*.sql")) if path.name not in replaced]


def lay_out_macros(project: Project) -> None:
    """Put a copy of `own_macros` where dbt finds it: it reads files below a project only.

    The folder is named by `macro-paths` of `dbt/dbt_project.yml`.
    """
    folder = project.state / "dbt-macros"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {path.name: path.read_text("utf-8") for path in own_macros(project)}
    for path in folder.glob("*.sql"):
        if path.name not in wanted:
            path.unlink(missing_ok=True)
    for name, text in wanted.items():
        path = folder / name
        if not path.is_file() or path.read_text("utf-8") != text:
            write_whole(path, text)


def dbt_command(project: Project, *arguments: str, folder: Path | None = None) -> list[str]:
    """The command line that runs dbt on the project, or on `folder` in its place.

    DATAFLOW's own macros are put where dbt finds them.
    """
    lay_out_macros(project)
    return [
        *DBT,
        "--no-use-colors",
        *arguments,
        "--project-dir",
        str(folder or project.dbt),
        "--profiles-dir",
        str(project.dbt),
    ]


def dbt_environment(project: Project) -> dict[str, str]:
    """The environment dbt runs in: the working warehouse, nothing sent anywhere."""
    return {
        **os.environ,
        WAREHOUSE_VARIABLE: str(project.warehouse),
        variable_of("timezone"): project.timezone,
        "TZ": project.timezone,
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DO_NOT_TRACK": "1",
        "DBT_USE_COLORS": "false",
    }


def forget_variables(project: Project) -> None:
    """Remove the values of environment variables from what dbt keeps for its next parse.

    dbt compares them then, and rereads the files that name a variable.
    """
    import msgpack

    path = project.dbt / "target" / "partial_parse.msgpack"
    with contextlib.suppress(OSError, ValueError, msgpack.exceptions.UnpackException):
        kept = msgpack.unpackb(path.read_bytes(), strict_map_key=False)
        if kept.get("env_vars"):
            kept["env_vars"] = dict.fromkeys(kept["env_vars"], "")
            with whole_file(path) as draft:
                draft.write_bytes(msgpack.packb(kept))
