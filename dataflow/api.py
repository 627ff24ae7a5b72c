"""The Python API: a project's workflows and runs, for notebooks, scripts and other programs.

::

    from dataflow import Project

    run = Project.find().workflow("earthquakes").run(parameters={"min_magnitude": 4.5})
    if run.error:
        raise run.error

Everything shows itself as a table in a notebook. The commands of `dataflow` are written on it.
"""

from __future__ import annotations

import datetime
import html
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflow.base.table import Row, Shown, Status, Table
from dataflow.base.words import counted, seconds_text
from dataflow.engine.secrets import Scrubber
from dataflow.errors import DataflowError, Problem, RunFailed
from dataflow.orchestration.apart import run_apart
from dataflow.orchestration.cancel import cancel
from dataflow.orchestration.options import RunOptions
from dataflow.project import Project as Paths
from dataflow.review.comparison import RunComparison, compare_runs, run_to_compare
from dataflow.runs import marks, record
from dataflow.runs.data import read_data
from dataflow.runs.html import page_of
from dataflow.runs.search import UNSUCCESSFUL, Wanted
from dataflow.runs.summary import failure, steps_table
from dataflow.stages.notebook import Stage, declared_parameters
from dataflow.variables import secrets_of

if TYPE_CHECKING:
    import pandas as pd

    from dataflow.services.exported_run import Exported
    from dataflow.validation.workflow import Examination
    from dataflow.warehouse.store import DataComparison
    from dataflow.workflows.registry import Registered


@dataclass(frozen=True)
class Project(Shown):
    """A project.

    Args:
        paths: where everything in it lies.
    """

    paths: Paths

    @classmethod
    def find(cls, start: Path | str | None = None) -> Project:
        """Find the project that the current folder is in, as git does.

        Args:
            start: the folder to begin in; by default the current one, or the project that the
                environment variable `DATAFLOW_PROJECT` names.

        Raises:
            ProjectNotFound: neither `start` nor a folder above it is a project.
        """
        return cls(Paths.find(None if start is None else Path(start)))

    def workflow(self, name: str) -> Workflow:
        """The workflow `name`, whether its files are valid or not.

        Args:
            name: its folder's name; dashes count as underscores.

        Raises:
            WorkflowNotFound: there is none; the message has the nearest name.
        """
        from dataflow.workflows.registry import find_workflow_folder

        return Workflow(self, find_workflow_folder(self.paths, name))

    def workflows(self) -> Workflows:
        """All workflows, in the order of their names."""
        from dataflow.workflows.registry import workflow_folders

        return Workflows(Workflow(self, folder) for folder in workflow_folders(self.paths))

    def runs(
        self,
        workflow: str | None = None,
        *,
        since: datetime.date | str | None = None,
        failed: bool = False,
        limit: int | None = None,
        status: str | Sequence[str] = (),
        parameters: Mapping[str, Any] | Sequence[str] = (),
        trigger: str | None = None,
        user: str | None = None,
        commit: str | None = None,
    ) -> Runs:
        """The recorded runs, the newest first.

        Args:
            workflow: one workflow's only; one that is gone may still have runs.
            since: only those that started then or later: a date, a time, either as text
                (`2026-11-26`, `2026-11-26T09:00`; without a zone it is UTC), or how long ago
                (`12h`, `7d`).
            failed: only those that ended without success.
            limit: how many at most.
            status: only those that stand like this, or like one of these.
            parameters: only those that ran with these values, set for the run or in
                `config.yaml`; or with these names, whatever the value.
            trigger: only those that were started by this: `schedule`, `cli`, ...
            user: only those that this user started.
            commit: only those whose commit begins like this.

        Raises:
            WorkflowNotFound: there is neither a workflow nor a run of that name.
            ConfigurationError: `since` is not a time, or a status is unknown.
        """
        if workflow is not None and not (self.paths.runs / workflow).is_dir():
            workflow = self.workflow(workflow).id
        if isinstance(parameters, Mapping):
            parameters = [f"{name}={value}" for name, value in parameters.items()]
        wanted = Wanted.asked(
            statuses=[*([status] if isinstance(status, str) else status), *UNSUCCESSFUL * failed],
            since=since,
            parameters=parameters,
            trigger=trigger,
            user=user,
            commit=commit,
        )
        recent = wanted.not_older(record.newest_first(self.paths, workflow))
        found = (run for run in recent if not wanted or wanted.fits(run))
        return Runs(Run.of(run, self) for run in itertools.islice(found, limit))

    def find_run(self, name: str) -> Run:
        """The run whose id, or folder's name, starts with `name`; `last` is the newest.

        Raises:
            ConfigurationError: there is none, or more than one.
        """
        return Run.of(record.find_run(self.paths, name), self)

    def validate(self, *, dbt: bool = False) -> Validation:
        """Check all workflows, and what belongs to none; lists everything wrong at once.

        Args:
            dbt: have dbt read its models, too; takes some seconds.
        """
        from dataflow.scaffold.inventory import leftovers
        from dataflow.validation.workflow import Examination, stray_folders

        found = _examined(self, self.workflows(), stray_folders(self.paths))
        if left := leftovers(self.paths):
            found["leftovers"] = Examination(warnings=left)
        return Validation(self, found).with_dbt(dbt)

    @property
    def table(self) -> Table:
        """The workflows."""
        return self.workflows().table


