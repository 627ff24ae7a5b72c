"""`dataflow runs`: find and read the executed notebooks of earlier runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dataflow.cli.output import (
    Json,
    console,
    messages,
    print_error,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from dataflow.api import Run
    from dataflow.runs.record import Mark

RunName = Annotated[str, typer.Argument(help="The beginning of a run's id, or `last`.")]

app = typer.Typer(help="Find and read the executed notebooks of runs.", no_args_is_help=True)


@app.command("list")
def list_all(
    workflow: Annotated[str | None, typer.Argument(help="One workflow's runs only.")] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only those that ended without success.")
    ] = False,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help="Only those that stand like this. Can be given repeatedly."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", help="Only those that started then or later: 2026-11-26, or 12h, 7d ago."
        ),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            "--parameter",
            metavar="NAME VALUE",
            help="Only those that ran with this value, set for the run or in config.yaml; `*` is "
            "any. Can be given repeatedly.",
        ),
    ] = None,
    trigger: Annotated[
        str | None,
        typer.Option(
            "--trigger", help="Only those started by this: schedule, cli, python, dagster, ..."
        ),
    ] = None,
    user: Annotated[str | None, typer.Option("--user", help="Only those of this user.")] = None,
    commit: Annotated[
        str | None, typer.Option("--commit", help="Only those whose commit begins like this.")
    ] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", help="How many at most.")] = 20,
    as_json: Json = False,
) -> None:
    """List runs, the newest first."""
    from dataflow.api import Project, Runs

    found = Project.find().runs(
        workflow,
        failed=failed,
        limit=limit + 1,
        status=status or (),
        since=since,
        parameters=parameter or (),
        trigger=trigger,
        user=user,
        commit=commit,
    )
    runs = Runs(found[:limit])
    if as_json:
        print_json([{**run.data, "status": run.status} for run in runs])
        return
    print_table(runs.table, wrapped="Notebooks")
    if not found:
        messages().print("[dim]There are no such runs.[/]")
    if len(found) > limit:
        messages().print(f"[dim]There are older ones: --limit {2 * limit}[/]")


@app.command()
def prune(
    workflow: Annotated[str | None, typer.Argument(help="One workflow's runs only.")] = None,
    keep: Annotated[
        str | None,
        typer.Option("--keep", metavar="AGE", help="Keep those of the last 12h, 30d or 8w."),
    ] = None,
    keep_last: Annotated[
        int | None,
        typer.Option("--keep-last", metavar="N", min=1, help="Keep the newest of each workflow."),
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove/--dry-run", help="Remove them; by default they are listed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the old runs of all workflows, which nothing needs any more; with --remove, remove them.

    Old are those that the settings keep_runs and keep_days do not keep. With --keep or --keep-last
    these count instead; with both, the longer of the two.
    """
    from collections import Counter

    from dataflow.api import Project
    from dataflow.base.table import Row, Status, Table
    from dataflow.base.words import counted, size_text
    from dataflow.orchestration.retention import interrupted, old_of, size_of
    from dataflow.orchestration.retention import prune as prune_runs
    from dataflow.runs.retention import Limits, age_of

    project = Project.find().paths
    if workflow is not None and not (project.runs / workflow).is_dir():
        workflow = Project(project).workflow(workflow).id
    limits = Limits.of(project.settings)
    if keep is not None or keep_last is not None:
        limits = Limits(keep_last, None if keep is None else age_of(keep))
    old = old_of(project, workflow, limits)
    found = [each.run for each in old if not each.needed]
    sizes = {run.run_id: size_of(run) for run in found}
    stay = 0
    if remove and (found or next(interrupted(project), None)):
        from dataflow.orchestration.instance import open_instance

        with open_instance(project) as instance:
            removed = prune_runs(project, instance, workflow, limits=limits)
        stay = sum(run.folder.exists() for run in found)
        found = removed
    if as_json:
        print_json([{**run.data, "status": run.status} for run in found])
        return
    if found:
        rows: list[Row] = [
            [
                run.run_id[:8],
                run.workflow_id,
                f"{run.started_at:%Y-%m-%d %H:%M}",
                Status(run.status),
                size_text(sizes.get(run.run_id)),
            ]
            for run in found
        ]
        head = ("Run", "Workflow", "Started (UTC)", "Result", "Size")
        print_table(Table(head, rows, right=("Size",)))
    err = messages()
    size = size_text(sum(sizes.get(run.run_id, 0) for run in found))
    does = "removed" if remove else "would be removed"
    err.print(f"{counted(len(found), 'run')} {does}{f' ({size})' if found else ''}.")
    needed = Counter(each.needed for each in old if each.needed)
    if needed:
        why = ", ".join(f"{count} {reason}" for reason, count in needed.items())
        err.print(f"{counted(needed.total(), 'old run')} needed all the same: {why}.")
    if stay:
        err.print(f"{counted(stay, 'run')} may go, but stay: see above, or they run in Dagster.")
    if limits.keep_all:
        err.print(
            "  → All are kept until keep_runs or keep_days is set in \\[tool.dataflow]; for once, "
            "say --keep 30d or --keep-last 50.",
            style="cyan",
        )
    elif found and not remove:
        err.print("  → Add --remove to remove them.", style="cyan")


