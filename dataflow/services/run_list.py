"""The pages at `/runs`: how each workflow stands, and the runs, found by what is known of them."""

from __future__ import annotations

import datetime
import itertools
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup

from dataflow.base.words import ago, seconds_text
from dataflow.dashboard.paths import has_dashboard
from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.runs.index import RunIndex
from dataflow.runs.record import AWAITING
from dataflow.runs.search import STATUSES, TRIGGERS, UNSUCCESSFUL, Facts, Wanted
from dataflow.services.drawing import Trend, trend
from dataflow.services.pages import LATER, SOON
from dataflow.services.state import read_state
from dataflow.workflows.freshness import Freshness, freshness
from dataflow.workflows.ids import slug_of
from dataflow.workflows.model import WorkflowSection
from dataflow.workflows.registry import workflow_folders
from dataflow.workflows.schedule import cron_problem
from dataflow.workflows.yaml_file import read_yaml

STRIP = 50  # runs of a workflow in its strip, and in its trends
CARDS = 20  # workflows with strips; further ones have a line each
PAGE = 50  # runs in a list
TABLES = 12  # tables of which a workflow's page draws the rows
PATIENCE = 2.0  # seconds that a search may take; it goes on with the next page
FIELDS = ("status", "since", "parameter", "trigger", "user", "commit")
FAILED = "unsuccessful"  # in the form: all that ended without success


@dataclass(frozen=True)
class Card:
    """How a workflow stands.

    Args:
        id: its folder's name.
        name: what people call it.
        runs: its last runs, the oldest first.
        fresh: how new its data is; None when its configuration cannot be read.
        schedule: when it runs, in words.
        seconds: how long its good runs took.
        rows: how many rows they wrote.
        tables: the same by table.
        has_dashboard: whether it has pages.
    """

    id: str
    name: str
    runs: Sequence[Facts]
    fresh: Freshness | None
    schedule: str | None
    seconds: Trend | None
    rows: Trend | None
    tables: Mapping[str, Trend]
    has_dashboard: bool

    @property
    def newest(self) -> Facts | None:
        """Its newest run."""
        return self.runs[-1] if self.runs else None

    @property
    def ended(self) -> Facts | None:
        """The newest run that has ended."""
        return next((run for run in reversed(self.runs) if not run.goes_on), None)

    @property
    def bars(self) -> Iterator[tuple[str, Markup]]:
        """Its runs as they are in the strip: each one's status, and the attributes of its link."""
        for run in self.runs:
            address = f"{self.address}{quote(run.name)}/"
            about = _bar(address, run.status, run.started_at, run.seconds, run.remark)
            yield run.status, about

    @property
    def address(self) -> str:
        """Of the workflow's runs."""
        return f"/runs/{quote(self.id)}/"

    @property
    def dashboard(self) -> str:
        """The address of its pages."""
        return f"/{slug_of(self.id)}"

    @property
    def order(self) -> tuple[int, str]:
        """What somebody should look at comes first."""
        ended = self.ended
        urgent = ended is not None and ended.status in (*UNSUCCESSFUL, AWAITING)
        late = self.fresh is not None and self.fresh.late
        return (0 if urgent else 1 if late else 2), self.id


