"""`dataflow db`: look at the warehouse, publish, back up, restore."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dataflow.base.words import counted, size_text
from dataflow.cli.output import Json, console, new_table, print_json
from dataflow.errors import EXIT_FAILED, ConfigurationError, DataflowError
from dataflow.project import Project

if TYPE_CHECKING:
    from dataflow.warehouse.store import Access

app = typer.Typer(help="The warehouse: tables, queries, publish, backup.", no_args_is_help=True)


class DatabaseName(StrEnum):
    """The warehouse's databases."""

    published = "published"
    working = "working"
    development = "development"


DatabaseOption = Annotated[
    DatabaseName,
    typer.Option(
        "--database",
        "-d",
        help="published: what readers see. working: what runs write. development: your own copy.",
    ),
]
WriteOption = Annotated[
    bool,
    typer.Option("--write", help="Allow changes, in the working warehouse or your own copy."),
]
YesOption = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask before something is dropped.")
]


@app.command()
def tables(
    name: Annotated[
        str | None, typer.Argument(help="Describe this one: schema.table, or table.")
    ] = None,
    database: DatabaseOption = DatabaseName.published,
    as_json: Json = False,
) -> None:
    """List tables, or describe one: its columns, first rows, who makes and who reads it."""
    from dataflow.warehouse.store import tables as list_tables

    if name is not None:
        _describe(name, database, as_json)
        return
    found = list_tables(Project.find(), database.value)
    if as_json:
        print_json([asdict(table) for table in found])
        return
    rows = [
        (
            f"{table.schema}.{table.name}",
            table.kind,
            "" if table.rows is None else f"{table.rows:,}",
            size_text(table.bytes),
            (table.run_id or "")[:8],
            table.written_at.strftime("%Y-%m-%d %H:%M") if table.written_at else "",
        )
        for table in found
    ]
    columns = ("Table", "Kind", "Rows", "Size", "Last run", "Written (UTC)")
    _print_table(columns, rows, right=("Rows", "Size"))
    views = sum(table.kind == "view" for table in found)
    _say(
        f"{counted(len(found) - views, 'table')} and {counted(views, 'view')} in the "
        f"{database.value} database."
    )


def _describe(name: str, database: DatabaseName, as_json: bool) -> None:
    from dataflow.shared.explore import describe

    described = describe(name, database=database.value)
    found = described.found
    names = [column.name for column in found.columns]
    if as_json:
        print_json(
            asdict(found.table)
            | {
                "rows": found.rows,
                "columns": [asdict(column) for column in found.columns],
                "first": [dict(zip(names, row, strict=True)) for row in found.first],
                "made_by": described.made_by,
                "read_by": described.read_by,
                "shown_on": described.shown_on,
                "cells": described.cells,
                "notebook": described.notebook,
                "commit": described.commit,
            }
        )
        return
    for title, text in described.facts():
        first, *rest = text.split("\n")
        print(f"{title:<8} {first}", *(f"{'':<8} {line}" for line in rest), sep="\n")
    print()
    columns = [
        (c.name, c.type, f"{c.nulls:,}", f"{c.distinct:,}", _line(c.min), _line(c.max))
        for c in found.columns
    ]
    _print_table(
        ("Column", "Type", "Nulls", "Different", "Smallest", "Largest"),
        columns,
        right=("Nulls", "Different"),
        cut=("Smallest", "Largest"),
    )
    if found.first:
        print()
        shown = (
            [_line("NULL" if value is None else value) for value in row] for row in found.first
        )
        by_column = zip(names, *shown, strict=True)
        titles = [f"Row {number}" for number, _ in enumerate(found.first, start=1)]
        _print_table(("Column", *titles), list(by_column), cut=titles)


def _line(value: str | None) -> str:
    return "" if value is None else " ".join(value.split())


@app.command()
def shell(
    database: DatabaseOption = DatabaseName.published,
    write: WriteOption = False,
    yes: YesOption = False,
) -> None:
    """Open an SQL prompt, or run SQL from a pipe; only queries, without `--write`."""
    from dataflow.warehouse.store import run_shell

    run_shell(_access(database, write, yes))


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="One SQL statement.")],
    database: DatabaseOption = DatabaseName.published,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
    write: WriteOption = False,
    yes: YesOption = False,
) -> None:
    """Run one SQL statement and print its rows; only a query, without `--write`."""
    import shutil
    import sys
    import tempfile

    from dataflow.warehouse.store import running, write_csv, write_json

    if as_json and as_csv:
        raise ConfigurationError("--json and --csv exclude each other", hint="Choose one.")
    write_rows = write_json if as_json else write_csv if as_csv else None
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as aside:
        # A slow reader of our output must not keep writers waiting.
        out = sys.stdout if database is DatabaseName.published else aside
        with running(_access(database, write, yes), sql) as result:
            if write_rows is not None:
                write_rows(result, out)
            else:
                rows += (tuple("" if c is None else str(c) for c in row) for row in result.rows)
        aside.seek(0)
        shutil.copyfileobj(aside, sys.stdout)
    if write_rows is None:
        _print_table(result.columns, rows, right=result.numeric)
        _say(counted(len(rows), "row"))