@app.command()
def cancel(run: RunName) -> None:
    """Cancel a run that is going on, whoever started it, and wait for its end."""
    from dataflow.api import Project
    from dataflow.runs.record import GOING_ON

    found = Project.find().find_run(run)
    ended = found.cancel()
    late = "" if found.status in GOING_ON else " already"
    messages().print(
        f"Run {ended.run_id[:8]} of {ended.workflow_id} has ended{late}: {ended.status}."
    )


@app.command()
def pin(run: RunName) -> None:
    """Keep a run: nothing removes it until it is unpinned."""
    from dataflow.api import Project

    pinned = Project.find().find_run(run).pin()
    messages().print(f"Run {pinned.run_id[:8]} of {pinned.workflow_id} is pinned.")


@app.command()
def unpin(run: RunName) -> None:
    """Let a pinned run go when it is old, like any other."""
    from dataflow.api import Project

    free = Project.find().find_run(run).unpin()
    messages().print(f"Run {free.run_id[:8]} of {free.workflow_id} is not pinned.")


@app.command()
def note(
    run: RunName, text: Annotated[str, typer.Argument(help="What there is to know about it.")]
) -> None:
    """Add a note to a run, with who wrote it and when; `runs show` and the run's page have it."""
    from dataflow.api import Project

    noted = Project.find().find_run(run).add_note(text)
    messages().print(f"Noted on run {noted.run_id[:8]} of {noted.workflow_id}.")


