"""Tells browsers when a run changed, whoever started it, over JupyterLab's own socket of events.

Only projects that a browser asked for within half an hour are looked at. Runs that have ended are
not: a look costs the same with ten runs and with ten thousand.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tornado.ioloop import IOLoop, PeriodicCallback

from dataflow.lab.place import Place
from dataflow.project import Project
from dataflow.runs.record import AWAITING, GOING_ON, RUN_FILE, Run, read_run

WATCH = "dataflow_watch"  # the key among the server's settings
EVENT = "https://dataflow.invalid/run/v1"
SCHEMA = {
    "$id": EVENT,
    "version": "1",
    "title": "A run changed",
    "description": "A run of a DATAFLOW project began, went on, or ended.",
    "type": "object",
    "properties": {
        "project": {"type": "string", "description": "its folder as JupyterLab names it"},
        "workflow": {"type": "string"},
        "run": {"type": "string"},
        "status": {"type": "string"},
    },
    "required": ["project", "workflow", "run", "status"],
}
LOOK_EVERY = 1.0  # seconds
ASKED_WITHIN = 30 * 60.0
NEWEST = 30  # of a workflow's runs, that may be going on when the watch begins
JUST_NOW = 5.0  # seconds before the watch begins: a browser may not have seen that
SETTLED = 2.0  # seconds after which a folder's time tells whether something was added since
PATIENCE = 60.0  # seconds that a run's folder may have no record
STORM = 10  # changes of a workflow at one look, of which only the newest is told


@dataclass(frozen=True)
class Change:
    """A run that changed: its workflow, its id, its status."""

    workflow: str
    run: str
    status: str


@dataclass
class _Open:
    """A run that may still change: the version of its record, and what is known of it."""

    since: float
    version: tuple[int, int, int] | None = None
    run: Run | None = None
    status: str = ""


@dataclass
class Looks:
    """Finds what changed among a project's runs from one look to the next.

    Args:
        project: the project.
    """

    project: Project
    _times: dict[str, int] = field(default_factory=dict)
    _names: dict[str, set[str]] = field(default_factory=dict)
    _open: dict[Path, _Open] = field(default_factory=dict)

    def changes(self) -> list[Change]:
        """The runs that changed since the last look; at the first one, those of a moment ago."""
        for home in self._homes():
            self._find_new(home)
        found: dict[str, list[Change]] = {}
        for folder, known in list(self._open.items()):
            if change := self._look_at(folder, known):
                found.setdefault(change.workflow, []).append(change)
        return [
            change
            for of_workflow in found.values()
            for change in (of_workflow if len(of_workflow) <= STORM else of_workflow[-1:])
        ]

    def _homes(self) -> Iterator[Path]:
        try:
            with os.scandir(self.project.runs) as entries:
                yield from (Path(entry.path) for entry in entries if entry.is_dir())
        except OSError:
            return

    def _find_new(self, home: Path) -> None:
        try:
            changed = home.stat().st_mtime_ns
            settled = time.time_ns() - changed > SETTLED * 1e9
            if settled and self._times.get(home.name) == changed:
                return
            names = {name for name in os.listdir(home) if not name.startswith(".")}  # noqa: PTH208
        except OSError:
            return
        is_first = home.name not in self._names
        new = sorted(names - self._names.get(home.name, set()))
        self._times[home.name], self._names[home.name] = changed, names
        for name in new[-NEWEST:] if is_first else new:
            self._open[home / name] = _Open(time.time())

    def _look_at(self, folder: Path, known: _Open) -> Change | None:
        try:
            file = (folder / RUN_FILE).stat()
        except OSError:
            if not folder.is_dir() or time.time() - known.since > PATIENCE:
                del self._open[folder]
            return None
        version = (file.st_mtime_ns, file.st_ino, file.st_size)
        is_first, changed = known.version is None, version != known.version
        if changed:
            known.version, known.run = version, read_run(folder)
        if known.run is None:
            return None
        status = known.run.status  # of a killed run nothing changes but this
        changed, known.status = changed or status != known.status, status
        if status not in GOING_ON and status != AWAITING:
            del self._open[folder]
        if not changed or (is_first and time.time() - file.st_mtime > JUST_NOW):
            return None
        return Change(folder.parent.name, known.run.run_id, status)


class Watch:
    """Looks at the projects that browsers asked for, and tells what changed.

    Args:
        logger: Jupyter's logger of events.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._asked: dict[str, float] = {}
        self._looks: dict[str, Looks] = {}
        self._timer = PeriodicCallback(self.look, LOOK_EVERY * 1000)
        logger.register_event_schema(SCHEMA)

    def asked(self, place: Place) -> None:
        """A browser asked for something in a project."""
        home, project = place.home, place.project
        self._asked[home] = time.monotonic()
        if home not in self._looks or self._looks[home].project != project:
            self._looks[home] = Looks(project)
        if not self._timer.is_running():
            self._timer.start()

    async def look(self) -> None:
        """Look at each project once."""
        for home, looks in list(self._looks.items()):
            if time.monotonic() - self._asked[home] > ASKED_WITHIN:
                del self._looks[home], self._asked[home]
                continue
            for change in await IOLoop.current().run_in_executor(None, looks.changes):
                self._tell(home, change)
        if not self._looks:
            self._timer.stop()

    def _tell(self, home: str, change: Change) -> None:
        data = {"project": home, **vars(change)}
        self._logger.emit(schema_id=EVENT, data=data)
