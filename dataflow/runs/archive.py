"""The archive of runs: one folder for each, kept whatever came of it.

`runs/<workflow>/20261126T154203Z_1a2b3c4d/` began at 15:42:03 UTC, and its id begins with `1a2b3c4d`:
the folders sort by time. Version 0.1.0 called them by their whole id.

::

    run.json            what ran, when, with which parameters, and how each step ended
    ingest.ipynb        the executed notebook of each stage, also of those that failed
    ingest.html         the same to read without JupyterLab
    ingest.try2.ipynb   the second try, where a stage is tried again

`run.json` is written as the run begins, by each of its steps as it begins and ends, and when
the run has ended; each time whole and under a lock: steps may run at the same time, in processes
of their own. Only a process that is killed leaves a run without its end.
"""

from __future__ import annotations

import datetime
import getpass
import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

from dataflow.base.process import this_process
from dataflow.project import Project
from dataflow.stages.files import write_json

# 2: the run's end is written down, as `status`; before, it was worked out from the steps alone.
FORMAT = 2
RUN_FILE = "run.json"
SHORT = 8  # characters of an id that tell runs apart
UNDER_WAY = ("running", "retrying")  # what a step can be while it is at work
NOT_RUN = "not run"  # it would have followed


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
    """This moment in UTC, as it stands in `run.json`."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class RunArchive:
    """The folder of one run.

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
        """The run's folder; of a run that has not begun the one it gets when it begins now."""
        if "_folder" not in self.__dict__:
            home = self.project.runs / self.workflow_id
            found = folder_of(home, self.run_id)
            if found is None:
                moment = datetime.datetime.now(datetime.UTC)
                return home / f"{moment:%Y%m%dT%H%M%SZ}_{self.run_id[:SHORT]}"
            self.__dict__["_folder"] = found  # it has it for good
        return Path(self.__dict__["_folder"])

    def executed_notebook(
        self, stage: str, *, attempt: int = 1, partition: str | None = None
    ) -> Path:
        """Where the executed notebook of a stage's try goes."""
        name = stage if partition is None else f"{stage}@{partition.replace('/', '_')}"
        if attempt > 1:
            name += f".try{attempt}"
        return self.folder / f"{name}.ipynb"

    def read(self) -> dict[str, Any]:
        """The content of `run.json`; empty when there is none yet."""
        try:
            return dict(json.loads((self.folder / RUN_FILE).read_text("utf-8")))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def begin(self, steps: list[dict[str, Any]], **facts: Any) -> None:
        """Note that the run begins, in this process; a run that has begun changes nothing.

        Args:
            steps: all steps of the run in order, each with `name` and `kind`.
            facts: what else is known: `selection` (names of the chosen steps, None for all),
                `parameters`, `trigger`, `git`.
        """

        selection = facts.get("selection")

        def state(name: str) -> str:
            return "pending" if selection is None or name in selection else "left out"

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
                user=_user(),
                **facts,
                steps={
                    step["name"]: {"kind": step["kind"], "status": state(step["name"])}
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
        """Note that the run has ended; returns its status, which never changes after this.

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

    def _change(self, change: Callable[[dict[str, Any]], None]) -> None:
        from filelock import FileLock

        folder = self.folder
        folder.mkdir(parents=True, exist_ok=True)
        # Beside the record, so that it goes with the run.
        with FileLock(folder / ".lock", timeout=60):
            run = self.read()
            change(run)
            write_json(run, folder / RUN_FILE)


def _end_of(steps: dict[str, dict[str, Any]]) -> str:
    """How a run whose steps ended like this has ended: succeeded, failed, cancelled, incomplete."""
    states = {step["status"] for step in steps.values()}
    for decisive in ("cancelled", "failed"):
        if decisive in states:
            return decisive
    # An op that another one decided against is no failure; a result that was not reached is none.
    reached = all(step["status"] != NOT_RUN or step["kind"] == "op" for step in steps.values())
    return "succeeded" if reached else "incomplete"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return str(os.getuid())