@dataclass(frozen=True)
class Workflow:
    """A workflow, read from its files each time it is asked.

    Args:
        project: its project.
        folder: its folder.
    """

    project: Project
    folder: Path

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def registered(self) -> Registered:
        """Its configuration and stages, or what is wrong with them."""
        from dataflow.workflows.registry import read_workflow

        return read_workflow(self.folder)

    @property
    def stages(self) -> Stages:
        """Its stages, each after those it depends on; none if it is written in Python.

        Raises:
            ConfigurationError: its configuration is not valid; carries every problem.
        """
        from dataflow.workflows.registry import get_workflow

        return Stages(get_workflow(self.project.paths, self.id).stages)

    @property
    def last_run(self) -> Run | None:
        """Its newest run; None when it has none."""
        return next(iter(self.project.runs(self.id, limit=1)), None)

    def validate(self, *, dbt: bool = False) -> Validation:
        """Check configuration, notebooks, models and pages; lists everything wrong at once.

        Args:
            dbt: have dbt read its models, too; takes some seconds.
        """
        return Validation(self.project, _examined(self.project, [self])).with_dbt(dbt)

    def run(
        self,
        parameters: Mapping[str, Any] | None = None,
        *,
        only: str | None = None,
        start: str | None = None,
        changed: bool = False,
        progress: bool = True,
    ) -> Run:
        """Run the workflow now, as `dataflow workflow run` does, in a process of its own.

        Its steps are validated first. Another run of the workflow that is going on is waited for.

        Args:
            parameters: values by name; a name goes to every stage that declares it, and
                `stage.name` to that stage only.
            only: run this stage only.
            start: run this stage and everything downstream; upstream stages only if they have
                not yet succeeded with the current code and parameters.
            changed: run only what changed since it last succeeded.
            progress: show the steps, and what their notebooks print, while they run: on standard
                error, in a notebook below the cell.

        Returns:
            The run as it ended, also one that failed: see its `status` and `error`. When nothing
            changed, the last one that succeeded.

        Raises:
            ConfigurationError: files or parameters are not valid, or this is inside of a run of
                the same workflow; nothing was run, and the text lists everything that is wrong.
            RunFailed: its process ended before there was a record of it.
            KeyboardInterrupt: it was cancelled, by Ctrl-C or the notebook's stop button; its
                record says so.
        """
        shown = sys.stdout if "ipykernel" in sys.modules else sys.stderr
        options = RunOptions(dict(parameters or {}), only, start, changed, trigger="python")
        done = run_apart(self.project.paths, self.id, options, shown if progress else None)
        if done is not None:
            return Run.of(done, self.project)
        runs = self.project.runs(self.id)
        return next((run for run in runs if run.status == "succeeded"), runs[0])

    def _repr_html_(self) -> str:
        about = Workflows([self]).table.html()
        return about + (self.stages.table.html() if self.registered.workflow else "")


