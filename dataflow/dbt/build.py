"""`dbt build` in a run: through dagster-dbt, under the write lock, its output without secrets."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import dagster as dg
from packaging.version import Version

from dataflow.base.lifetime import limited
from dataflow.base.process import environment
from dataflow.dbt.command import DBT, WITHOUT_LOG, dbt_environment, lay_out_macros
from dataflow.dbt.project import readable_folder
from dataflow.dbt.ready import starting_ready_dbt
from dataflow.dbt.results import Results, read_results, writing
from dataflow.dbt.without_dbt import dagster_dbt
from dataflow.engine.secrets import Scrubber
from dataflow.project import Project
from dataflow.runs.record import Step
from dataflow.settings import variable_of

CANCEL_SECONDS = 3.0  # for dbt to end by itself; DuckDB does not notice during a long query

# Ties itself to the run's process, then becomes dbt: the tie survives the exec.
TIED = """\
import os, sys
from dataflow.base.lifetime import die_with_parent
die_with_parent(int(sys.argv[1]))
os.execv(sys.argv[2], sys.argv[2:])
"""


class ProjectDbt(dagster_dbt.DbtCliResource):
    """`DbtCliResource` that starts `dbt` at once.

    dagster-dbt asks `dbt --version` first, which also asks PyPI for news, and makes an adapter
    of its own for `fetch_row_counts` and the like. The first is known from what is installed;
    the second would be a connection beside the write lock.
    """

    @property
    def _cli_version(self) -> Version:
        return Version(version("dbt-core"))

    def cli(self, *args: Any, **options: Any) -> Any:
        """As dagster-dbt's; dbt is forked where one is ready."""
        with starting_ready_dbt():
            return super().cli(*args, **options)

    def _initialize_dbt_core_adapter(self, args: Any) -> Any:
        return None


@dataclass
class Build:
    """A build under way.

    Args:
        step: the step of the run that builds.
        invocation: dagster-dbt's handle of the running dbt: wait for it, or stream its events.
        results: the results, once the `with` block of `building` has ended.
    """

    step: Step
    invocation: Any
    results: Results = field(default_factory=Results)

    def require_success(self) -> None:
        """Let the step fail when dbt did.

        Raises:
            dagster.Failure: says which model or test failed, why, and in which file.
        """
        if self.results.failures:
            message = "\n".join(self.results.failures)
            self.step.facts["error"] = {"message": message} | self._hint()
            raise dg.Failure(message, allow_retries=False)

    def _hint(self) -> dict[str, str]:
        """How to see the rows for which the first test failed: its query is kept with the run."""
        for name, query in self.results.queries.items():
            file = self.step.record.folder / f"{name[:100]}.sql"
            file.write_text(Scrubber(self.step.secrets).text(query.strip()) + "\n", "utf-8")
            shown = self.step.record.project.relative(file)
            return {"hint": f'See the rows: dataflow db query -d working "$(cat {shown})"'}
        return {}


@contextlib.contextmanager
def building(
    project: Project, workflow_id: str, step: Step, *, context: Any = None, select: str = ""
) -> Iterator[Build]:
    """Have dbt build a workflow's models and run their tests while the `with` block waits for it.

    dbt's output goes to `dbt.log` in the run's folder.

    Args:
        project: the project.
        workflow_id: the workflow.
        step: the step of the run that builds them.
        context: Dagster's context of the models' assets, which tells what is selected.
        select: dbt's own selection, without a context.

    Raises:
        dagster.Failure: dbt took longer than the setting `dbt_timeout`.
        WarehouseLocked: somebody else held the warehouse all the time.
    """
    run_id = step.record.run_id
    target = project.state / "dbt" / f"{run_id}-{step.name}"
    target.mkdir(parents=True, exist_ok=True)
    run = {"run_id": run_id, "workflow": workflow_id, "step": step.name}
    seconds = project.settings.dbt_timeout  # not later: dbt would go on if it cannot be read
    try:
        with (
            # dagster-dbt hands this process's on.
            environment(dbt_environment(project) | WITHOUT_LOG),
            writing(project, f"dbt build of {workflow_id}", target, **run),
            _clean_log(step.record.folder / "dbt.log", Scrubber(step.secrets)),
        ):
            build = Build(
                step,
                dbt_resource(project, target).cli(
                    ["build", *(["--select", select] if select else [])],
                    context=context,
                    target_path=target,
                    raise_on_error=False,
                ),
            )
            with time_limit(build.invocation, seconds):
                yield build
            succeeded = build.invocation.is_successful()
        build.results = read_results(project, target)
    finally:
        shutil.rmtree(target, ignore_errors=True)
    if not succeeded and not build.results.failures:
        build.results.failures.append("dbt build failed; dbt.log in the run's folder says why")


def dbt_resource(project: Project, folder: Path) -> ProjectDbt:
    """dbt on the project's models, which ends with this process, even by kill -9.

    Otherwise the dbt of a killed run would go on, without the write lock.

    Args:
        project: the project.
        folder: an existing folder of the run's own, for the command that starts dbt.
    """
    lay_out_macros(project)
    return ProjectDbt(
        project_dir=str(readable_folder(project)),
        profiles_dir=str(project.dbt),
        dbt_executable=str(tied_command(folder, *DBT)),
    )


@contextlib.contextmanager
def time_limit(invocation: Any, seconds: float) -> Iterator[None]:
    """End dbt, started by `invocation`, after `seconds`; then the step fails.

    A cancel ends dbt, too: it is asked to end, and killed when a query keeps it from that.

    Raises:
        dagster.Failure: it took longer.
    """
    invocation.termination_timeout_seconds = CANCEL_SECONDS
    try:
        with limited(invocation.process, seconds) as limit:
            yield
    except subprocess.TimeoutExpired as late:  # dagster-dbt's, while it handles the interrupt
        invocation.process.kill()
        raise late.__context__ or late from None
    if limit.passed:
        raise dg.Failure(
            f"dbt took longer than {limit.seconds:g} seconds and was ended\n  → See in dbt.log what "
            f"keeps it, or give it more time: {variable_of('dbt_timeout')}=SECONDS.",
            allow_retries=False,
        )


def tied_command(folder: Path, *program: str) -> Path:
    """A command in `folder` that runs `program`, and is killed when this process ends.

    It is a file, since dagster-dbt starts dbt itself, and accepts only a path.
    """
    command = folder / "dbt"
    words = [sys.executable, "-P", "-c", TIED, str(os.getpid()), *program]
    command.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', "utf-8")
    command.chmod(0o700)
    return command


@contextlib.contextmanager
def _clean_log(path: Path, scrubber: Scrubber) -> Iterator[None]:
    """Append what is printed in the block to the file `path`, line by line without secrets.

    A line that never ended before a kill is lost rather than kept as it was.
    """
    with path.open("a", encoding="utf-8", buffering=1) as file:
        lines = _CleanLines(file, scrubber)
        try:
            with contextlib.redirect_stdout(lines):
                yield
        finally:
            lines.end()


class _CleanLines(io.TextIOBase):
    def __init__(self, file: TextIO, scrubber: Scrubber) -> None:
        self._file, self._scrubber, self._rest = file, scrubber, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        if lines:
            self._file.write(self._scrubber.text("\n".join(lines) + "\n"))
        return len(text)

    def flush(self) -> None:
        self._file.flush()

    def end(self) -> None:
        self._file.write(self._scrubber.text(self._rest))
