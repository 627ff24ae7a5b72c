"""Which runs there are, read from the archive: the files are the truth, nothing else is kept."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

from dataflow.base.process import is_alive
from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.runs.archive import NOT_RUN, RUN_FILE, UNDER_WAY

ENDED_WELL = ("succeeded", "skipped")
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


def list_runs(project: Project, workflow_id: str | None = None) -> list[Run]:
    """The archived runs, the newest first; what is no readable `run.json` is left out."""
    runs = []
    for path in project.runs.glob(f"{escape(workflow_id) if workflow_id else '*'}/*/{RUN_FILE}"):
        try:
            data = json.loads(path.read_text("utf-8"))
            run = Run(path.parent, data)
            _ = run.started_at, run.run_id, run.workflow_id, run.status, run.seconds, run.notebooks
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        runs.append(run)
    return sorted(runs, key=lambda run: run.started_at, reverse=True)


def _moment(text: str) -> datetime.datetime:
    """A time of `run.json`; without a zone it is UTC."""
    moment = datetime.datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def find_run(project: Project, name: str) -> Run:
    """The run whose id starts with `name`; `last` is the newest.

    Raises:
        ConfigurationError: there is none, or more than one.
    """
    runs = list_runs(project)
    if name == "last" and runs:
        return runs[0]
    found = [run for run in runs if run.run_id.startswith(name)]
    if not found:
        hint = "`dataflow runs list` shows them." if runs else "Nothing has run yet."
        raise ConfigurationError(f"there is no run `{name}`", hint=hint)
    if len(found) > 1:
        shown = ", ".join(run.run_id[:12] for run in found[:5])
        raise ConfigurationError(
            f"`{name}` could be {len(found)} runs: {shown}", hint="Give more of the id."
        )
    return found[0]