class RunLists:
    """The lists of a project's runs as pages.

    Args:
        project: the project.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.index = RunIndex(project)
        self._sections: dict[str, tuple[int, WorkflowSection | None]] = {}

    def values(self, workflow_id: str | None, query: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """What the template `runs.html` shows.

        Args:
            workflow_id: one workflow's runs only.
            query: what the address asks for.
        """
        asked = {name: [v for n, v in query if n == name and v] for name in (*FIELDS, "before")}
        found = Found([], None, None)
        problem = None
        try:
            wanted = _wanted(asked)
            found = self._find(workflow_id, wanted, (asked["before"] or [""])[0])
        except ConfigurationError as error:
            wanted, problem = Wanted(), error
        active = [(name, value) for name in FIELDS for value in asked[name]]
        cards: list[Card] = []
        if not active and not asked["before"]:
            cards = self._cards([workflow_id] if workflow_id else self._ids())
        home = f"/runs/{quote(workflow_id)}/" if workflow_id else "/runs/"
        going_on = any(run.goes_on for run in (*found.runs, *(r for c in cards for r in c.runs)))
        return {
            "title": f"Runs of {workflow_id}" if workflow_id else "Runs",
            "workflow_id": workflow_id,
            "crumbs": [(workflow_id, home)] if workflow_id else [],
            "cards": cards[:CARDS],
            "lines": cards[CARDS:],
            "runs": found.runs,
            "older": _with(home, active, before=found.older),
            "newest": _with(home, active, before="") if asked["before"] else None,
            "searched_to": found.searched_to,
            "problem": problem,
            "asked": {name: ", ".join(values) for name, values in asked.items()},
            "chips": [
                (n, v, _with(home, [one for one in active if one != (n, v)])) for n, v in active
            ],
            "workflows": sorted({*self._ids(), *([workflow_id] if workflow_id else [])}),
            "statuses": (FAILED, *STATUSES),
            "triggers": TRIGGERS,
            "dagster": self._dagster_runs() or not any(c.fresh and c.fresh.next for c in cards),
            "refresh": SOON if going_on else LATER,
            "going_on": going_on,
            "seconds": seconds_text,
            "ago": ago,
            "zone": lambda moment: moment.strftime("%a %d %b, %H:%M %Z"),
        }

    def standing(self) -> list[Card]:
        """How each workflow stands, those that somebody should look at first."""
        return self._cards(self._ids())

    def canonical(self, workflow_id: str | None, query: Sequence[tuple[str, str]]) -> str | None:
        """The address without what a form leaves empty, to be passed on; None when it is that.

        Args:
            workflow_id: the workflow whose runs the address lists.
            query: what the address asks for.
        """
        chosen = [value for name, value in query if name == "workflow"]
        if not chosen and all(value.strip() for _, value in query):
            return None
        if chosen:
            workflow_id = chosen[-1].strip() or None
        home = f"/runs/{quote(workflow_id, safe='')}/" if workflow_id else "/runs/"
        return _with(home, [(n, v.strip()) for n, v in query if n != "workflow" and v.strip()])

    def _find(self, workflow_id: str | None, wanted: Wanted, before: str) -> Found:
        runs = self.index.newest_first(workflow_id, until=[*before.split(",", 2), ""][1] or None)
        if before:
            runs = _after(runs, before)
        deadline = time.monotonic() + PATIENCE
        found: list[Facts] = []
        for run in wanted.not_older(runs):
            if wanted.matches(run):
                if len(found) == PAGE:
                    return Found(found, _cursor(found[-1]), None)
                found.append(run)
            if time.monotonic() > deadline:
                return Found(found, _cursor(run), run.started_at)
        return Found(found, None, None)

    def _cards(self, ids: Sequence[str]) -> list[Card]:
        """How the workflows stand, those first that somebody should look at."""
        left = {id_: self.index.newest_first(id_) for id_ in ids}
        last = {id_: _until_good(itertools.islice(runs, STRIP)) for id_, runs in left.items()}
        told = (self._card(id_, runs) for id_, runs in last.items())
        cards = sorted(filter(None, told), key=lambda card: card.order)
        for number, card in enumerate(cards[:CARDS]):
            runs = last[card.id]
            more = itertools.islice(left[card.id], STRIP - len(runs))
            cards[number] = self._card(card.id, [*runs, *more]) or card
        return cards

    def _ids(self) -> list[str]:
        """The workflows that the project has, or has runs of."""
        ids = {folder.name for folder in workflow_folders(self.project)}
        try:
            with os.scandir(self.project.runs) as entries:
                ids |= {one.name for one in entries if one.is_dir() and one.name[0] != "."}
        except OSError:
            pass  # nothing has run yet
        return sorted(ids)

    def _card(self, workflow_id: str, newest_first: Sequence[Facts]) -> Card | None:
        runs = newest_first[::-1]
        about = self._about(workflow_id)
        if not runs and about is None:
            return None
        good = [run for run in runs if run.status == "succeeded"]
        times = [run.seconds for run in good if run.seconds is not None]
        tables = dict.fromkeys(table for run in reversed(good) for table in run.rows)
        return Card(
            id=workflow_id,
            name=about.name if about else workflow_id,
            runs=runs,
            fresh=None
            if about is None
            else freshness(
                about,
                good[-1].started_at if good else None,
                known_since=runs[0].started_at if runs else None,
                usual_seconds=statistics.median(times) if times else 0,
            ),
            schedule=about.schedule_in_words if about else None,
            seconds=trend(times),
            rows=trend([sum(run.rows.values()) for run in good if run.rows]),
            tables={
                table: line
                for table in list(tables)[:TABLES]
                if (line := trend([run.rows[table] for run in good if table in run.rows]))
            },
            has_dashboard=has_dashboard(self.project, workflow_id),
        )

    def _about(self, workflow_id: str) -> WorkflowSection | None:
        """A workflow's section `workflow:`, read again when the file changes."""
        path = self.project.notebooks / workflow_id / "config.yaml"
        try:
            changed = path.stat().st_mtime_ns
        except (OSError, ValueError):
            return None
        known = self._sections.get(workflow_id)
        if known is None or known[0] != changed:
            known = self._sections[workflow_id] = changed, _section(read_yaml(path).data)
        return known[1]

    def _dagster_runs(self) -> bool:
        """Whether something starts scheduled runs here."""
        state = read_state(self.project.state / "services" / "dagster.json")
        return state is not None and state.is_alive()


