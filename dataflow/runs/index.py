"""Which runs there are, read from the archive: the files are the truth, nothing else is kept."""

from __future__ import annotations

import datetime
import heapq
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

from dataflow.base.process import is_alive
from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.runs.archive import NOT_RUN, RUN_FILE, SHORT, UNDER_WAY

ENDED_WELL = ("succeeded", "skipped")
_DATED = re.compile(r"\d{8}T\d{6}Z(?=_)")
LEFT_OUT = "left out"  # not among the steps that were asked for


@dataclass(frozen=True)
class Run:
    """One run as the archive has it.

    Args:
        folder: its folder.
        data: the content of `run.json`.
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
        """How the run stands: waiting, running, succeeded, failed, cancelled, killed, incomplete.

        The run says itself how it ended, or its process is gone and it was killed.
        """
        if self.data.get("status"):
            return str(self.data["status"])
        if self.data.get("format", 1) > 1:
            if not is_alive(self.data.get("process")):
                return "killed"
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
        return _moment(self.data["started_at"])

    @property
    def seconds(self) -> float | None:
        """How long it took, None while it runs."""
        ended = self.data.get("ended_at")
        if ended is None:
            return None
        return (_moment(ended) - self.started_at).total_seconds()

    @property
    def notebooks(self) -> list[Path]:
        """Its executed notebooks, in the order of the stages."""
        order = {name: number for number, name in enumerate(self.steps)}
        return sorted(
            self.folder.glob("[!.]*.ipynb"),
            key=lambda path: (order.get(path.name.split(".")[0].split("@")[0], 99), path.name),
        )


def newest_first(project: Project, workflow_id: str | None = None) -> Iterator[Run]:
    """The archived runs, the newest first; what is no readable `run.json` is left out.

    The records are read as they are asked for, so that the first of ten thousand cost little.
    """
    dated: dict[str, list[tuple[Path, str]]] = {}
    others: list[tuple[Path, str]] = []
    homes = [project.runs / workflow_id] if workflow_id else project.runs.glob("*")
    for home in homes:
        with suppress(NotADirectoryError, FileNotFoundError, PermissionError):
            for name in os.listdir(home):  # noqa: PTH208 - names only: there may be many
                if match := _DATED.match(name):
                    dated.setdefault(match[0], []).append((home, name))
                else:
                    others.append((home, name))
    by_second = (
        _read(home / name for home, name in dated[second]) for second in sorted(dated, reverse=True)
    )
    older = _read(home / name for home, name in others)
    return heapq.merge(itertools.chain.from_iterable(by_second), older, key=_started, reverse=True)


def list_runs(project: Project, workflow_id: str | None = None) -> list[Run]:
    """All archived runs, the newest first."""
    return list(newest_first(project, workflow_id))


def read_run(folder: Path) -> Run | None:
    """The run in a folder; None when it holds none that can be read."""
    return next(iter(_read([folder])), None)


def _read(folders: Iterable[Path]) -> list[Run]:
    """The runs in these folders, the newest first."""
    runs = []
    for folder in folders:
        try:
            run = Run(folder, json.loads((folder / RUN_FILE).read_text("utf-8")))
            _ = run.started_at, run.run_id, run.workflow_id, run.status, run.seconds, run.notebooks
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        runs.append(run)
    return sorted(runs, key=_started, reverse=True)


def _started(run: Run) -> datetime.datetime:
    return run.started_at


def _moment(text: str) -> datetime.datetime:
    """A time of `run.json`; without a zone it is UTC."""
    moment = datetime.datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


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
        for run in _read(folders)
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
