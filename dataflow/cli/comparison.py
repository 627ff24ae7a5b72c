"""Two runs compared, as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.text import Text

from dataflow.base.table import Row, Table
from dataflow.base.words import seconds_text, shortened
from dataflow.cli.output import console, print_table
from dataflow.review.comparison import (
    OTHER_FILES,
    CheckDiff,
    FigureDiff,
    ParameterDiff,
    RunComparison,
    RunFacts,
    StageDiff,
)
from dataflow.review.notebooks import OutputDiff
from dataflow.review.tables import TableDiff
from dataflow.review.text import TextDiff

MOST_LINES = 40  # of one difference
MOST_ROWS = 12  # of one table
MOST_FILES = 10
WIDTH = 48  # of a cell
_STYLES = {"-": "red", "+": "green", "~": "yellow", "@": "cyan", " ": "dim"}


def print_comparison(comparison: RunComparison) -> None:
    """Print what differs, and what does not in a line."""
    out = console()
    before, after = comparison.before, comparison.after
    out.print(
        Text(f"{after.workflow}  ", "bold").append(_run(before)).append(" → ").append(_run(after))
    )
    out.print(Text(f"{comparison.summary}.", "bold yellow" if comparison.differs else "bold green"))
    for line in _lines(comparison):
        out.print(line)
    _print_times(comparison)
    if comparison.same:
        out.print(Text(f"The same: {', '.join(comparison.same)}.", "dim"))
    if comparison.noise:
        out.print(Text(f"Left out as noise: {comparison.noise}. --all shows it.", "dim"))
    for note in comparison.notes:
        out.print(Text(note, "dim"))


def _run(facts: RunFacts) -> str:
    return f"{facts.short} ({facts.started_at[:16].replace('T', ' ')} UTC, {facts.status})"


def _lines(comparison: RunComparison) -> Iterator[Text]:
    yield from _commits(comparison)
    if comparison.results:
        yield _heading("Results")
        for result in comparison.results:
            words = f"  {result.step}: {result.before or 'no such step'} → "
            yield Text(words + (result.after or "no such step"))
            if result.error:
                yield Text(f"    {result.error}", "red")
    if comparison.parameters:
        yield _heading("Parameters")
        yield from map(_parameter, comparison.parameters)
    if comparison.code:
        yield _heading("Code")
        names = ", ".join(comparison.code)
        yield Text(f"  {names}: {OTHER_FILES}")
    if comparison.rows:
        yield _heading("Rows")
        yield from (_figure(row) for row in comparison.rows)
    if comparison.schema:
        yield _heading("Columns")
        for one in comparison.schema:
            name = f"{one.table}.{one.column}" if one.column else one.table
            mark = "+" if one.before is None else "-" if one.after is None else "~"
            types = " → ".join(kind for kind in (one.before, one.after) if kind is not None)
            yield Text(f"  {mark} {name}: {types}", _STYLES[mark])
    if comparison.figures:
        yield _heading("Recorded figures")
        yield from (_figure(figure) for figure in comparison.figures)
    if comparison.checks:
        yield _heading("Checks")
        for check in comparison.checks:
            yield from _check(check)
    for stage in comparison.stages:
        yield from _stage(stage)


def _heading(text: str) -> Text:
    return Text(f"\n{text}", "bold")


def _commits(comparison: RunComparison) -> Iterator[Text]:
    commits = comparison.commits
    if not commits.differs and not (commits.dirty_before or commits.dirty_after):
        return
    yield _heading("Commits")
    names = [
        f"{commit[:8]}{' and changes' if dirty else ''}" if commit else "none"
        for commit, dirty in (
            (commits.before, commits.dirty_before),
            (commits.after, commits.dirty_after),
        )
    ]
    yield Text(f"  {' → '.join(names) if commits.differs else names[0]}")
    if not commits.differs:
        which = "both runs" if commits.dirty_before and commits.dirty_after else (
            "the earlier run" if commits.dirty_before else "the later run"
        )  # fmt: skip
        yield Text(f"  The same commit; files differed from it in {which}.", "dim")
    for mark, found in (("+", commits.gained), ("-", commits.lost)):
        for commit in found:
            line = f"  {mark} {commit.id[:8]} {commit.date[:10]} {commit.author}: {commit.subject}"
            yield Text(line, _STYLES[mark])
    if commits.more:
        yield Text(f"  … and {commits.more:,} more", "dim")
    for file in commits.files[:MOST_FILES]:
        counts = "" if file.added is None else f"  +{file.added:,} -{file.removed or 0:,}"
        kind = "" if commits.differs else ", with other uncommitted changes"
        yield Text(f"  {file.path}{kind}").append(counts, "dim")
    if len(commits.files) > MOST_FILES:
        yield Text(f"  … and {len(commits.files) - MOST_FILES:,} more files", "dim")
    if commits.note:
        yield Text(f"  {commits.note}", "dim")


def _parameter(one: ParameterDiff) -> Text:
    sides = (
        came if came in ("absent", "not set") else f"{value!r}{' (default)' * (came == 'default')}"
        for value, came in ((one.before, one.before_from), (one.after, one.after_from))
    )
    return Text(f"  {one.step}.{one.name}: {' → '.join(sides)}")


def _figure(one: FigureDiff) -> Text:
    name = one.table if one.name == "rows" and one.table else f"{one.table} {one.name}".strip()
    shown = Text(f"  {one.step}: {name} {_value(one.before)} → {_value(one.after)}")
    return shown.append(f"  {one.change}", "dim") if one.change else shown


def _value(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "none" if value is None else str(value)


def _check(check: CheckDiff) -> Iterator[Text]:
    words = {"new": f"new, {check.after}", "gone": f"gone, {check.before} before",
             "not reached": f"not reached, {check.before} before",
             "result": f"{check.before} → {check.after}", "details": check.after}  # fmt: skip
    bad = check.state in ("result", "new") and check.after == "failed"
    yield Text(f"  {check.step}: {check.name}: {words[check.state]}", "red" if bad else "")
    for name, before, after in check.details:
        yield Text(f"    {name} {_value(before)} → {_value(after)}", "dim")


def _stage(stage: StageDiff) -> Iterator[Text]:
    cells = stage.notebook.cells if stage.notebook else ()
    if not cells and not stage.note and not stage.log:
        return
    yield _heading(stage.title)
    if stage.log:
        yield from _text(stage.log)
    if stage.note:
        yield Text(f"  note: {stage.note}", "yellow")
    for cell in cells:
        if cell.not_executed and not cell.source:
            continue  # below, in a line
        state = "" if cell.state == "changed" else f", {cell.state}"
        yield Text(f"  {cell.number}{state}", "bold cyan").append(f"  {cell.title}", "not bold dim")
        if cell.source:
            yield from _text(cell.source)
        for output in cell.outputs:
            if cell.state in ("added", "removed"):
                continue  # the cell is shown
            yield from _output(output)
    for which, run in (("before", "earlier"), ("after", "later")):
        numbers = [str(cell.after or cell.before) for cell in cells if cell.not_executed == which]
        if numbers:
            yield Text(f"  not executed in the {run} run: cells {', '.join(numbers)}", "yellow")


def _output(output: OutputDiff) -> Iterator[Text]:
    state = "" if output.state == "changed" else f" {output.state}"
    note = f": {output.note}" if output.note else ""
    if (output.before or output.after) and not output.note:
        note = ": see the page" if output.state == "changed" else ""
    yield Text(f"    {output.name}{state}{note}", "cyan")
    if output.text:
        yield from _text(output.text)
    for table in output.tables:
        yield from _table(table)


def _text(difference: TextDiff) -> Iterator[Text]:
    for line in difference.lines[:MOST_LINES]:
        shown = f"… {line.text} lines" if line.mark == "@" else f"{line.mark} {line.text}"
        yield Text(f"    {shown}", _STYLES[line.mark])
    more = difference.more + max(0, len(difference.lines) - MOST_LINES)
    if more:
        yield Text(f"    … and {more:,} more lines", "dim")


def _table(table: TableDiff) -> Iterator[Text]:
    yield Text(f"    {table.summary}", "dim")
    for row in table.rows[:MOST_ROWS]:
        names = [name for _, name in table.columns]
        if row.mark == "~":
            key = ", ".join(
                str(cell.after) for cell in row.cells[: table.keys or 1] if not cell.differs
            )
            changes = "; ".join(
                f"{name} {_short(cell.before)} → {_short(cell.after)}"
                + (f" {cell.change}" if cell.change else "")
                for name, cell in zip(names, row.cells, strict=True)
                if cell.differs
            )
            yield Text(f"    ~ {key}: {changes}" if key else f"    ~ {changes}", _STYLES["~"])
        else:
            values = (cell.after if row.mark == "+" else cell.before for cell in row.cells)
            shown = " | ".join(_short(value) for value in values)
            yield Text(f"    {row.mark} {shown}", _STYLES[row.mark])
    for mark, name in table.columns:
        if mark != " ":
            yield Text(f"    {mark} column {name}", _STYLES[mark])
    more = table.more + max(0, len(table.rows) - MOST_ROWS)
    if more:
        yield Text(f"    … and {more:,} more rows", "dim")


def _short(text: str | None) -> str:
    return shortened(text or "", WIDTH)


def _print_times(comparison: RunComparison) -> None:
    rows: list[Row] = [
        [one.step, seconds_text(one.before), seconds_text(one.after), _times(one.before, one.after)]
        for one in comparison.times
    ]
    unusual: Sequence[str] = [one.step for one in comparison.times if one.is_unusual]
    if rows:
        print_table(Table(("Time", "Before", "After", ""), rows, ("Before", "After")))
    if unusual:
        console().print(Text(f"Twice or half the time: {', '.join(unusual)}", "yellow"))


def _times(before: float | None, after: float | None) -> str:
    return f"× {after / before:.1f}" if before and after else ""
