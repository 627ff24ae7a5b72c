"""`dataflow service`: JupyterLab, Dagster and the dashboards, started and stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dataflow.base.words import counted
from dataflow.cli.output import Json, console, messages, new_table, print_error, print_json
from dataflow.errors import ConfigurationError, DataflowError, ServiceError
from dataflow.project import Project

if TYPE_CHECKING:
    from dataflow.services.control import Start
    from dataflow.services.model import Service

app = typer.Typer(help="Start and stop JupyterLab, Dagster and Evidence.", no_args_is_help=True)

STYLES = {"running": "green", "starting": "yellow", "stopped": "dim"}


class ServiceName(StrEnum):
    """What can be started."""

    jupyter = "jupyter"
    dagster = "dagster"
    evidence = "evidence"
    all = "all"


Name = Annotated[ServiceName, typer.Argument(help="The service.", show_default=False)]
Names = Annotated[list[ServiceName], typer.Argument(help="The services.", show_default=False)]
NameOrAll = Annotated[ServiceName, typer.Argument(help="The service.")]
Port = Annotated[
    int | None,
    typer.Option(
        "--port",
        min=1,
        max=65535,
        help="The port, instead of that of the settings.",
        show_default=False,
    ),
]


@app.command()
def start(
    names: Names,
    detach: Annotated[
        bool, typer.Option("-d", "--detach", help="In the background, until `service stop`.")
    ] = False,
    port: Port = None,
    dev: Annotated[
        bool, typer.Option("--dev", help="Evidence's own server: pages change as you write them.")
    ] = False,
) -> None:
    """Start services; Ctrl-C ends them. With -d they run in the background."""
    from dataflow.services import control, foreground

    project = Project.find()
    services = _services(*names, port=port)
    if dev and [service.name for service in services] != ["evidence"]:
        raise ConfigurationError("--dev is for evidence", hint="dataflow service start evidence")
    if detach:
        _start_in_background(
            [partial(control.launch, project, service, port=port, dev=dev) for service in services]
        )
        return
    started = foreground.run(
        project,
        services,
        port=port,
        dev=dev,
        on_start=_print_start,
        on_line=lambda service, line: _print_line(service, line, len(services)),
    )
    if started:
        messages().print("Stopped.")


@app.command()
def stop(name: Name) -> None:
    """Stop a service with everything it started."""
    from dataflow.services import control

    project = Project.find()
    for service in _services(name):
        did = control.stop(project, service)
        messages().print(f"{service.title} {'stopped' if did else 'was not running'}.")


@app.command()
def restart(name: Name, port: Port = None) -> None:
    """Stop a service and start it again, in the background."""
    from dataflow.services import control

    project = Project.find()
    services = _services(name, port=port)
    _start_in_background([partial(control.restart, project, s, port) for s in services])


@app.command()
def status(name: NameOrAll = ServiceName.all, as_json: Json = False) -> None:
    """Show which services run, and where."""
    from dataclasses import asdict

    from rich.markup import escape

    from dataflow.services import control
    from dataflow.services.dagster import broken_workflows

    project = Project.find()
    found = [control.status(project, service) for service in _services(name)]
    broken = broken_workflows(project) if name in (ServiceName.dagster, ServiceName.all) else {}
    if as_json:
        print_json(
            [
                {"service": s.service, "status": s.status, "processes": s.processes}
                | ({k: v for k, v in asdict(s.state).items() if k != "mark"} if s.state else {})
                | ({"broken_workflows": list(broken)} if s.service == "dagster" else {})
                for s in found
            ]
        )
        return
    table = new_table("Service", "Status", "Port", "Process", "Since (UTC)")
    running = [s.state for s in found if s.state and s.status in ("running", "starting")]
    for s in found:
        shown = f"[{STYLES.get(s.status, 'bold red')}]{s.status}[/]"
        facts = ["", "", ""]
        if s.state in running:
            since = s.state.started_at[:19].replace("T", " ")
            facts = [str(s.state.port), str(s.state.pid), since]
        table.add_row(s.service, shown, *facts)
    console().print(table)
    for state in running:
        # Not in the table: JupyterLab's has a token, and has to be whole to be of use.
        console().print(f"{state.service:9} {state.url}", markup=False, soft_wrap=True)
    for s in found:
        if s.status == "failed" and s.state is not None:
            messages().print(
                f"{s.service}: {escape(s.state.ended or '')}. "
                f"[cyan]dataflow service logs {s.service}[/]"
            )
        if s.status == "killed":
            left = (
                f" and left {counted(s.processes, 'process', 'processes')}" if s.processes else ""
            )
            messages().print(
                f"{s.service} was killed{left}. [cyan]dataflow service stop {s.service}[/] "
                "cleans up."
            )
    for workflow_id, problem in broken.items():
        messages().print(
            f"[red]workflow {workflow_id} is broken[/]: {escape(problem)}. "
            f"[cyan]dataflow workflow validate {workflow_id}[/]",
            soft_wrap=True,
        )


@app.command()
def logs(
    name: Name,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many lines.")] = 50,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Keep printing new lines; Ctrl-C ends it.")
    ] = False,
) -> None:
    """Show what a service printed since its last start."""
    import time

    from dataflow.services.logs import Follower, last_lines
    from dataflow.services.state import log_file

    project = Project.find()
    services = _services(name)
    paths = {service.name: log_file(project, service.name) for service in services}
    present = {service: path for service, path in paths.items() if path.exists()}
    if not present and not follow:
        never = "it was never" if len(services) == 1 else "no service was ever"
        raise ServiceError(
            f"there is no log: {never} started here",
            hint=f"dataflow service start {name.value}",
        )
    followers = {service: Follower(path, at_end=True) for service, path in paths.items()}
    for service, path in present.items():
        for line in last_lines(path, lines):
            _print_line(service, line, len(services))
    try:
        while follow:
            for service, follower in followers.items():
                for line in follower.lines():
                    _print_line(service, line, len(services))
            time.sleep(0.2)
    except KeyboardInterrupt:
        return


@app.command()
def systemd(
    names: Annotated[
        list[ServiceName] | None,
        typer.Argument(help="The services; dagster and evidence.", metavar="[NAME]..."),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(help="The user they run as; the owner of the project.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="A folder to write the units to; else they are printed."),
    ] = None,
) -> None:
    """Print or write units, with which systemd starts the services with the machine."""
    from dataflow.base.files import write_whole
    from dataflow.services.systemd import next_steps, owner, units

    project = Project.find()
    services = _services(*(names or (ServiceName.dagster, ServiceName.evidence)))
    user = user or owner(project)
    written = units(project, services, user)
    if output is None:
        print("\n".join(f"# {name}\n{text}" for name, text in written.items()), end="")
        messages().print("[dim]Nothing was written; --output FOLDER writes a file for each.[/]")
        return
    for name, text in written.items():
        write_whole(output / name, text)
        console().print(str(output / name), markup=False, soft_wrap=True)
    messages().print("Next, as root:")
    for step in next_steps(project, output, list(written), user):
        messages().print(f"  {step}", markup=False, soft_wrap=True, style="cyan")


def _services(*names: ServiceName, port: int | None = None) -> list[Service]:
    from dataflow.services.catalog import SERVICES

    chosen = SERVICES if ServiceName.all in names else dict.fromkeys(names)
    services = [SERVICES[name] for name in chosen]
    if port is not None and len(services) > 1:
        raise ConfigurationError(
            "--port is for a single service", hint="Start them one by one to choose their ports."
        )
    return services


def _start_in_background(launches: Sequence[Callable[[], Start]]) -> None:
    """Start services together, then wait for each; one that fails does not keep others back."""
    from dataflow.services import control

    starts: list[Start] = []
    errors: list[DataflowError] = []
    for launch in launches:
        try:
            starts.append(launch())
        except DataflowError as error:
            errors.append(error)
    for start in starts:
        try:
            if not start.already:
                control.wait_until_healthy(start)
            _print_start(start)
        except DataflowError as error:
            errors.append(error)
    for failed in errors[:-1]:
        print_error(failed)
    if errors:
        raise errors[-1]


def _print_start(start: Start) -> None:
    from rich.markup import escape

    runs = "is already running" if start.already else "is running"
    messages().print(f"[green]✓[/] {start.service.title} {runs} on port {start.state.port}:")
    console().print(escape(start.state.url), soft_wrap=True)
    if start.note:
        messages().print(f"  → {escape(start.note)}", style="cyan")
    if start.tied:
        messages().print("[dim]Ctrl-C ends it.[/]")


def _print_line(service: str, line: str, how_many: int) -> None:
    import sys

    from dataflow.services.logs import without_colours

    if not sys.stdout.isatty():
        line = without_colours(line)
    # Flushed, since a pipe may be followed, too.
    print(f"{service:8} │ {line}" if how_many > 1 else line, flush=True)
