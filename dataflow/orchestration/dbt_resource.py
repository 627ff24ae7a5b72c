"""dagster-dbt's resource for the project's dbt, without what would cost seconds at each call."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_dbt import DbtCliResource
from packaging.version import Version

from dataflow.orchestration.dbt_project import readable_folder
from dataflow.stages.limits import limited

if TYPE_CHECKING:
    from dataflow.project import Project

LIMIT_VARIABLE = "DATAFLOW_DBT_TIMEOUT"
LIMIT_SECONDS = 2 * 60 * 60
CANCEL_SECONDS = 3.0  # for dbt to end by itself; DuckDB does not look up from a long query

# Ties itself to the run's process, then becomes dbt: the system's promise outlives the change.
TIED = """\
import os, sys
from dataflow.stages.lifetime import die_with_parent
die_with_parent(int(sys.argv[1]))
os.execv(sys.argv[2], sys.argv[2:])
"""


class ProjectDbt(DbtCliResource):
    """`DbtCliResource` that starts `dbt` at once.

    dagster-dbt asks `dbt --version` first, which also asks PyPI for news, and makes an adapter
    of its own for `fetch_row_counts` and the like. The first is known from what is installed;
    the second would be a connection beside the write lock.
    """

    @property
    def _cli_version(self) -> Version:
        return Version(version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Any) -> Any:
        return None


def dbt_resource(project: Project, folder: Path) -> ProjectDbt:
    """dbt on the project's models, which ends with this process, even by kill -9.

    Otherwise the dbt of a killed run would go on, without the write lock.

    Args:
        project: the project.
        folder: an existing folder of the run's own, for the command that starts dbt.
    """
    return ProjectDbt(
        project_dir=str(readable_folder(project)),
        profiles_dir=str(project.dbt),
        dbt_executable=str(tied_command(folder, _executable())),
    )


@contextlib.contextmanager
def time_limit(invocation: Any) -> Iterator[None]:
    """End dbt, started by `invocation`, when it takes too long; then the step fails.

    A cancel ends dbt, too: it is asked to end, and killed when a query keeps it from that.

    Raises:
        dagster.Failure: it took longer than `DATAFLOW_DBT_TIMEOUT` says (two hours).
    """
    invocation.termination_timeout_seconds = CANCEL_SECONDS
    try:
        with limited(invocation.process, LIMIT_VARIABLE, LIMIT_SECONDS) as limit:
            yield
    except subprocess.TimeoutExpired as late:  # dagster-dbt's, while it handles the interrupt
        invocation.process.kill()
        raise late.__context__ or late from None
    if limit.passed:
        raise dg.Failure(
            f"dbt took longer than {limit.seconds:g} seconds and was ended\n"
            f"  → Look for what keeps it in dbt.log, or give it more: {LIMIT_VARIABLE}=SECONDS.",
            allow_retries=False,
        )


def tied_command(folder: Path, executable: str) -> Path:
    """A command in `folder` that runs `executable`, and is killed when this process ends.

    It is a file since dagster-dbt starts dbt itself, and takes no more than a path.
    """
    command = folder / "dbt"
    words = [sys.executable, "-P", "-c", TIED, str(os.getpid()), executable]
    command.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', "utf-8")
    command.chmod(0o700)
    return command


def _executable() -> str:
    """The dbt beside this Python, whatever the PATH says."""
    beside = Path(sys.executable).parent / "dbt"
    return str(beside) if beside.exists() else shutil.which("dbt") or "dbt"
