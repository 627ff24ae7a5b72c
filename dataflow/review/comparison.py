"""Two runs of a workflow compared: what somebody looks for when a number is another today.

Parameters, code, outputs, rows, recorded figures, checks, times and commits. What always differs
between two runs is left out (`noise.py`), and counted, so that nobody has to believe it.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dataflow.base.words import counted, listed
from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.review.commits import CommitsBetween, commits_between
from dataflow.review.noise import RULES, Noise, steps_of
from dataflow.review.notebooks import MOST_TEXT, NotebookDiff, compare_cells, read_executed
from dataflow.review.recorded import (
    SchemaDiff,
    compare_schemas,
    reviewed_tables,
    written_tables,
)
from dataflow.review.tables import change_text
from dataflow.review.text import TOLERANCE, Comparer, TextDiff
from dataflow.runs.record import (
    FAILED,
    LEFT_OUT,
    NOT_RUN,
    SHORT,
    Run,
    mapping,
    newest_first,
    step_seconds,
)
from dataflow.stages.parameters import REQUIRED, read_declaration
from dataflow.stages.result import plain

OTHER_FILES = "other models, modules, files, configuration or variables than before"
_UNREACHED = ("pending", LEFT_OUT, NOT_RUN)
_ENDED_EARLY = (*FAILED, "killed", "running", "retrying")


@dataclass(frozen=True)
class RunFacts:
    """Which run it is; all of it is empty for a notebook that is no run's."""

    run_id: str
    folder: str
    workflow: str
    status: str
    started_at: str
    seconds: float | None
    trigger: str
    user: str

    @property
    def short(self) -> str:
        """The beginning of its id."""
        return self.run_id[:SHORT]


@dataclass(frozen=True)
class ResultDiff:
    """A step that ended another way, or that only one of the runs has.

    Args:
        step: its name.
        before: its status in the earlier run; None for a step that is new.
        after: its status in the later one; None for one that is gone.
        error: what the later run's step failed with, or else the earlier one's.
    """

    step: str
    before: str | None
    after: str | None
    error: str = ""


@dataclass(frozen=True)
class ParameterDiff:
    """A parameter with another value.

    Args:
        step: the stage, or op.
        name: the parameter.
        before: its value in the earlier run.
        after: its value in the later one.
        before_from: where that value came from: `default` of the notebook, `set` for the run or in
            config.yaml, `absent` where the parameter was not declared, or `not set` where only that
            is known.
        after_from: the same of the later run.
    """

    step: str
    name: str
    before: Any
    after: Any
    before_from: str
    after_from: str


@dataclass(frozen=True)
class StageDiff:
    """The executed notebooks of a stage, or the logs of an op.

    Args:
        step: the stage, or op.
        notebook: how their cells differ; None where they could not be compared.
        note: what there is to say about them.
        before_page: the page of the earlier run's, in its folder; None where there is no notebook.
        after_page: the page of the later run's.
        log: how the log of an op, which has no notebook, differs.
    """

    step: str
    notebook: NotebookDiff | None
    note: str = ""
    before_page: str | None = None
    after_page: str | None = None
    log: TextDiff | None = None

    @property
    def title(self) -> str:
        """What is compared: the notebook's name, or the op's."""
        return f"{self.step}, its log" if self.log else f"{self.step}.ipynb"

    @property
    def changed_code(self) -> int:
        """How many cells have other code, came, went, or stand elsewhere."""
        return sum(bool(cell.source) or cell.state == "moved" for cell in self._cells)

    @property
    def changed_outputs(self) -> int:
        """How many outputs of cells that are in both differ."""
        both = (cell for cell in self._cells if cell.state not in ("added", "removed"))
        return sum(len(cell.outputs) for cell in both) + bool(self.log)

    @property
    def _cells(self) -> tuple[Any, ...]:
        return self.notebook.cells if self.notebook else ()


@dataclass(frozen=True)
class FigureDiff:
    """A figure that a step recorded: the rows of a table, or another one.

    Args:
        step: the step.
        table: the table, "" for the stage itself.
        name: `rows`, or the figure's name.
        before: its value; None where there was none.
        after: its value in the later run.
        change: for two numbers the difference, `+13 (+0.8 %)`.
    """

    step: str
    table: str
    name: str
    before: Any
    after: Any
    change: str = ""


