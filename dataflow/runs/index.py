"""The runs as a server remembers them, so that a page of thousands reads only what changed.

A record is read again when its file is another: each change of `run.json` replaces it. What has
not ended is read each time. Runs that were removed are in no listing of their folder.
"""

from __future__ import annotations

import heapq
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from dataflow.project import Project
from dataflow.runs.record import RUN_FILE, UNREADABLE, Run, in_order
from dataflow.runs.search import Facts

MOST = 20_000  # runs that are remembered, the newest ones

_Version = tuple[int, int, int]


class RunIndex:
    """The runs of a project in short, each read once.

    Args:
        project: the project.
        most: how many are remembered; older ones are read each time they are asked for.
    """

    def __init__(self, project: Project, most: int = MOST) -> None:
        self.project = project
        self._most = most
        self._known: dict[tuple[str, str], tuple[_Version, Facts | None]] = {}
        self._changing = threading.Lock()

    def newest_first(
        self, workflow_id: str | None = None, *, until: str | None = None
    ) -> Iterator[Facts]:
        """The runs, the newest first, each looked at when it is asked for.

        Args:
            workflow_id: one workflow's only.
            until: the name of a run's folder: not those that started in a later second.
        """
        return in_order(self.project, self._facts, workflow_id, until=until)

    def warm(self) -> None:
        """Read every record that is remembered, in the background, say."""
        for number, _ in enumerate(self.newest_first(), start=1):
            if number >= self._most:
                return

    def _facts(self, home: str, name: str) -> Facts | None:
        key = (home, name)
        try:
            file = os.stat(f"{home}/{name}/{RUN_FILE}")  # noqa: PTH116 - there may be many
        except OSError:
            self._known.pop(key, None)
            return None
        # Looked at before it is read: what changes in between is read again the next time.
        version = (file.st_mtime_ns, file.st_ino, file.st_size)
        known = self._known.get(key)
        if known is not None and known[0] == version:
            return known[1]
        facts = _read(Path(home, name))
        if facts is None or not facts.goes_on:
            self._remember(key, version, facts)
        return facts

    def _remember(self, key: tuple[str, str], version: _Version, facts: Facts | None) -> None:
        with self._changing:
            self._known[key] = (version, facts)
            if len(self._known) <= self._most:
                return
            # Many at once, since each time all are compared.
            many = len(self._known) - self._most + self._most // 10
            known = list(self._known.items())  # others may add some meanwhile
            oldest = heapq.nsmallest(many, known, key=lambda item: _age(item[1][1]))
            for old, _ in oldest:
                self._known.pop(old, None)


def _age(facts: Facts | None) -> float:
    return facts.started_at.timestamp() if facts else 0.0


def _read(folder: Path) -> Facts | None:
    try:
        return Facts.of(Run(folder, json.loads((folder / RUN_FILE).read_text("utf-8"))))
    except UNREADABLE:
        return None
