"""What a service is: the programs it consists of, and where it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dataflow.project import Project


@dataclass(frozen=True)
class Command:
    """One program of a service.

    Args:
        name: what people call it, in logs and errors.
        argv: the command.
        cwd: the folder it is started in.
        env: variables that override the service's own environment; None removes a variable.
        ready_socket: a Unix socket; the next program is started once this one accepts
            connections there.
        before_end: a command that ends work in progress, run when the service is told to end,
            while this program is still running and those started after it are not.
    """

    name: str
    argv: list[str]
    cwd: str
    env: dict[str, str | None] = field(default_factory=dict)
    ready_socket: str | None = None
    before_end: list[str] | None = None


@dataclass(frozen=True)
class Plan:
    """How to run a service, as returned by its `prepare`.

    Args:
        commands: its programs, in the order they are started; they are ended in reverse.
        url: the address for people.
        health: the path, below the address, that answers 200 when the service works.
        end_seconds: how long its programs have to end after they were told to.
        remove: a folder of this start's own, removed when the service has ended.
        note: something a person should know at the start.
    """

    commands: list[Command]
    url: str
    health: str
    end_seconds: float = 15.0
    remove: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Service:
    """A service of the project.

    Args:
        name: its name on the command line.
        title: its name for people.
        prepare: prepares its start for a project and a port; the last argument is `dev`.
    """

    name: str
    title: str
    prepare: Callable[[Project, int, bool], Plan]
