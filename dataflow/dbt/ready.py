"""dbt that is ready when a run needs it: imported, with the project read once.

A process does that while the run's stages go on. The `dbt build` is forked from it, and reads the
project again by itself, as a new process would: what changed meanwhile counts. What it saves is
importing and what dbt keeps of compiled macros and schemas, by their text. Where the forked dbt could
differ from a new one, a new one is started.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dataflow.base import forked
from dataflow.base.fork_servers import Wanted, fork_server
from dataflow.base.forked import Refused, fork
from dataflow.dbt.command import WITHOUT_LOG, dbt_environment, lay_out_macros
from dataflow.dbt.project import readable_folder
from dataflow.project import Project

logger = logging.getLogger("dataflow")

ADDRESS = "DATAFLOW_DBT_READY"  # the variable with the socket's address, for a run's processes
# Variables that dbt reads anew for each command.
MAY_DIFFER = ("DATAFLOW_", "DAGSTER_", "DBT_TARGET_PATH", "DBT_LOG_PATH", "PWD", "OLDPWD")
# DuckDB starts a thread when it is imported, and ends it when it is closed.
IMPORTED = ("numpy", "duckdb", "duckdb:close", f"{__name__}:prepare")
READ = Path("target/partial_parse.msgpack")  # what dbt keeps of a project that it has read


@contextlib.contextmanager
def dbt_ready(project: Project) -> Iterator[None]:
    """Have a process import dbt and read the project, for `dbt build`s in the block."""
    if ADDRESS in os.environ:
        yield
        return
    with contextlib.ExitStack() as until_the_end:
        try:
            lay_out_macros(project)
            wanted = Wanted(IMPORTED, _environment(project), str(project.dbt), MAY_DIFFER)
            until_the_end.enter_context(fork_server(ADDRESS, wanted))
        except (Refused, OSError) as error:
            logger.info("dbt will be started when it is needed: %s", error)
        yield


def _environment(project: Project) -> dict[str, str]:
    """The environment in which dagster-dbt starts dbt."""
    return {
        "PYTHONLEGACYWINDOWSSTDIO": "1",
        **dbt_environment(project),
        **WITHOUT_LOG,
        "DAGSTER_DBT_CLI": "true",
        "PYTHONUNBUFFERED": "1",
        "DBT_LOG_FORMAT": "json",
        "DBT_PROFILES_DIR": str(project.dbt),
        "DBT_PROJECT_DIR": str(readable_folder(project)),
    }


@contextlib.contextmanager
def starting_ready_dbt() -> Iterator[None]:
    """Have dagster-dbt, when it starts dbt in the block, fork it."""
    from dagster_dbt.core import dbt_cli_invocation

    original = dbt_cli_invocation.subprocess
    ours: Any = SimpleNamespace(**{**vars(subprocess), "Popen": _start})
    dbt_cli_invocation.subprocess = ours
    try:
        yield
    finally:
        dbt_cli_invocation.subprocess = original


def _start(
    args: Sequence[str], *, env: Mapping[str, str], cwd: Path, stdout: int, stderr: int
) -> Any:
    """Fork dbt, in the words of `subprocess.Popen`; start it where that is refused."""
    address = os.environ.get(ADDRESS)
    if address:
        reader, writer = os.pipe()
        try:
            with Path(os.devnull).open("rb") as nothing:
                process: Any = fork(
                    address,
                    f"{__name__}:run",
                    [[*args[1:]]],
                    environment=env,
                    folder=cwd,
                    files=(nothing.fileno(), writer, writer),
                    title=args,
                )
        except Refused as error:
            os.close(reader)
            logger.info("dbt is started anew: %s", error)
        else:
            process.stdout = os.fdopen(reader, "rb")
            return process
        finally:
            os.close(writer)
    return subprocess.Popen(args, env=env, cwd=cwd, stdout=stdout, stderr=stderr)


# -- in the process that is forked ------------------------------------------------------------


def prepare() -> None:
    """Import dbt and have it read the project, as a command would.

    What dbt keeps of that has the values of environment variables: nothing of it is written.
    """
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # as in `command.DBT`
    import dbt.task.build  # noqa: F401  # imported late otherwise
    from dbt.cli.main import dbtRunner
    from dbt.parser.manifest import ManifestLoader

    before = dict(os.environ)
    loader: Any = ManifestLoader
    write = loader.write_manifest_for_partial_parse
    loader.write_manifest_for_partial_parse = _nothing
    try:
        # dbt's own parser of models starts threads, without which a forked one would wait for ever.
        arguments = ["--no-static-parser", "--no-write-json", "--log-level-file", "none"]
        arguments += ["--target-path", str(forked.private_folder())]
        if READ.exists():
            arguments += ["--partial-parse-file-path", str(READ)]
        manifest: Any = dbtRunner().invoke(["parse", *arguments]).result
        if manifest is not None:
            _compile_macros(manifest)
            manifest.writable_manifest().to_dict(omit_none=False)  # makes the code that writes one
    finally:
        loader.write_manifest_for_partial_parse = write
        os.environ.clear()
        os.environ.update(before)


def _compile_macros(manifest: Any) -> None:
    """Have dbt compile the macros that a build of the project may call: it keeps them by their text."""
    from dbt.clients.jinja import MacroGenerator

    nodes = manifest.nodes.values()
    kinds = {f"materialization_{node.config.materialized}" for node in nodes}
    waiting = [one for node in nodes for one in node.depends_on.macros]
    waiting += [one for one in manifest.macros if one.split(".")[-1].rpartition("_")[0] in kinds]
    seen = set()
    while waiting:
        macro = manifest.macros.get(waiting.pop())
        if macro is not None and macro.unique_id not in seen:
            seen.add(macro.unique_id)
            waiting += macro.depends_on.macros
            MacroGenerator(macro).get_template()


def _nothing(*_: object) -> None:
    pass


def run(arguments: list[str]) -> None:
    """The command `dbt` with `arguments`, in a forked process."""
    from dbt.cli.main import cli
    from dbt.parser import manifest

    from dbt import deprecations

    sys.argv[:] = ["dbt", *arguments]
    # What it told already, it tells again.
    deprecations.reset_deprecations()
    # Its tasks write `manifest.json` at their end, with the results: not when it was read, too.
    vars(manifest)["write_manifest"] = _nothing
    gc.set_threshold(100_000, 20, 20)  # most of what is there was made before the fork
    cli()
