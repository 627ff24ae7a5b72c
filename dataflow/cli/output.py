"""How results look on a terminal: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dataflow.base.terminal import messages as messages
from dataflow.errors import DataflowError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

    from dataflow.base.table import Table


Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Name = Annotated[str, typer.Argument(help="The workflow: its folder's name.")]

WHOLE = 10_000  # columns: wider than any line
STYLES = {"good": "green", "bad": "bold red", "doubtful": "yellow", "busy": "blue", "idle": "dim"}


def console() -> Console:
    """Where results go; in a file or a pipe lines are not cut to the terminal's width."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, soft_wrap=True, width=WHOLE)


def print_json(data: Any) -> None:
    """Print `data` as JSON on standard output, for programs."""
    json.dump(data, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")


def new_table(*columns: str, right: Collection[str] = (), rule: bool = True) -> RichTable:
    """A plain table; the columns in `right` are aligned to the right, a rule is below the head."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD if rule else None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(Text(column), justify="right" if column in right else "left")
    return table


def print_table(table: Table, *, wrapped: str | None = None) -> None:
    """Print a table.

    Args:
        table: the table.
        wrapped: the only column that takes more lines on a narrow terminal; any when None.
    """
    from rich.markup import escape

    shown = new_table(*table.columns, right=table.right)
    for title, column in zip(table.columns, shown.columns, strict=True):
        column.no_wrap = wrapped is not None and title != wrapped
    for row in table.rows:
        shown.add_row(
            *(
                escape(cell)
                if isinstance(cell, str)
                else f"[{STYLES[cell.kind]}]{cell.text}[/] {escape(cell.more)}".rstrip()
                for cell in row
            )
        )
    console().print(shown)


def print_error(error: DataflowError) -> None:
    """Print what went wrong, where, and what to do next."""
    from rich.markup import escape

    first, *rest = str(error).split("\n")
    err = messages()
    err.print(f"[bold red]error:[/] {escape(first)}")
    for line in rest:
        style = "cyan" if line.lstrip().startswith("→") else None
        err.print(escape(line), style=style)