@dataclass(frozen=True)
class Found:
    """A page of a search.

    Args:
        runs: the runs.
        older: where the next page begins; None on the last one.
        searched_to: how far back was looked, when that is not all that was asked.
    """

    runs: Sequence[Facts]
    older: str | None
    searched_to: datetime.datetime | None


def _section(data: Any) -> WorkflowSection | None:
    try:
        about = WorkflowSection.model_validate(data["workflow"])
        if about.schedule and cron_problem(about.schedule):
            about = about.model_copy(update={"schedule": None})
        freshness(about, None)  # a time zone that does not exist
    except (ValueError, TypeError, KeyError, OSError):
        return None
    return about


def _until_good(newest_first: Iterator[Facts]) -> list[Facts]:
    """The runs that tell how a workflow stands: until one that is good."""
    runs = []
    for run in newest_first:
        runs.append(run)
        if run.status == "succeeded":
            break
    return runs


@lru_cache(maxsize=5_000)  # strips have many, which stay the same
def _bar(
    address: str, status: str, started: datetime.datetime, seconds: float | None, remark: str
) -> Markup:
    """A run in a strip: what it was, and where it leads."""
    when = f"{started:%d %b %Y, %H:%M} UTC"
    took = "" if seconds is None else f", {seconds_text(seconds)}"
    about = f"{status}, {when}{took}{': ' if remark else ''}{remark}"
    return Markup('href="{}" title="{}" aria-label="{}, {}"').format(address, about, status, when)


def _wanted(asked: Mapping[str, Sequence[str]]) -> Wanted:
    statuses = list(asked["status"])
    if FAILED in statuses:
        statuses = [*(one for one in statuses if one != FAILED), *UNSUCCESSFUL]
    last: dict[str, str | None] = {
        name: asked[name][-1] if asked[name] else None
        for name in ("since", "trigger", "user", "commit")
    }
    return Wanted.asked(statuses=statuses, parameters=asked["parameter"], **last)


def _with(home: str, query: Sequence[tuple[str, str]], before: str | None = "") -> str | None:
    if before is None:
        return None
    pairs = [*query, *([("before", before)] if before else [])]
    return f"{home}?{urlencode(pairs)}" if pairs else home


def _cursor(run: Facts) -> str:
    return ",".join((run.started_at.isoformat(), run.name, run.folder.parent.name))


def _after(runs: Iterator[Facts], cursor: str) -> Iterator[Facts]:
    """Those of `runs`, the newest first, that follow the one a page ended with.

    Several may have started at once: a run of two workflows is one in each, with the same name.
    """
    try:
        text, name, home = cursor.split(",", 2)
        start = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            "this page of the list cannot be told", hint="Begin with the newest runs."
        ) from None
    key = start if start.tzinfo else start.replace(tzinfo=datetime.UTC), name, home
    return (run for run in runs if (run.started_at, run.name, run.folder.parent.name) < key)