class Workflows(list[Workflow], Shown):
    """Some workflows."""

    @property
    def table(self) -> Table:
        """The workflows with their stages, schedules and last runs."""
        rows: list[Row] = []
        for entry in self:
            found, run = entry.registered, entry.last_run
            if found.workflow is None:
                problems = counted(len(found.problems), "problem")
                rows.append([entry.id, Status("not valid", problems)])
                continue
            rows.append(
                [
                    entry.id,
                    found.workflow.name,
                    ", ".join(found.workflow.step_names),
                    found.workflow.config.workflow.schedule_in_words or "",
                    Status(run.status, f"{run.started_at:%Y-%m-%d %H:%M}") if run else "never",
                ]
            )
        return Table(("Workflow", "Name", "Stages", "Schedule", "Last run (UTC)"), rows)


class Stages(tuple[Stage, ...], Shown):
    """A workflow's stages."""

    @property
    def table(self) -> Table:
        """The stages with their order, tables and parameters."""
        rows = [
            [
                stage.name,
                ", ".join(stage.after),
                ", ".join(map(str, stage.writes)),
                "\n".join(
                    f"{name} = {stage.parameters.get(name, parameter.default)!r}"
                    for name, parameter in declared_parameters(stage.notebook).parameters.items()
                ),
            ]
            for stage in self
        ]
        return Table(("Stage", "After", "Writes", "Parameters"), rows)


@dataclass(frozen=True)
class Validation(Shown):
    """What `validate` found.

    Args:
        project: the project.
        found: by workflow; `notebooks`, `leftovers` and `dbt` hold what belongs to none.
    """

    project: Project
    found: dict[str, Examination]

    @property
    def problems(self) -> list[Problem]:
        """What keeps the workflows from running, or their files from being committed."""
        return [problem for one in self.found.values() for problem in one.problems]

    @property
    def warnings(self) -> list[Problem]:
        """What works, but not as it should."""
        return [warning for one in self.found.values() for warning in one.warnings]

    @property
    def table(self) -> Table:
        """The problems and warnings, each with its place and what to do."""
        rows: list[Row] = [
            [Status(kind), problem.where(self.project.paths.root) or "", problem.message,
             problem.hint or ""]
            for kind, problems in (("error", self.problems), ("warning", self.warnings))
            for problem in problems
        ]  # fmt: skip
        return Table(("", "Where", "What", "Next"), rows or [[Status("valid")]])

    def with_dbt(self, wanted: bool) -> Validation:
        """This, and what dbt finds when it is `wanted`.

        dbt's messages concern all workflows, and would repeat what was found in its files.
        """
        from dataflow.validation.workflow import Examination, examine_dbt

        if not wanted or self.problems:
            return self
        read = Examination(examine_dbt(self.project.paths))
        return Validation(self.project, {**self.found, "dbt": read})