@dataclass(frozen=True)
class CheckDiff:
    """A check that differs.

    Args:
        step: the step it belongs to.
        name: its name.
        state: `new`, `gone`, `not reached` where its step ended before it, `result` where it passed
            in one run only, or `details` where only its figures differ.
        before: `passed`, `failed` or `warning`; None where there was none.
        after: the same of the later run.
        details: its figures that differ: name, before, after.
    """

    step: str
    name: str
    state: str
    before: str | None
    after: str | None
    details: tuple[tuple[str, Any, Any], ...] = ()


@dataclass(frozen=True)
class TimeDiff:
    """How long a step took, in seconds; None where it did not run to its end."""

    step: str
    before: float | None
    after: float | None

    @property
    def is_unusual(self) -> bool:
        """Whether a step took twice as long or half, and by more than two seconds."""
        if not self.before or not self.after or self.step == "all":
            return False
        few, many = sorted((self.before, self.after))
        return many > 2 * few and many - few > 2


@dataclass(frozen=True)
class RunComparison:
    """What differs between two runs of a workflow.

    Args:
        before: the run that started earlier.
        after: the one that started later.
        results: steps that ended another way.
        parameters: parameters with another value.
        code: steps that used other files, configuration or variables, besides their notebook.
        stages: the executed notebooks of stages that ran in both.
        rows: tables with another number of rows.
        schema: columns that came, went or have another type.
        figures: other recorded figures that differ.
        checks: checks that differ.
        times: how long each step took.
        commits: what git knows about the code.
        left_out: differences that were noise only, by what they were.
        same: what is the same, in words.
        notes: what else there is to say.
    """

    before: RunFacts
    after: RunFacts
    results: tuple[ResultDiff, ...]
    parameters: tuple[ParameterDiff, ...]
    code: tuple[str, ...]
    stages: tuple[StageDiff, ...]
    rows: tuple[FigureDiff, ...]
    schema: tuple[SchemaDiff, ...]
    figures: tuple[FigureDiff, ...]
    checks: tuple[CheckDiff, ...]
    times: tuple[TimeDiff, ...]
    commits: CommitsBetween
    left_out: dict[str, int] = field(default_factory=dict)
    same: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def differences(self) -> list[str]:
        """What differs, counted: `2 parameters`, `1 cell's code`."""
        code = sum(stage.changed_code for stage in self.stages)
        outputs = sum(stage.changed_outputs for stage in self.stages)
        counts = (
            (len(self.results), "step's result", "steps' results"),
            (len(self.parameters), "parameter", "parameters"),
            (code, "cell's code", "cells' code"),
            (len(self.code), "step's other files", "steps' other files"),
            (outputs, "output", "outputs"),
            (len(self.checks), "check", "checks"),
            (len(self.figures), "recorded figure", "recorded figures"),
        )
        found = [counted(number, *words) for number, *words in counts if number]
        if self.rows:
            found.append(f"rows of {counted(len(self.rows), 'table')}")
        if self.schema:
            tables = len({one.table for one in self.schema})
            found.append(f"columns of {counted(tables, 'table')}")
        return found

    @property
    def differs(self) -> bool:
        """Whether anything differs but noise, times and commits."""
        return bool(self.differences)

    @property
    def is_complete(self) -> bool:
        """Whether all executed notebooks could be compared."""
        return all(stage.notebook is not None for stage in self.stages)

    @property
    def summary(self) -> str:
        """What differs, in one line."""
        found = self.differences
        if not found:
            return "Nothing differs" + (
                "" if self.is_complete else " as far as it could be compared"
            )
        alone = len(found) == 1 and found[0].startswith("1 ")
        return f"{listed(found)} {'differs' if alone else 'differ'}"

    @property
    def noise(self) -> str:
        """What was left out, in words; "" when nothing was."""
        return listed([f"{name} ({number:,})" for name, number in sorted(self.left_out.items())])

    def of(self, step: str) -> RunComparison:
        """What of it concerns a step; without times and commits, which belong to the runs."""
        return self._chosen(lambda name: name == step, ())

    def besides(self, step: str) -> RunComparison:
        """What of it does not concern a step."""
        return self._chosen(lambda name: name != step, self.times)

    def _chosen(self, wanted: Callable[[str], bool], times: tuple[TimeDiff, ...]) -> RunComparison:
        return replace(
            self,
            results=tuple(one for one in self.results if wanted(one.step)),
            parameters=tuple(one for one in self.parameters if wanted(one.step)),
            code=tuple(filter(wanted, self.code)),
            stages=tuple(one for one in self.stages if wanted(one.step)),
            rows=tuple(one for one in self.rows if wanted(one.step)),
            schema=tuple(one for one in self.schema if wanted(one.step)),
            figures=tuple(one for one in self.figures if wanted(one.step)),
            checks=tuple(one for one in self.checks if wanted(one.step)),
            times=times,
        )

    def to_json(self) -> dict[str, Any]:
        """The comparison for programs; images are named by their hash."""
        data = asdict(self, dict_factory=_without_images)
        return {
            "differs": self.differs,
            "complete": self.is_complete,
            "summary": self.summary,
            **data,
        }