@app.command()
def export(
    run: RunName,
    file: Annotated[
        Path,
        typer.Argument(help="The zip file to create, or a folder for it.", show_default=False),
    ] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Put a run into a zip file that anybody can read: unpack it, open index.html."""
    from rich.markup import escape

    from dataflow.api import Project
    from dataflow.base.words import counted, size_text

    made = Project.find().find_run(run).export(file, overwrite=force)
    typer.echo(made.path)
    for name, reason in made.left_out.items():
        messages().print(f"[yellow]warning:[/] {escape(name)} is left out: {escape(reason)}")
    messages().print(f"{counted(made.files, 'file')}, {size_text(made.path.stat().st_size)}")


@app.command()
def show(
    run: RunName,
    data: Annotated[
        bool, typer.Option("--data", help="Its tables beside those published before.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a run: its steps, parameters, error, and where its executed notebooks are."""
    from rich.markup import escape

    from dataflow.api import Project
    from dataflow.cli import report
    from dataflow.runs.record import DIFFERENCE, mapping

    found = Project.find().find_run(run)
    if data:
        from dataflow.cli.data import print_data

        print_data(found, as_json=as_json)
        return
    if as_json:
        print_json({**found.data, "status": found.status})
        return
    out = console()
    git = found.data.get("git")
    commit = ""
    if git:
        commit = f", commit {(git['commit'] or 'none')[:8]}"
        commit += " and changes" if git.get("dirty") else ""
    out.print(f"[bold]{found.workflow_id}[/] {found.run_id}")
    out.print(
        f"started {found.started_at:%Y-%m-%d %H:%M:%S} UTC by {found.data.get('trigger')}{commit}"
    )
    for stage, values in (found.data.get("parameters") or {}).items():
        shown = ", ".join(f"{name} = {value!r}" for name, value in values.items())
        out.print(f"parameters of {stage}: {shown}")
    paths = found.project.paths
    report.print_run(paths, found)
    report.print_decide(paths, found)
    for path in [*found.notebooks, *found.folder.glob(DIFFERENCE)]:
        out.print(f"  {paths.relative(path)}")
    if cancel := mapping(found.data.get("cancel")):
        at = str(cancel.get("at"))[:16].replace("T", " ")
        out.print(f"asked to end by {escape(str(cancel.get('by')))}, {at} UTC")
    if found.pinned:
        out.print(f"pinned by {_by(found.pinned)}")
    for mark in found.notes:
        out.print(f"[bold]note[/] by {_by(mark)}: {escape(mark.text)}")
    if found.error:
        print_error(found.error)


def _by(mark: Mark) -> str:
    from rich.markup import escape

    return f"{escape(mark.by)}, {mark.at:%Y-%m-%d %H:%M} UTC"


@app.command()
def diff(
    run: Annotated[str, typer.Argument(help="The beginning of a run's id, or `last`.")],
    other: Annotated[
        str | None,
        typer.Argument(help="Another run; by default the last one before it that succeeded."),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance", min=0, help="How much numbers may differ, relative to the larger: 1e-9."
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show what is left out as noise, too.")
    ] = False,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code", help="End with exit code 1 unless they are the same, as git does."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare two runs of a workflow: parameters, code, outputs, rows, checks, times, commits.

    The run that started earlier is shown as the one before. What differs between any two runs,
    such as times and addresses in outputs, is left out; the last line counts it.
    """
    from dataflow.api import Project
    from dataflow.cli.comparison import print_comparison

    project = Project.find()
    found = project.find_run(run)
    comparison = found.diff(
        None if other is None else project.find_run(other),
        tolerance=tolerance,
        everything=everything,
    )
    if as_json:
        print_json(comparison.to_json())
    else:
        print_comparison(comparison)
    if exit_code and (comparison.differs or not comparison.is_complete):
        raise typer.Exit(1)


@app.command("open")
def open_run(
    run: RunName,
    stage: Annotated[
        str | None,
        typer.Option("--stage", help="The stage; by default the one that failed, or the first."),
    ] = None,
    lab: Annotated[
        bool,
        typer.Option("--lab", help="Copy its notebook, with the run's parameters, for JupyterLab."),
    ] = False,
    keep_data: Annotated[
        bool, typer.Option("--keep-data", help="With --lab: leave the development copy as it is.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --lab: do not ask.")] = False,
    browser: Annotated[
        bool | None,
        typer.Option(
            "--browser/--no-browser", help="Open it in a browser; by default only from a terminal."
        ),
    ] = None,
) -> None:
    """Open a stage's executed notebook; with --lab try the stage again by hand.

    With --lab the development copy becomes a copy of the working warehouse, which holds what
    the run read and wrote until another one writes.
    """
    from dataflow.api import Project

    found = Project.find().find_run(run)
    if browser is None:
        browser = sys.stdout.isatty()
    if not lab:
        typer.echo(found.open(stage, browser=browser))
        return
    address = _try_again(found, found.chosen_stage(stage), keep_data=keep_data, yes=yes)
    typer.echo(address)
    if "://" in address and browser:
        typer.launch(address)


def _try_again(run: Run, stage: str, *, keep_data: bool, yes: bool) -> str:
    from dataflow.services.review import asked_before_trying_again, try_again

    project, err = run.project.paths, messages()
    if not keep_data and not yes and (question := asked_before_trying_again(project)):
        typer.confirm(f"{question} Continue?", abort=True, err=True)
    copy = try_again(project, run, stage, keep_data=keep_data)
    for note in copy.notes:
        err.print(f"[yellow]note:[/] {note}")
    shown = project.relative(copy.path)
    if copy.url is None:
        err.print("JupyterLab is not running: dataflow service start jupyter", style="cyan")
    else:
        err.print(f"Copied to {shown}")
    return copy.url or shown


Comment = Annotated[str, typer.Option("--comment", help="Why; kept with the run.")]
By = Annotated[
    str | None, typer.Option("--by", help="Who decides; by default you, the user who calls this.")
]
Via = Annotated[str, typer.Option("--via", hidden=True)]


@app.command()
def approve(
    run: Annotated[str, typer.Argument(help="The beginning of a run's id, or `last`.")],
    comment: Comment = "",
    by: By = None,
    seen: Annotated[
        str | None,
        typer.Option("--seen", help="The SHA-256 of what you reviewed, to be compared."),
    ] = None,
    via: Via = "command line",
) -> None:
    """Publish what a run made that awaits review, exactly as it was reviewed."""
    from dataflow.api import Project
    from dataflow.cli import report

    found = Project.find().find_run(run)
    err = messages()
    approved = found.approve(
        comment, by=by, via=via, seen=seen, on_progress=lambda text: err.print(text, markup=False)
    )
    report.print_run(approved.project.paths, approved)
    if approved.error:
        raise approved.error


@app.command()
def reject(
    run: Annotated[str, typer.Argument(help="The beginning of a run's id, or `last`.")],
    comment: Comment = "",
    by: By = None,
    via: Via = "command line",
) -> None:
    """Refuse to publish what a run made that awaits review: readers keep what they have."""
    from dataflow.api import Project

    found = Project.find().find_run(run)
    found.reject(comment, by=by, via=via)
    messages().print(f"Rejected: run {found.run_id[:8]} of {found.workflow_id} is not published.")