@app.command()
def publish(
    workflow: Annotated[str | None, typer.Argument(help="The workflow; all if left out.")] = None,
    unreviewed: Annotated[
        bool,
        typer.Option("--unreviewed", help="Also workflows whose runs have to be reviewed first."),
    ] = False,
) -> None:
    """Publish what is in the working warehouse now, without running checks.

    The dashboards show it at once; their pages stay as they were built.
    """
    from dataflow.dashboard.paths import has_sources
    from dataflow.dashboard.refresh import refresh_dashboard
    from dataflow.orchestration.dashboard import publish_workflow
    from dataflow.orchestration.kinds import steps_of
    from dataflow.scaffold.inventory import tables_of_nobody
    from dataflow.warehouse.store import tables as published_tables
    from dataflow.workflows.registry import get_workflow, read_workflows

    project = Project.find()
    project.load_environment()
    if workflow:
        chosen = [get_workflow(project, workflow)]
    else:
        registered = read_workflows(project)
        chosen = [entry.workflow for entry in registered if entry.workflow is not None]
        for entry in registered:
            if entry.workflow is None:
                _say(f"{entry.id} is left out: see `dataflow workflow validate {entry.id}`")
    reviewed = [] if unreviewed else [w for w in chosen if w.config.workflow.review is not None]
    if workflow and reviewed:
        raise ConfigurationError(
            f"{workflow} is published when a run of it is approved: its config.yaml has `review:`",
            hint="dataflow runs approve RUN; to publish what nobody has seen: "
            f"dataflow db publish {workflow} --unreviewed",
        )
    for each in reviewed:
        _say(f"{each.id} is left out: its runs are reviewed first (--unreviewed publishes it)")
    chosen = [each for each in chosen if each not in reviewed]
    for each in chosen:
        done = publish_workflow(steps_of(project, each))
        _say(
            f"Published {each.id} as version {done.version}: {done.bytes_copied:,} bytes in "
            f"{done.seconds:.2f} s"
        )
    if not chosen:
        _say("There is no workflow to publish.")
    left = tables_of_nobody(project, "published") if not workflow else {}
    for name, made in left.items():
        _say(
            f"Readers still have {', '.join(made)}, which no workflow makes. To remove "
            f"{'it' if len(made) == 1 else 'them'}: dataflow workflow remove {name}"
        )
    failures: list[DataflowError] = []
    there = {table.schema for table in published_tables(project)} if chosen else set()
    for each in chosen:
        if there.intersection(each.schemas) and has_sources(project, each.id):
            try:
                refresh_dashboard(project, each.id, build=False)
                _say(f"The dashboard of {each.id} shows it.")
            except DataflowError as error:
                _say(f"The dashboard of {each.id} stays as it was.")
                failures.append(error)
    if failures:
        raise failures[0]


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The file to create.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Copy the working warehouse into one file, and check the copy."""
    from dataflow.warehouse.store import back_up

    made = back_up(Project.find(), file, overwrite=force)
    _say(
        f"Backed up {counted(made.tables, 'table')}, {counted(made.rows, 'row')}, {made.bytes:,} "
        f"bytes to {file}"
    )


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file made by `dataflow db backup`.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Make a backup the working warehouse; the one replaced is kept beside it."""
    from dataflow.warehouse.store import restore as restore_file

    project = Project.find()
    if not yes:
        typer.confirm(f"Replace {project.relative(project.warehouse)} by {file}?", abort=True)
    restored = restore_file(project, file)
    _say(
        f"Restored {counted(restored.tables, 'table')}, {counted(restored.rows, 'row')}. Readers see it after the "
        "next run, or after: dataflow db publish"
    )
    if restored.replaced is not None:
        _say(f"The warehouse it replaced is kept as {project.relative(restored.replaced)}")


@app.command()
def check(as_json: Json = False) -> None:
    """Open and read every database; exit code 1 when something is wrong."""
    from dataflow.warehouse.store import check as check_all

    keys = ("what", "ok", "detail", "hint")
    findings = [(f.subject, f.status == "ok", f.detail, f.hint) for f in check_all(Project.find())]
    if as_json:
        print_json([dict(zip(keys, finding, strict=True)) for finding in findings])
    else:
        for what, ok, detail, hint in findings:
            print(f"{'✓' if ok else '✗'} {what}: {detail}")
            if hint:
                print(f"  → {hint}")
    if not all(ok for _, ok, *_ in findings):
        raise typer.Exit(EXIT_FAILED)


@app.command("reset-dev")
def reset_dev(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Recreate your development copy from the published version."""
    from dataflow.warehouse.store import reset_development

    project = Project.find()
    if not yes:
        typer.confirm("Everything in your development copy will be lost. Continue?", abort=True)
    version = reset_development(project)
    _say(
        "Your development copy is empty: nothing is published yet."
        if version is None
        else f"Your development copy is published version {version} again."
    )


def _access(database: DatabaseName, write: bool, yes: bool) -> Access:
    import sys

    from dataflow.warehouse.store import Access

    def confirm(what: str) -> None:
        if yes:
            return
        if not sys.stdin.isatty():
            raise ConfigurationError(
                f"not confirmed: {what}", hint="Add --yes to run it without being asked."
            )
        if not typer.confirm(f"{what}\nRun it? This cannot be undone.", err=True):
            raise DataflowError("nothing was changed")

    return Access(Project.find(), database.value, write, confirm)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[str] = (),
    cut: Sequence[str] = (),
) -> None:
    """Print a table; on a narrow terminal the values of the columns in `cut` keep to one line."""
    from rich.text import Text

    table = new_table(*columns, right=right, rule=False)
    if cut:
        for column, title in zip(table.columns, columns, strict=True):
            column.no_wrap = title not in cut
    for row in rows:
        cells = zip(columns, row, strict=True)
        table.add_row(*(Text(c, no_wrap=title in cut, overflow="ellipsis") for title, c in cells))
    console().print(table)
