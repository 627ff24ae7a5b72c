"""The runs of the project: one folder each, kept whatever the run's result.

`runs/<workflow>/20261126T154203Z_1a2b3c4d/` began at 15:42:03 UTC, and its id begins with `1a2b3c4d`:
the folders sort by time. Version 0.1.0 named them by their whole id.

::

    run.json            what ran, when, with which parameters, and how each step ended
    ingest.ipynb        the executed notebook of each stage, also of those that failed
    ingest.html         the same to read without JupyterLab
    ingest.try2.ipynb   the second try, where a stage is tried again
    code.diff           how the project's files differed from their commit, if they did

`run.json` is the single source of truth about a run. It is written when the run starts
(`RunRecord.begin`), by each step when it starts and ends, and when the run has ended
(`RunRecord.end`); each time atomically and under a lock, since steps may run at the same time in
processes of their own. A process that is
killed leaves a run without its end: whoever reads it (`Run`) sees that the process is gone.
"""

from __future__ import annotations

import contextlib
import datetime
import getpass
import heapq
import itertools
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import Any, Protocol, TypeVar

from dataflow.base.files import write_whole
from dataflow.base.process import is_alive, this_process
from dataflow.base.words import nearest
from dataflow.errors import ConfigurationError
from dataflow.project import Project

# 2: the run's end is written down, as `status`; before, it was worked out from the steps alone.
FORMAT = 2
RUN_FILE = "run.json"
LOCK_FILE = ".lock"  # beside the record, so that it goes with the run
LOCK_SECONDS = 60  # to wait for others who change it
DIFFERENCE = "code.diff"
REMOVED = ".removed-"  # begins the name of a folder that is being removed: no run any more
SHORT = 8  # characters of an id that tell runs apart
UNDER_WAY = ("running", "retrying")  # the states of a step at work
ENDED_WELL = ("succeeded", "skipped")
FAILED = ("failed", "cancelled")
NOT_RUN = "not run"  # it would have followed
LEFT_OUT = "left out"  # not among the steps that were asked for
GOING_ON = ("running", "waiting")  # of a run that has not ended
# What passed may have to be seen by somebody before readers get it.
AWAITING = "awaiting review"
REJECTED = "rejected"
SUPERSEDED = "superseded"  # a newer run's data took its place before anybody decided
# What reading a record may raise: there is none, or somebody wrote something else into it.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)
_LENGTH = 17  # of the time that begins the name of a folder, but of version 0.1.0


@dataclass(frozen=True)
class Mark:
    """What somebody added to a run that was recorded: that it is pinned, or a note.

    Args:
        by: the user.
        at: when, UTC.
        text: the note; empty for a pin.
    """

    by: str
    at: datetime.datetime
    text: str = ""


