"""Every command with its arguments and options, in reStructuredText, from the command line itself.

sphinx-click cannot do it: Typer has its own copy of click.
"""

import re
from collections.abc import Iterator
from typing import Any

import typer

from dataflow.cli.main import app

UNDERLINES = "=-~"


def commands_as_rst() -> str:
    """The sections of all commands, groups as sections of their own."""
    return "\n".join(_lines(typer.main.get_command(app), None, "dataflow"))


def _lines(command: Any, parent: Any, name: str) -> Iterator[str]:
    context = command.context_class(command, info_name=name, parent=parent)
    path = context.command_path
    title = f"``{path}``"
    below = getattr(command, "commands", {})
    if parent is not None:
        yield from ("", title, UNDERLINES[path.count(" ")] * len(title), "")
        yield from (_escaped(command.help), "")
    if not below:
        yield from (
            ".. code-block:: text",
            "",
            f"   {path} {' '.join(command.collect_usage_pieces(context))}",
        )
    yield from ("", f".. program:: {path}", "")
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is None:  # hidden
            continue
        names, text = record
        yield from (f".. option:: {names}", "", f"   {_escaped(text)}", "")
    for name_below, command_below in below.items():
        yield from _lines(command_below, context, name_below)


def _escaped(text: str) -> str:
    """A help text, whose only markup are backticks, as reStructuredText."""
    parts = re.split(r"`([^`]+)`", text)
    return "".join(
        f"``{part}``" if number % 2 else re.sub(r"([\\*|_])", r"\\\1", part)
        for number, part in enumerate(parts)
    )