def _without_images(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if "sha256" in found:
        del found["data"]
    return found


def last_good_before(project: Project, run: Run) -> Run | None:
    """The newest run before `run` that succeeded; one that did all that it did, if there is any.

    Args:
        project: the project.
        run: the run.
    """
    wanted = {name for name, step in steps_of(run).items() if step.get("status") not in _UNREACHED}
    nearest = None
    earlier = (one for one in newest_first(project, run.folder.parent.name) if _is_before(one, run))
    for one in itertools.islice((one for one in earlier if one.status == "succeeded"), 50):
        nearest = nearest or one
        steps = steps_of(one)
        if all(steps.get(name, {}).get("status") not in _UNREACHED for name in wanted):
            return one
    return nearest


def _is_before(one: Run, other: Run) -> bool:
    return one.started_at < other.started_at and one.run_id != other.run_id


def run_to_compare(project: Project, run: Run, other: Run | None) -> Run:
    """The run to compare `run` with: the `other`, or else the last good one before it.

    Raises:
        ConfigurationError: there is none, or it is of another workflow, or it is the same run.
    """
    if other is None:
        other = last_good_before(project, run)
        if other is None:
            raise ConfigurationError(
                f"no run of {run.workflow_id} before {run.run_id[:SHORT]} succeeded",
                hint="Name the other run: `dataflow runs diff RUN OTHER`; "
                f"`dataflow runs list {run.workflow_id}` shows them.",
            )
    if other.workflow_id != run.workflow_id:
        raise ConfigurationError(
            f"run {other.run_id[:SHORT]} is one of {other.workflow_id}, and {run.run_id[:SHORT]} "
            f"one of {run.workflow_id}: only runs of one workflow can be compared",
            hint=f"`dataflow runs list {run.workflow_id}` shows the others.",
        )
    if other.run_id == run.run_id:
        raise ConfigurationError(
            f"{run.run_id[:SHORT]} is the same run twice",
            hint=f"`dataflow runs list {run.workflow_id}` shows the others.",
        )
    return other


def compare_runs(
    project: Project,
    one: Run,
    other: Run,
    *,
    tolerance: float = TOLERANCE,
    everything: bool = False,
) -> RunComparison:
    """Compare two runs of a workflow; the one that started earlier is `before`.

    Args:
        project: the project.
        one: a run.
        other: another one.
        tolerance: how much two numbers of outputs may differ, relative to the larger one.
        everything: leave out nothing but moments and ids of the runs themselves.

    Raises:
        ConfigurationError: they are not two runs of one workflow.
    """
    run_to_compare(project, one, other)
    before, after = sorted((one, other), key=lambda run: (run.started_at, run.folder.name))
    settings = project.settings
    rules = () if everything else RULES
    more = () if everything else settings.diff_ignore
    noise = [Noise(run, zone=settings.timezone, more=more, rules=rules) for run in (before, after)]
    comparer = Comparer(noise[0], noise[1], tolerance)
    return _Comparison(project, before, after, comparer).result()


class _Comparison:
    """Collects what differs."""

    def __init__(self, project: Project, before: Run, after: Run, comparer: Comparer) -> None:
        self._project = project
        self._runs = (before, after)
        self._comparer = comparer
        self._same: Counter[str] = Counter()
        self._notes: list[str] = []
        self._steps = tuple(steps_of(run) for run in self._runs)
        old, new = self._steps
        # In the order of the later run; what is gone stands where it stood.
        self._names = list(dict.fromkeys([*new, *old]))
        self._in_both = [
            name
            for name in self._names
            if all(steps.get(name, {}).get("status", "pending") not in _UNREACHED
                   for steps in self._steps)
        ]  # fmt: skip

    def result(self) -> RunComparison:
        """The comparison."""
        before, after = self._runs
        for steps, which in zip(self._steps, ("earlier", "later"), strict=True):
            left = [name for name, step in steps.items() if step.get("status") == LEFT_OUT]
            if left:
                self._notes.append(f"The {which} run was one without {', '.join(left)}.")
        parameters: list[ParameterDiff] = []
        stages: list[StageDiff] = []
        for name in self._in_both:
            found, stage = self._stage(name)
            parameters += found
            stages += [stage] if stage else []
        rows = [one for name in self._in_both for one in self._rows(name)]
        schema, more_rows = self._tables()
        rows += more_rows
        # What a dashboard shows of a model has its name.
        models = {(one.table.rpartition(".")[2], one.before, one.after) for one in more_rows}
        rows = [
            one
            for one in rows
            if one.step != "dashboard" or (one.table, one.before, one.after) not in models
        ]
        figures = [one for name in self._in_both for one in self._figures(name)]
        checks = [one for name in self._in_both for one in self._checks(name)]
        return RunComparison(
            before=facts_of(before),
            after=facts_of(after),
            results=tuple(self._results()),
            parameters=tuple(parameters),
            code=tuple(self._code(stages)),
            stages=tuple(stages),
            rows=tuple(rows),
            schema=tuple(schema),
            figures=tuple(figures),
            checks=tuple(checks),
            times=tuple(self._times()),
            commits=commits_between(self._project, before, after),
            left_out=dict(self._comparer.left_out),
            same=tuple(same_in_words(self._same)),
            notes=tuple(self._notes),
        )

    def _code(self, stages: list[StageDiff]) -> Iterator[str]:
        """The steps whose code differs in something else than the cells of their notebook."""
        changed = {stage.step for stage in stages if stage.changed_code or stage.notebook is None}
        for name in self._in_both:
            old, new = (steps[name].get("code_version") for steps in self._steps)
            if old and new and old != new and name not in changed:
                yield name

    def _results(self) -> Iterator[ResultDiff]:
        old, new = self._steps
        for name in self._names:
            before, after = (
                steps[name].get("status") if name in steps else None for steps in (old, new)
            )
            if before != after and LEFT_OUT not in (before, after):
                errors = [steps.get(name, {}).get("error") for steps in (new, old)]
                known = [one for one in errors if isinstance(one, dict)]
                error = str(known[0].get("message", "")) if known else ""
                yield ResultDiff(name, before, after, error)

    def _stage(self, name: str) -> tuple[list[ParameterDiff], StageDiff | None]:
        """The parameters and the executed notebooks of a step."""
        steps = [steps[name] for steps in self._steps]
        cells: list[list[Any] | None] = []
        pages: list[str | None] = []
        notes = []
        for run, step, which in zip(self._runs, steps, ("earlier", "later"), strict=True):
            cells.append(None)
            pages.append(None)
            file = step.get("notebook")
            if not file:
                continue
            path = run.folder / Path(str(file)).name  # whatever the record says: in its folder
            try:
                cells[-1] = read_executed(path)
                pages[-1] = path.with_suffix(".html").name
            except ConfigurationError as error:
                notes.append(f"the {which} run's: {error.message}")
            if ".try" in str(file):
                tries = str(file).removesuffix(".ipynb").rpartition(".try")[2]
                notes.append(f"the {which} run's is that of try {tries}")
        parameters = self._parameters(name, cells)
        if not any(step.get("notebook") for step in steps):
            log = self._log(steps)
            return parameters, StageDiff(name, NotebookDiff(), log=log) if log else None
        notebook = None
        if cells[0] is not None and cells[1] is not None:
            notebook = compare_cells(cells[0], cells[1], self._comparer)
            self._same["cells"] += notebook.same_cells
            self._same["outputs"] += notebook.same_outputs
            notes += [notebook.note] if notebook.note else []
        return parameters, StageDiff(name, notebook, "; ".join(notes), pages[0], pages[1])

    def _log(self, steps: list[dict[str, Any]]) -> TextDiff | None:
        """How the logs of an op differ; None when they do not, or a run has none."""
        texts = []
        for run, step in zip(self._runs, steps, strict=True):
            if step.get("kind") != "op" or not step.get("log"):
                return None
            try:
                path = run.folder / Path(str(step["log"])).name
                with path.open(encoding="utf-8", errors="replace") as file:
                    texts.append(file.read(MOST_TEXT))
            except OSError:
                return None
        return self._comparer.text(*texts)

    def _parameters(self, name: str, cells: list[list[Any] | None]) -> list[ParameterDiff]:
        old, new = (
            values_of(run, name, nodes) for run, nodes in zip(self._runs, cells, strict=True)
        )
        missing = "absent"
        if None in cells:
            # Without its notebook nobody knows a run's defaults: only what was set is compared.
            missing = "not set"
            old, new = (
                {key: value for key, value in values.items() if value[1] == "set"}
                for values in (old, new)
            )
        found = compare_values(name, old, new, missing)
        self._same["parameters"] += len({*old, *new}) - len(found)
        return found

    def _rows(self, name: str) -> Iterator[FigureDiff]:
        old, new = (mapping(steps[name].get("rows")) for steps in self._steps)
        for table in dict.fromkeys([*new, *old]):
            before, after = old.get(table), new.get(table)
            if before == after:
                self._same["rows"] += 1
            elif not self._unreached(name, after):
                yield FigureDiff(name, table, "rows", before, after, _change(before, after))

    def _tables(self) -> tuple[list[SchemaDiff], list[FigureDiff]]:
        """The columns of tables, and the rows of those that no stage wrote: models."""
        schema: list[SchemaDiff] = []
        written: set[str] = set()
        for name in self._in_both:
            old, new = (written_tables(steps[name]) for steps in self._steps)
            if old and new:  # runs of earlier versions have none
                missing = set(old) - set(new)
                if self._steps[1][name].get("status") in _ENDED_EARLY:
                    old = {table: one for table, one in old.items() if table not in missing}
                schema += compare_schemas(old, new, name)
                written |= {*old, *new}
        reviewed = [reviewed_tables(run) for run in self._runs]
        if reviewed[0] is None or reviewed[1] is None:
            return schema, []
        old, new = (
            {table: one for table, one in tables.items() if table not in written}
            for tables in (reviewed[0], reviewed[1])
        )
        rows = [
            FigureDiff("published", table, "rows", old[table].rows, one.rows,
                       _change(old[table].rows, one.rows))
            for table, one in new.items()
            if table in old and old[table].rows != one.rows
        ]  # fmt: skip
        return schema + compare_schemas(old, new), rows

    def _figures(self, name: str) -> Iterator[FigureDiff]:
        old, new = (mapping(steps[name].get("recorded")) for steps in self._steps)
        for table in dict.fromkeys([*new, *old]):
            before, after = mapping(old.get(table)), mapping(new.get(table))
            for key in dict.fromkeys([*after, *before]):
                one, other = before.get(key), after.get(key)
                if (key == "rows" and table) or self._same_value(one, other):
                    continue
                if not self._unreached(name, other):
                    yield FigureDiff(name, table, key, one, other, _change(one, other))

    def _checks(self, name: str) -> Iterator[CheckDiff]:
        old, new = (_checks_of(steps[name]) for steps in self._steps)
        for key in dict.fromkeys([*new, *old]):
            before, after = old.get(key), new.get(key)
            results = _result(before), _result(after)
            if before is None or after is None:
                early = self._unreached(name, after)
                state = "new" if before is None else "not reached" if early else "gone"
                yield CheckDiff(name, key[0], state, *results)
                continue
            one, other = mapping(before.get("metadata")), mapping(after.get("metadata"))
            details = tuple(
                (str(figure), one.get(figure), other.get(figure))
                for figure in dict.fromkeys([*other, *one])
                if not self._same_value(one.get(figure), other.get(figure))
            )
            if results[0] == results[1] and not details:
                self._same["checks"] += 1
                continue
            state = "details" if results[0] == results[1] else "result"
            yield CheckDiff(name, key[0], state, *results, details)

    def _unreached(self, name: str, after: Any) -> bool:
        """Whether something is missing since the later run's step ended before it."""
        return after is None and self._steps[1][name].get("status") in _ENDED_EARLY

    def _same_value(self, before: Any, after: Any) -> bool:
        one, other = _json(before), _json(after)
        return one == other or self._comparer.same(one, other)

    def _times(self) -> Iterator[TimeDiff]:
        for name in self._names:
            before, after = (_seconds(steps.get(name, {})) for steps in self._steps)
            if before is not None or after is not None:
                yield TimeDiff(name, before, after)
        yield TimeDiff("all", *(run.seconds for run in self._runs))


def same_in_words(same: Mapping[str, int]) -> Iterator[str]:
    """What was compared and found to be the same: `3 parameters`, `12 cells`."""
    words = (
        ("parameters", "parameter", "parameters"),
        ("cells", "cell", "cells"),
        ("outputs", "output", "outputs"),
        ("rows", "table's rows", "tables' rows"),
        ("checks", "check", "checks"),
    )
    for key, one, many in words:
        if same.get(key):
            yield counted(same[key], one, many)


def facts_of(run: Run) -> RunFacts:
    """Which run it is."""
    return RunFacts(
        run_id=run.run_id,
        folder=run.folder.name,
        workflow=run.workflow_id,
        status=run.status,
        started_at=run.started_at.isoformat(timespec="seconds"),
        seconds=run.seconds,
        trigger=str(run.data.get("trigger") or ""),
        user=str(run.data.get("user") or ""),
    )


def _seconds(step: Mapping[str, Any]) -> float | None:
    try:
        return step_seconds(step)
    except (TypeError, ValueError):
        return None


Values = Mapping[str, tuple[Any, str]]  # a parameter's value, and where it comes from


def values_of(run: Run, name: str, cells: list[Any] | None) -> Values:
    """A step's parameters by name: the value, and whether it is the default or was set."""
    found = {} if cells is None else defaults_of(run.folder / f"{name}.ipynb", cells)
    given = mapping(steps_of(run)[name].get("values"))
    given = given or mapping(mapping(run.data.get("parameters")).get(name))
    return {**found, **{str(key): (plain(value), "set") for key, value in given.items()}}


def defaults_of(path: Path, cells: list[Any]) -> Values:
    """The defaults that the notebook at `path`, with these `cells`, declares."""
    return {
        parameter.name: (plain(parameter.default), "default")
        for parameter in read_declaration(path, cells).parameters.values()
        if parameter.default is not REQUIRED
    }


def compare_values(step: str, old: Values, new: Values, missing: str) -> list[ParameterDiff]:
    """The parameters of a step that differ; `missing` says what one is that a side has not."""
    found = []
    for key in dict.fromkeys([*new, *old]):
        before, before_from = old.get(key, (None, missing))
        after, after_from = new.get(key, (None, missing))
        if _json(before) != _json(after) or (key in old) != (key in new):
            found.append(ParameterDiff(step, key, before, after, before_from, after_from))
    return found


def _checks_of(step: Mapping[str, Any]) -> dict[tuple[str, int], Mapping[str, Any]]:
    """A step's checks by name, and for a name that comes again by its count."""
    seen: Counter[str] = Counter()
    found = {}
    checks = step.get("checks")
    for check in checks if isinstance(checks, list) else []:
        if isinstance(check, Mapping):
            name = str(check.get("name"))
            found[(name, seen[name])] = check
            seen[name] += 1
    return found


def _result(check: Mapping[str, Any] | None) -> str | None:
    if check is None:
        return None
    if check.get("passed"):
        return "passed"
    return "failed" if check.get("severity") == "error" else "warning"


def _json(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _change(before: Any, after: Any) -> str:
    numbers = [one for one in (before, after) if type(one) in (int, float)]
    return change_text(*numbers) if len(numbers) == 2 else ""