@dataclass(frozen=True)
class Run:
    """One run as its record has it.

    Args:
        folder: its folder.
        data: the content of `run.json`; read again when the process that had not noted the run's
            end is found gone.
    """

    folder: Path
    data: dict[str, Any]

    @property
    def run_id(self) -> str:
        """The run's id."""
        return str(self.data["run_id"])

    @property
    def workflow_id(self) -> str:
        """The workflow that ran."""
        return str(self.data["workflow"])

    @property
    def steps(self) -> dict[str, dict[str, Any]]:
        """The run's steps by name, in order; of a killed run as its end left them."""
        steps = dict(self.data.get("steps", {}))
        if self.status == "killed":
            left = dict.fromkeys(UNDER_WAY, "killed") | {"pending": NOT_RUN}
            for name, step in steps.items():
                if step.get("status") in left:
                    steps[name] = {**step, "status": left[step["status"]]}
        return steps

    @property
    def status(self) -> str:
        """How the run stands: waiting, running, succeeded, failed, cancelled, killed, incomplete,
        awaiting review, rejected, superseded.

        The run says itself how it ended, or its process is gone and it was killed.
        """
        if self.data.get("status"):
            return str(self.data["status"])
        if self.data.get("format", 1) > 1:
            if not is_alive(self.data.get("process")):
                # It may have noted its end since this was read, and ended then.
                with contextlib.suppress(*UNREADABLE):
                    self.data.update(json.loads((self.folder / RUN_FILE).read_text("utf-8")))
                return str(self.data.get("status") or "killed")
            return "waiting" if self.data.get("waiting_for") else "running"
        return self._status_from_steps()

    def _status_from_steps(self) -> str:
        """The status of a run of format 1, which did not note its end."""
        steps = self.data.get("steps", {}).values()
        states = [step.get("status") for step in steps]
        if "cancelled" in states:
            return "cancelled"
        running = [step for step in steps if step.get("status") == "running"]
        if any(is_alive(step.get("process")) for step in running):
            return "running"
        if running:
            return "killed"
        if "failed" in states:
            return "failed"
        if states and all(state in (*ENDED_WELL, LEFT_OUT) for state in states):
            return "succeeded"
        # Nothing runs, nothing failed, something has not begun: between two steps, or ended there.
        return "running" if is_alive(self.data.get("process")) else "incomplete"

    @property
    def started_at(self) -> datetime.datetime:
        """When it started, UTC."""
        return moment_of(self.data["started_at"])

    @property
    def seconds(self) -> float | None:
        """How long it took, None while it runs."""
        ended = self.data.get("ended_at")
        if ended is None:
            return None
        return (moment_of(ended) - self.started_at).total_seconds()

    @property
    def pinned(self) -> Mark | None:
        """By whom and when it was pinned: it is never removed; None for others."""
        return _mark(self.data.get("pinned"))

    @property
    def notes(self) -> list[Mark]:
        """What people noted about it, the oldest first."""
        notes = self.data.get("notes")
        marks = map(_mark, notes if isinstance(notes, list) else [])
        return [mark for mark in marks if mark is not None and mark.text]

    @property
    def notebooks(self) -> list[Path]:
        """Its executed notebooks, in the order of the stages."""
        order = {name: number for number, name in enumerate(self.steps)}
        return sorted(
            self.folder.glob("[!.]*.ipynb"),
            key=lambda path: (order.get(path.name.split(".")[0], 99), path.name),
        )

    def chosen_stage(self, stage: str | None = None) -> str:
        """The stage to look at: the named one, else the one that failed, else the first.

        Raises:
            ConfigurationError: the run has no executed notebook of that stage, or none at all.
        """
        known = [name for name, step in self.steps.items() if step.get("notebook")]
        hint = "`dataflow runs show` lists its steps."
        if stage is not None and stage not in known:
            raise ConfigurationError(
                f"run {self.run_id[:SHORT]} has no executed notebook of a stage `{stage}`",
                hint=nearest(stage, known) or hint,
            )
        if not known:
            raise ConfigurationError(
                f"run {self.run_id[:SHORT]} has no executed notebook", hint=hint
            )
        failed = [name for name in known if self.steps[name].get("status") in FAILED]
        return stage or (failed or known)[0]

    def notebook(self, stage: str | None = None) -> Path:
        """The executed notebook of a stage, of its last try.

        Args:
            stage: its name; by default the one that failed, or the first.

        Raises:
            ConfigurationError: the run has none of that stage, or it is no longer there.
        """
        stage = self.chosen_stage(stage)
        notebook = self.folder / self.steps[stage]["notebook"]
        if not notebook.is_file():
            raise ConfigurationError(
                f"the executed notebook of `{stage}` is gone", where=str(notebook),
                hint="`dataflow runs list` shows other runs.",
            )  # fmt: skip
        return notebook