@dataclass(frozen=True, repr=False)
class Run(record.Run, Shown):
    """A run as its record has it: `status`, `steps`, `started_at`, `seconds`, `notebook(stage)`.

    Args:
        project: its project.
    """

    project: Project

    @classmethod
    def of(cls, run: record.Run, project: Project) -> Run:
        """A run of `project`."""
        return cls(run.folder, run.data, project)

    @property
    def steps(self) -> Steps:
        """The run's steps by name, in order: `status`, times, `rows`, `checks`, `error`."""
        return Steps(super().steps)

    @property
    def tables(self) -> pd.DataFrame:
        """The tables that the run wrote: columns `step`, `table`, `rows`."""
        import pandas as pd

        rows = [
            (name, table, count)
            for name, step in self.steps.items()
            for table, count in (step.get("rows") or {}).items()
        ]
        return pd.DataFrame(rows, columns=["step", "table", "rows"])

    @property
    def data_comparison(self) -> DataComparison | None:
        """What came of its data: each table beside the version published before, by rows, columns
        and a profile of each; None when that was not compared.
        """
        return read_data(self.folder)

    @property
    def error(self) -> DataflowError | None:
        """What it ended with, as an error to print or raise; None when it succeeded or goes on."""
        if self.status not in UNSUCCESSFUL:
            return None
        outside = (self.data.get("error") or {}).get("message")
        text = f"run {self.run_id[: record.SHORT]} {self.status}"
        review = self.data.get("review") or {}
        if self.status == record.REJECTED:
            outside = f"by {review['by']}" + (f": {review['comment']}" if review["comment"] else "")
            return RunFailed(f"{text} {outside}")
        return failure(self.project.paths, self) or RunFailed(
            f"{text}: {outside}" if outside else text
        )

    def diff(
        self,
        other: Run | None = None,
        *,
        tolerance: float | None = None,
        everything: bool = False,
    ) -> RunComparison:
        """Compare it with another run of its workflow; the one that started earlier is `before`.

        Args:
            other: the other run; by default the last one before it that succeeded.
            tolerance: how much two numbers of outputs may differ, relative to the larger one;
                1e-9 by default.
            everything: leave out nothing as noise but the runs' own ids and moments.

        Raises:
            ConfigurationError: it is of another workflow, or the same run, or none succeeded before.
        """
        paths = self.project.paths
        found = run_to_compare(paths, self, other)
        options = {} if tolerance is None else {"tolerance": tolerance}
        return compare_runs(paths, self, found, everything=everything, **options)

    def open(self, stage: str | None = None, *, browser: bool = True) -> str:
        """Open a stage's executed notebook as a page.

        Args:
            stage: its name; by default the one that failed, or the first.
            browser: open it in a browser, where this machine has one.

        Returns:
            The page's address: on the dashboards' server if it is running, else the file's.

        Raises:
            ConfigurationError: the run has no executed notebook of that stage.
        """
        from dataflow.services.review import page_url

        address = page_url(self.project.paths, page_of(self.notebook(stage)))
        if browser:
            import typer

            typer.launch(address)
        return address

    def approve(
        self,
        comment: str = "",
        *,
        by: str | None = None,
        seen: str | None = None,
        via: str = "python",
        on_progress: Callable[[str], None] = lambda text: None,
    ) -> Run:
        """Publish what it made, exactly as it was reviewed, and show it on the dashboard.

        Args:
            comment: why it is right.
            by: who decides; you, the user of this process, by default.
            seen: the SHA-256 of what was reviewed, if it is to be compared.
            via: where that was said.
            on_progress: told in words what takes time.

        Returns:
            The run as it is now: succeeded, or failed where the dashboard could not be shown.

        Raises:
            ConfigurationError: it does not await review, or its candidate is not what was seen.
            WarehouseError: it could not be published; it still awaits review.
        """
        from dataflow.orchestration.approval import approve

        done = approve(
            self.project.paths,
            self,
            comment=comment,
            by=by,
            seen=seen,
            via=via,
            on_progress=on_progress,
        )
        return Run.of(done, self.project)

    def reject(self, comment: str = "", *, by: str | None = None, via: str = "python") -> Run:
        """Refuse to publish what it made: readers keep what they have.

        Arguments are those of `approve`.

        Raises:
            ConfigurationError: it does not await review.
        """
        from dataflow.orchestration.approval import reject

        done = reject(self.project.paths, self, comment=comment, by=by, via=via)
        return Run.of(done, self.project)

    def cancel(self, *, by: str | None = None) -> Run:
        """Cancel it, whoever started it, and wait for its end; one that has ended stays so.

        Args:
            by: who cancels it; you, the user of this process, by default.

        Returns:
            The run as it ended: `cancelled`, or otherwise when it ended by itself just then.

        Raises:
            ConfigurationError: it runs on another machine, or is another user's.
            DataflowError: its record cannot be changed, or it has not ended within a minute.
        """
        return Run.of(cancel(self.project.paths, self, by=by), self.project)

    def pin(self) -> Run:
        """Keep it: nothing removes it until `unpin`; returns the run as it is recorded now.

        Raises:
            DataflowError: its record is gone, or cannot be changed.
        """
        return Run.of(marks.pin(self), self.project)

    def unpin(self) -> Run:
        """Let it go when it is old, like any other; returns and raises as `pin`."""
        return Run.of(marks.unpin(self), self.project)

    def add_note(self, text: str) -> Run:
        """Add a note with who wrote it and when, to `notes`; returns and raises as `pin`.

        Args:
            text: what there is to know about it; secrets in it become `${NAME}`.

        Raises:
            ConfigurationError: there is no text.
        """
        self.project.paths.load_environment()
        secrets = secrets_of(self.project.paths.notebooks / self.workflow_id)
        return Run.of(marks.add_note(self, Scrubber(secrets).text(text)), self.project)

    def export(self, file: Path | str, *, overwrite: bool = False) -> Exported:
        """Put it into a zip file that can be read without DATAFLOW: unpacked, by its index.html.

        Args:
            file: the file to create, or a folder, where it gets a name of its own.
            overwrite: replace an existing file.

        Returns:
            The file's `path`, how many `files` are in it, and what had to be `left_out`.

        Raises:
            ConfigurationError: the file exists already.
            DataflowError: it cannot be written; nothing is left of it.
        """
        from dataflow.services.exported_run import export_run

        return export_run(self.project.paths, self, Path(file), overwrite=overwrite)

    @property
    def table(self) -> Table:
        """The run's steps."""
        return self.steps.table

    def __repr__(self) -> str:
        return f"<Run {self.run_id[: record.SHORT]} of {self.workflow_id}: {self.status}>"

    def _repr_html_(self) -> str:
        error = (
            f"<pre style='font-family: monospace'>{html.escape(str(self.error))}</pre>"
            if self.error
            else ""
        )
        return Runs([self]).table.html() + self.table.html() + error


