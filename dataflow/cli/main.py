"""The command `dataflow`: groups of commands, and errors turned into words in one place."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dataflow.base.garbage import collected_seldom
from dataflow.cli import (
    config,
    db,
    dbt,
    docs,
    doctor,
    init,
    project,
    remove,
    runs,
    service,
    stage,
    test,
    validate,
    workflow,
)
from dataflow.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, DataflowError

if TYPE_CHECKING:
    from dataflow.project import Project

app = typer.Typer(
    name="dataflow",
    help="Run, publish, show and review workflows whose stages are Jupyter notebooks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
workflow.app.command("init")(init.init)
workflow.app.command("add-stage")(stage.add_stage)
workflow.app.command("validate")(validate.validate)
workflow.app.command("test")(test.run_tests)
workflow.app.command("rename")(remove.rename)
workflow.app.command("remove")(remove.remove)
app.command("init")(project.init)
app.command("setup")(project.setup)
app.command("upgrade")(project.upgrade)
app.add_typer(workflow.app, name="workflow")
app.add_typer(runs.app, name="runs")
app.add_typer(service.app, name="service")
app.add_typer(db.app, name="db")
app.add_typer(config.app, name="config")
app.add_typer(docs.app, name="docs")
app.command("doctor")(doctor.doctor)
app.command(
    "dbt",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    options_metavar="COMMAND …",
)(dbt.dbt)


def _version(wanted: bool) -> None:
    if wanted:
        from dataflow.base.version import installed

        typer.echo(f"dataflow {installed()}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Workflows whose stages are Jupyter notebooks."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 ok, 1 it failed, 2 the command or the project is wrong."""
    with collected_seldom():
        code = run(sys.argv[1:] if arguments is None else arguments)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code."""
    from dataflow.base.interrupts import interrupt_behind
    from dataflow.cli.output import messages, print_error

    try:
        code = app(workflow.join_parameters(list(arguments)), standalone_mode=False)
        return code if isinstance(code, int) else EXIT_OK
    except DataflowError as error:
        print_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        messages().print("[yellow]cancelled[/]")
        return EXIT_FAILED
    except BrokenPipeError:  # `dataflow runs list | head`
        sys.stderr.close()
        return EXIT_OK
    except Exception as error:
        if isinstance(interrupt_behind(error), KeyboardInterrupt):
            messages().print("[yellow]cancelled[/]")
            return EXIT_FAILED
        if hasattr(error, "format_message"):  # typer's message about a wrong call
            return _usage_error(error)
        if type(error).__name__ == "Abort":  # a question was answered by no, or by nobody
            print_error(DataflowError("not confirmed; nothing was changed", hint="Add --yes."))
            return EXIT_FAILED
        if type(error).__name__ == "Exit":
            return int(getattr(error, "exit_code", EXIT_FAILED))
        return _internal_error(error)


def _usage_error(error: Exception) -> int:
    from rich.markup import escape

    from dataflow.cli.output import messages

    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "dataflow"
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(context.get_help() if context is not None else str(error))
        return EXIT_USAGE
    err = messages()
    err.print(f"[bold red]error:[/] {escape(error.format_message())}")  # type: ignore[attr-defined]
    err.print(f"  → See `{path} --help`.", style="cyan")
    return EXIT_USAGE


def _internal_error(error: Exception) -> int:
    """An unexpected error: say so in one line, keep the traceback for a bug report."""
    import traceback

    from rich.markup import escape

    from dataflow.cli.output import messages
    from dataflow.project import Project

    text = "".join(traceback.format_exception(error))
    err = messages()
    err.print(f"[bold red]error:[/] {escape(type(error).__name__)}: {escape(str(error))}")
    try:
        project = Project.find()
        path = project.state / "last-error.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_without_secrets(project, text), "utf-8")
        where = project.relative(path)
        err.print(f"  → This is a bug in DATAFLOW; {where} has the details.", style="cyan")
    except Exception:
        err.print(escape(text))
    return EXIT_FAILED


def _without_secrets(project: Project, text: str) -> str:
    """`text` without the values of the environment variables that workflows name."""
    from dataflow.engine.secrets import Scrubber
    from dataflow.variables import secrets_of

    # The variables that any workflow's configuration names.
    return Scrubber(secrets_of(project.notebooks / "any")).text(text)
