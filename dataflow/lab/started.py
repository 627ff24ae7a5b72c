"""What is known of a run that JupyterLab started before it has a record, and when it gets none.

`.dataflow/jupyter/runs/<run id>.json`: its workflow, its process, the error that kept it from
running. What it printed is beside it (`dataflow.lab.output`). Both go when they are old.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataflow.base.files import whole_file
from dataflow.base.process import is_alive
from dataflow.base.sharing import is_shared
from dataflow.errors import ConfigurationError, DataflowError
from dataflow.lab import output
from dataflow.project import Project
from dataflow.runs.record import RunRecord, now

MOST = 50  # runs whose text is kept
DAYS = 14
LOOKED_AT = 10  # runs among which one is that is starting
RUN_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Started:
    """A run that JupyterLab started, or may have.

    Args:
        project: its project.
        run_id: its id.
    """

    project: Project
    run_id: str

    @classmethod
    def of(cls, project: Project, run_id: Any) -> Started:
        """The run of this id, which comes from a request.

        Raises:
            ConfigurationError: it is not the id of a run.
        """
        if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
            raise ConfigurationError("this is not the id of a run")
        return cls(project, run_id)

    @property
    def file(self) -> Path:
        """What is known of it."""
        return _folder(self.project) / f"{self.run_id}.json"

    @property
    def log(self) -> Path:
        """What it printed."""
        return _folder(self.project) / f"{self.run_id}.log"

    def claim(self, workflow_id: str, process: dict[str, Any]) -> bool:
        """Note that it begins; False when it was started already.

        Args:
            workflow_id: what runs.
            process: where, as `this_process` has it.

        Raises:
            DataflowError: the project's state cannot be written.
        """
        home = _folder(self.project)
        try:
            # In a shared project, others of the group put theirs here, too; each file is private.
            mode = 0o770 if is_shared(self.project.root) else 0o700
            home.mkdir(mode=mode, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            handle = os.open(self.file, flags, 0o600)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump({"workflow": workflow_id, "process": process, "at": now()}, file)
            except BaseException:
                self.file.unlink()  # what is half of it would count as a run that was started
                raise
        except FileExistsError:
            return False
        except OSError as error:
            state = self.project.relative(self.project.state)
            raise DataflowError(
                f"the project's state cannot be written: {error.strerror or error}",
                where=str(home),
                hint=f"Make {state} writable for your user."
                if isinstance(error, PermissionError)
                else f"Make room for {state}.",
            ) from error
        _remove_old(self.project)
        return True

    def read(self) -> dict[str, Any]:
        """What was noted; empty for a run that JupyterLab did not start, or long ago."""
        try:
            with open(self.file, encoding="utf-8", opener=output.own) as file:
                found = json.load(file)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def note(self, **facts: Any) -> None:
        """Add facts to what is known."""
        if known := self.read():
            with whole_file(self.file) as draft:
                draft.touch(mode=0o600)
                draft.write_text(json.dumps(known | facts), "utf-8")


def goes_on(known: Mapping[str, Any]) -> bool:
    """Whether the process of a run is there, by what is known of it (`Started.read`)."""
    return bool(known) and not known.get("ended_at") and is_alive(known.get("process"))


def started_runs(project: Project) -> list[Started]:
    """The runs that this user's JupyterLab started and whose text is kept, the newest first."""
    found = []
    for file in _folder(project).glob("*.json"):
        with suppress(OSError):
            about = file.lstat()
            if about.st_uid == os.geteuid() and RUN_ID.fullmatch(file.stem):
                found.append((about.st_mtime, file.stem))
    return [Started(project, run_id) for _, run_id in sorted(found, reverse=True)]


def starting(project: Project, workflow_id: str) -> str | None:
    """The run of a workflow that JupyterLab started last, if it has no record yet."""
    for one in started_runs(project)[:LOOKED_AT]:
        known = one.read()
        if known.get("workflow") == workflow_id and goes_on(known):
            begun = RunRecord(project, workflow_id, one.run_id).read()
            return None if begun else one.run_id
    return None


def _folder(project: Project) -> Path:
    return project.state / "jupyter" / "runs"


def _remove_old(project: Project) -> None:
    oldest = time.time() - DAYS * 86_400
    for number, started in enumerate(started_runs(project)):
        with suppress(OSError):
            old = number >= MOST or started.file.stat().st_mtime < oldest
            if old and not goes_on(started.read()):
                output.remove(started.log)
                started.file.unlink(missing_ok=True)