class Steps(dict[str, dict[str, Any]], Shown):
    """A run's steps by name."""

    @property
    def table(self) -> Table:
        """Each step with its result, time, rows and checks."""
        return steps_table(self)


class Runs(list[Run], Shown):
    """Some runs."""

    @property
    def table(self) -> Table:
        """The runs with their results and notebooks."""
        rows: list[Row] = [
            [
                run.run_id[: record.SHORT],
                run.workflow_id,
                f"{run.started_at:%Y-%m-%d %H:%M}",
                Status(run.status, "pinned" if run.pinned else ""),
                seconds_text(run.seconds),
                ", ".join(path.stem for path in run.notebooks),
            ]
            for run in self
        ]
        return Table(("Run", "Workflow", "Started (UTC)", "Result", "Time", "Notebooks"), rows)


def _examined(
    project: Project, workflows: list[Workflow], warnings: Sequence[Problem] = ()
) -> dict[str, Examination]:
    """What is wrong with each of `workflows`; and `warnings` that concern notebooks of several."""
    from dataflow.validation.workflow import Examination, examine_workflow, saved_outputs

    project.paths.load_environment()
    found = {one.id: examine_workflow(project.paths, one.folder) for one in workflows}
    with_outputs = [path for one in found.values() for path in one.with_outputs]
    if warnings := [*warnings, *saved_outputs(project.paths, with_outputs)]:
        found["notebooks"] = Examination(warnings=warnings)
    return found