@dataclass(frozen=True)
class RunRecord:
    """Writes the record of one run into its folder.

    Args:
        project: the project.
        workflow_id: the workflow.
        run_id: the run's id, the same as in Dagster.
    """

    project: Project
    workflow_id: str
    run_id: str

    @property
    def folder(self) -> Path:
        """The run's folder; for a run that has not begun, the one it gets if it begins now."""
        if "_folder" not in self.__dict__:
            home = self.project.runs / self.workflow_id
            found = folder_of(home, self.run_id)
            if found is None:
                moment = datetime.datetime.now(datetime.UTC)
                return home / f"{moment:%Y%m%dT%H%M%SZ}_{self.run_id[:SHORT]}"
            self.__dict__["_folder"] = found  # it has it for good
        return Path(self.__dict__["_folder"])

    def executed_notebook(self, stage: str, attempt: int = 1) -> Path:
        """Where the executed notebook of a stage's try goes."""
        return self.folder / f"{stage}{f'.try{attempt}' if attempt > 1 else ''}.ipynb"

    def read(self) -> dict[str, Any]:
        """The content of `run.json`; empty when there is none yet."""
        try:
            return dict(json.loads((self.folder / RUN_FILE).read_text("utf-8")))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def begin(self, steps: list[dict[str, Any]], **facts: Any) -> None:
        """Note that the run begins, in this process; a run that has begun changes nothing.

        Args:
            steps: all steps of the run in order, each with `name`, `kind`, and `after`: the names
                of those it waits for.
            facts: what else is known: `selection` (names of the chosen steps, None for all),
                `parameters`, `trigger`, `git`, and `user` where it is not this process's.
        """

        selection = facts.get("selection")

        def state(name: str) -> str:
            return "pending" if selection is None or name in selection else LEFT_OUT

        def change(run: dict[str, Any]) -> None:
            if run:
                return
            run.update(
                format=FORMAT,
                run_id=self.run_id,
                workflow=self.workflow_id,
                started_at=now(),
                ended_at=None,
                status=None,
                process=this_process(),
                host=socket.gethostname(),
                **{"user": user(), **facts},
                steps={
                    step["name"]: {
                        "kind": step["kind"],
                        "after": step.get("after"),
                        "status": state(step["name"]),
                    }
                    for step in steps
                },
            )

        self._change(change)

    def step(self, name: str, **facts: Any) -> None:
        """Note `facts` about a step: its `status` and whatever belongs to it."""

        def change(run: dict[str, Any]) -> None:
            run.setdefault("steps", {}).setdefault(name, {"kind": "step"}).update(facts)

        self._change(change)

    def note(self, **facts: Any) -> None:
        """Note `facts` about the run itself."""
        self._change(lambda run: run.update(facts))

    def end(self, *, cancelled: bool = False, error: str | None = None) -> str:
        """Note that the run has ended; returns its status, which only a review changes after this.

        Args:
            cancelled: somebody ended it.
            error: what went wrong outside of its steps.
        """
        status = ""

        def change(run: dict[str, Any]) -> None:
            nonlocal status
            if run.get("status"):
                status = run["status"]
                return
            for step in run["steps"].values():
                if step["status"] in UNDER_WAY:
                    step.update(
                        status="cancelled" if cancelled else "failed", ended_at=now(), process=None
                    )
                elif step["status"] == "pending":
                    step["status"] = NOT_RUN
            status = "cancelled" if cancelled else "failed" if error else _end_of(run["steps"])
            run.update(status=status, ended_at=now(), waiting_for=None)
            if error:
                run["error"] = {"message": error}

        self._change(change)
        return status

    def reviewed(self, status: str, **facts: Any) -> None:
        """Note what came of the review of a run that awaited it.

        Args:
            status: how the run stands by that; also of those of its steps that awaited it.
            facts: what to add to the record's `review`.
        """

        def change(run: dict[str, Any]) -> None:
            run["review"] = {**(run.get("review") or {}), **facts}
            for step in run["steps"].values():
                if step["status"] == AWAITING:
                    step["status"] = status
            run["status"] = status

        self._change(change)

    def step_started(self, name: str, **facts: Any) -> None:
        """Note that a step is running, in this process."""
        self.step(
            name,
            status="running",
            started_at=now(),
            ended_at=None,
            process=this_process(),
            error=None,  # of an earlier try
            retry=None,
            **facts,
        )

    def step_ended(self, name: str, status: str, **facts: Any) -> None:
        """Note that a step ended as `status`: succeeded, skipped, failed or cancelled."""
        self.step(name, status=status, ended_at=now(), process=None, **facts)

    def _change(self, change: Callable[[dict[str, Any]], object]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        change_record(self.folder, change, self.read)


def change_record(
    folder: Path,
    change: Callable[[dict[str, Any]], object],
    read: Callable[[], dict[str, Any]],
) -> None:
    """Change `run.json` in a run's folder, under its lock and as a whole.

    Args:
        folder: the folder, which is there.
        change: changes the content that `read` has read.
        read: reads it.

    Raises:
        filelock.Timeout: others did so all the time.
        OSError: it cannot be written.
    """
    from filelock import FileLock

    with FileLock(folder / LOCK_FILE, timeout=LOCK_SECONDS):
        data = read()
        change(data)
        write_whole(folder / RUN_FILE, f"{json.dumps(data, indent=2, ensure_ascii=False)}\n")


def _end_of(steps: dict[str, dict[str, Any]]) -> str:
    """How a run whose steps ended like this has ended; see `Run.status`."""
    states = {step["status"] for step in steps.values()}
    for decisive in ("cancelled", "failed", AWAITING):
        if decisive in states:
            return decisive
    # An op that another op skipped is no failure; a later step that was not reached is no success.
    reached = all(step["status"] != NOT_RUN or step["kind"] == "op" for step in steps.values())
    return "succeeded" if reached else "incomplete"


def mapping(value: Any) -> dict[str, Any]:
    """A part of a record that somebody may have changed by hand: empty when it is no mapping."""
    return value if isinstance(value, dict) else {}


def user() -> str:
    """Who this process belongs to."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return str(os.getuid())


@dataclass
class Step:
    """A step while it runs; what is put into `facts` is recorded at its end, without secrets.

    Args:
        record: the run's record.
        name: the step.
        secrets: the values of the variables that the project's configuration names, by name.
        facts: what is known about it.
        is_done: whether it has done what it is for, so that a cancel comes too late.
    """

    record: RunRecord
    name: str
    secrets: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)
    is_done: bool = False


# The step that runs in this context, for the functions that its code calls.
current_step: ContextVar[Step | None] = ContextVar("current_step", default=None)


def newest_first(project: Project, workflow_id: str | None = None) -> Iterator[Run]:
    """The recorded runs, the newest first, without those whose `run.json` is not readable.

    Records are read as they are asked for, so that the first of ten thousand cost little.
    """

    def read(home: str, name: str) -> Run | None:
        return read_run(Path(home, name))

    return in_order(project, read, workflow_id)


class Started(Protocol):
    """What has a start in time."""

    @property
    def started_at(self) -> datetime.datetime:
        """When it started."""


T = TypeVar("T", bound=Started)


def in_order(
    project: Project,
    read: Callable[[str, str], T | None],
    workflow_id: str | None = None,
    *,
    until: str | None = None,
) -> Iterator[T]:
    """What `read` makes of the runs' folders, the newest first, read as it is asked for.

    Args:
        project: the project.
        read: takes the folder of a workflow's runs and a run's name in it; None leaves it out.
        workflow_id: one workflow's only.
        until: the name of a run's folder; those that started in a later second are not read.
    """
    last = until[:_LENGTH] if until and _is_dated(until) else None
    dated: dict[str, list[tuple[str, str]]] = {}
    others: list[tuple[str, str]] = []
    homes = [project.runs / workflow_id] if workflow_id else project.runs.glob("*")
    for home in map(str, homes):
        with suppress(NotADirectoryError, FileNotFoundError, PermissionError):
            for name in os.listdir(home):  # noqa: PTH208 - names only: there may be many
                second = name[:_LENGTH]
                if second in dated:
                    dated[second].append((home, name))
                elif _is_dated(name):
                    if last is None or second <= last:
                        dated[second] = [(home, name)]
                elif not name.startswith(REMOVED):
                    others.append((home, name))

    def sorted_(folders: list[tuple[str, str]]) -> list[T]:
        if len(folders) > 1:  # those that started at once have an order, too
            folders.sort(key=lambda folder: folder[::-1], reverse=True)
        found = [one for folder in folders if (one := read(*folder)) is not None]
        return sorted(found, key=_started, reverse=True) if len(found) > 1 else found

    by_second = map(sorted_, (dated[second] for second in sorted(dated, reverse=True)))
    newest = itertools.chain.from_iterable(by_second)
    if not others:
        return newest
    return heapq.merge(newest, sorted_(others), key=_started, reverse=True)


def _is_dated(name: str) -> bool:
    """Whether a folder's name begins like `20261126T154203Z_`."""
    return name[8:9] == "T" and name[15:17] == "Z_" and name[:8].isdigit() and name[9:15].isdigit()


def read_run(folder: Path) -> Run | None:
    """The run in a folder; None when it holds none that can be read."""
    try:
        run = Run(folder, json.loads((folder / RUN_FILE).read_text("utf-8")))
        _ = run.started_at, run.run_id, run.workflow_id, run.status, run.seconds, run.notebooks
    except UNREADABLE:
        return None
    return run


def step_seconds(step: Mapping[str, Any]) -> float | None:
    """How long a step took; None while it has not begun or ended."""
    if not step.get("started_at") or not step.get("ended_at"):
        return None
    return (moment_of(step["ended_at"]) - moment_of(step["started_at"])).total_seconds()


def seconds_so_far(step: Mapping[str, Any]) -> float | None:
    """How long a step took, or has been at work; None when it is not known."""
    if step.get("status") in UNDER_WAY and step.get("started_at"):
        elapsed = datetime.datetime.now(datetime.UTC) - moment_of(step["started_at"])
        return max(0.0, elapsed.total_seconds())
    return step_seconds(step)


def _started(run: Started) -> datetime.datetime:
    return run.started_at


def _mark(data: Any) -> Mark | None:
    """A mark of `run.json`, None where there is none that can be read."""
    if not isinstance(data, dict):
        return None
    with suppress(KeyError, TypeError, ValueError):
        return Mark(str(data["by"]), moment_of(data["at"]), str(data.get("text") or ""))
    return None


def moment_of(text: str) -> datetime.datetime:
    """A time of `run.json`; without a zone it is UTC."""
    moment = datetime.datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def recorded_moment(text: Any) -> datetime.datetime | None:
    """A time of a file that somebody may have changed by hand; None when it is none."""
    try:
        return moment_of(text)
    except (TypeError, ValueError):
        return None


def find_run(project: Project, name: str) -> Run:
    """The run whose id, or folder's name, starts with `name`; `last` is the newest.

    Raises:
        ConfigurationError: there is none, or more than one.
    """
    newest = next(newest_first(project), None)
    if name == "last" and newest is not None:
        return newest
    short = escape(name[:SHORT])
    folders = {
        folder
        for pattern in (f"*_{short}*", f"{escape(name)}*")
        for folder in project.runs.glob(f"*/{pattern}")
    }
    found = [
        run
        for run in sorted(filter(None, map(read_run, folders)), key=_started, reverse=True)
        if run.run_id.startswith(name) or run.folder.name.startswith(name)
    ]
    if not found:
        hint = "`dataflow runs list` shows them." if newest else "Nothing has run yet."
        raise ConfigurationError(f"there is no run `{name}`", hint=hint)
    if len(found) > 1:
        shown = ", ".join(run.run_id[:12] for run in found[:5])
        raise ConfigurationError(
            f"`{name}` could be {len(found)} runs: {shown}", hint="Give more of the id."
        )
    return found[0]


def folder_of(home: Path, run_id: str) -> Path | None:
    """The folder of a run among those of its workflow (`home`); None when it has none."""
    for folder in (*home.glob(f"*_{escape(run_id[:SHORT])}"), home / run_id):
        if folder.is_dir():
            with suppress(OSError, ValueError, TypeError, KeyError):
                if json.loads((folder / RUN_FILE).read_text("utf-8"))["run_id"] != run_id:
                    continue  # of a run whose id begins alike
            return folder
    return None


def now() -> str:
    """This moment in UTC, as `run.json` has it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
