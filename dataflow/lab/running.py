"""Runs that JupyterLab starts, what they print, and cancelling any run.

A run has a process of its own (`dataflow.lab.execute`), which goes on when JupyterLab ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dataflow.base.guardian import RUN_VARIABLE, STEP_VARIABLE
from dataflow.base.process import process_facts
from dataflow.errors import ConfigurationError, DataflowError
from dataflow.lab import output
from dataflow.lab.execute import WAIT_SECONDS
from dataflow.lab.handler import Handler, allowed, place_of
from dataflow.lab.notebook import options_of, plan_of
from dataflow.lab.place import Place, Places
from dataflow.lab.started import Started, goes_on
from dataflow.lab.watch import WATCH
from dataflow.orchestration.apart import python
from dataflow.orchestration.cancel import cancel, is_new, refuse_foreign, send
from dataflow.orchestration.live import TERMINAL_VARIABLE
from dataflow.orchestration.options import RunOptions
from dataflow.project import ROOT_VARIABLE, Project
from dataflow.runs.record import GOING_ON, SHORT, Run, RunRecord, now, read_run, user
from dataflow.services.state import MARK_VARIABLE

FRESH = WAIT_SECONDS - 60  # seconds after which one that waits may be about to end
POLL_SECONDS = 15.0  # until an answer, when nothing is printed
LOOK_EVERY = 0.25
USER_VARIABLE = "JUPYTERHUB_USER"
# Of Jupyter's own environment: secrets, and what ties a process to it or to another run.
_PRIVATE = re.compile(r"JPY_.*|JUPYTER.*(TOKEN|SECRET|PASSWORD|COOKIE|OAUTH).*|CONFIGPROXY_.*")
_TIES = {MARK_VARIABLE, ROOT_VARIABLE, RUN_VARIABLE, STEP_VARIABLE, TERMINAL_VARIABLE}


def environment_of_runs(of_server: Mapping[str, str]) -> dict[str, str]:
    """What runs get of the environment of Jupyter's server."""
    return {
        name: value
        for name, value in of_server.items()
        if not _PRIVATE.fullmatch(name) and name not in _TIES
    }


# As the server began: it has a project's `.env` while that is looked at.
_ENVIRONMENT = environment_of_runs(os.environ)


class Waiting:
    """A process that has imported what a run needs and waits for what to run, for all open forms."""

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._begun = 0.0
        self._ending: list[subprocess.Popen[bytes]] = []  # somebody has to ask how they ended
        self._lock = threading.Lock()

    def prepare(self, form: str) -> None:
        """Have a process ready for a form that was opened."""
        with self._lock:
            self._forms.add(form)
            if not self._is_ready():
                self._process, self._begun = _start(), time.monotonic()

    def dismiss(self, form: str) -> None:
        """A form was closed; without another one, the process that waits ends."""
        with self._lock:
            self._forms.discard(form)
            if not self._forms:
                self._end()

    def take(self) -> subprocess.Popen[bytes]:
        """A process to run something in: the one that waits, or a new one."""
        with self._lock:
            taken = self._process if self._is_ready() else None
            self._process = None
            self._ending = [process for process in self._ending if process.poll() is None]
            process = taken or _start()
            self._ending.append(process)
            return process

    def _is_ready(self) -> bool:
        process = self._process
        if process is not None and process.poll() is None:
            if time.monotonic() - self._begun < FRESH:
                return True
            self._end()
        return False

    def _end(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.terminate()  # it may still be importing
            self._ending.append(self._process)
            self._process = None


WAITING = Waiting()


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        python("dataflow.lab.execute"),
        cwd="/",  # what it imports is installed; it goes into the project when it is told of it
        env=_ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C in JupyterLab's terminal is not for it
    )


def start(places: Places, body: Mapping[str, Any]) -> dict[str, Any]:
    """Start a run; one that was started already is not started again.

    Args:
        places: the files that JupyterLab reaches.
        body: `path` of the notebook, what `options_of` takes, and if wanted `run`, the id that
            the run gets.

    Raises:
        ConfigurationError: its parameters or its files are not valid; lists everything wrong.
        DataflowError: no process can be started, or the project's state not be written.
    """
    place = place_of(places, body.get("path"))
    project = place.project
    workflow, options = options_of(place, body)
    options = replace(options, user=os.environ.get(USER_VARIABLE) or None)
    if body.get("run") is not None:
        options = replace(options, run_id=Started.of(project, body["run"]).run_id)
    plan_of(project, workflow, options)
    _begin(project, workflow.id, options)
    return {"run": options.run_id}


def _begin(project: Project, workflow_id: str, options: RunOptions) -> None:
    started = Started.of(project, options.run_id)
    told = {"root": str(project.root), "workflow": workflow_id, "options": asdict(options)}
    if started.read() or RunRecord(project, workflow_id, options.run_id).read():
        return
    process = WAITING.take()
    assert process.stdin is not None
    try:
        # Before it is told: whoever asks for the run finds it.
        if started.claim(workflow_id, process_facts(process.pid)):
            process.stdin.write(json.dumps(told).encode() + b"\n")
            process.stdin.flush()
    except BrokenPipeError:
        started.note(ended_at=now())
        raise DataflowError(
            "the process of the run ended before it began", hint="Start the run again."
        ) from None
    finally:
        with suppress(BrokenPipeError):
            process.stdin.close()


def state(place: Place, run_id: str, offset: int) -> dict[str, Any]:
    """How a run stands, and what it printed from `offset` on.

    Returns:
        `text` (None when it was not started by JupyterLab, or so long ago that its text is gone)
        and `offset` behind it; `ended`; `status` of its record, None without one; `error` that
        kept it from running, see `error_data`; `waiting_for` whom it waits for; `trigger`, `user`
        and `started_at`.
    """
    started = Started.of(place.project, run_id)
    # In this order: what is printed between two looks is not lost.
    known = started.read()
    run = _recorded(place.project, run_id, known.get("workflow") or place.workflow_id)
    in_process = goes_on(known)
    is_under_way = in_process if known else run is not None and run.status in GOING_ON
    text, offset = output.read(started.log, offset) or ("" if in_process else None, offset)
    ended = not is_under_way and not text  # else there may be more to read
    cancelled = "cancelled" if ended and known.get("cancel") else None
    return {
        "text": text,
        "offset": offset,
        "ended": ended,
        "status": run.status if run else cancelled,
        "trigger": run.data.get("trigger") if run else "jupyterlab",
        "user": run.data.get("user") if run else user(),
        "started_at": run.data["started_at"] if run else known.get("at"),
        "waiting_for": run.data.get("waiting_for") if run else None,
        "error": _error(known, run) if ended else None,
    }


def _error(known: Mapping[str, Any], run: Run | None) -> dict[str, Any] | None:
    """What kept a run from running; None for one that has a record, which says how it ended."""
    if run is not None or known.get("cancel"):
        return None
    if known.get("error"):
        return dict(known["error"])
    if known.get("ended_at"):
        return None  # nothing changed, and nothing was to be run
    what = "its process was killed before it began" if known else "there is no such run"
    return {"message": what, "where": None, "hint": None, "problems": []}


# Of runs that are followed: to find one, all names of its workflow's runs are read.
_FOLDERS: dict[tuple[Project, str, str], Path] = {}


def _recorded(project: Project, run_id: str, workflow_id: str | None) -> Run | None:
    if workflow_id is None:
        return None
    key = (project, workflow_id, run_id)
    run = read_run(_FOLDERS.get(key) or RunRecord(project, workflow_id, run_id).folder)
    if run is not None:
        if len(_FOLDERS) > 100:
            _FOLDERS.clear()
        _FOLDERS[key] = run.folder
    return run


def cancel_run(place: Place, run_id: str) -> None:
    """Ask a run to end, whoever started it; one that has ended stays as it is.

    Raises:
        ConfigurationError: there is no such run, or it is another user's or machine's.
        DataflowError: its record cannot be changed.
    """
    project, started = place.project, Started.of(place.project, run_id)
    by = os.environ.get(USER_VARIABLE) or user()
    known = started.read()
    run = _recorded(project, run_id, known.get("workflow") or place.workflow_id)
    if run is not None and is_new(known.get("cancel")):
        cancel(project, run, by=by, seconds=0)
    elif run is not None:
        return  # it was asked to just before it had a record
    elif not known:
        raise ConfigurationError(f"there is no run `{run_id[:SHORT]}`")
    elif not known.get("cancel") and goes_on(started.read()):
        refuse_foreign(known["process"], "the run", "kill")
        started.note(cancel={"by": by, "at": now()})
        send(known["process"])


class PrepareHandler(Handler):
    """`running/prepare`: a form was opened, or closed."""

    @allowed
    async def post(self) -> None:
        """Have a process ready for the form that `form` names."""
        await self.in_thread(WAITING.prepare, str(self.body.get("form"))[:64])
        self.set_status(204)

    @allowed
    async def delete(self) -> None:
        """End it."""
        await self.in_thread(WAITING.dismiss, self.get_query_argument("form"))
        self.set_status(204)


class RunningHandler(Handler):
    """`running`: a new run."""

    @allowed
    async def post(self) -> None:
        """See `start`."""
        await self.answer(start, self.places, self.body)


class RunHandler(Handler):
    """`running/<run id>`: a run's text, and its end."""

    async def _place(self) -> Place:
        """Where the notebook lies that the query names; its project is watched from now on."""
        place = await self.in_thread(place_of, self.places, self.get_query_argument("path"))
        self.settings[WATCH].asked(place)
        return place

    @allowed
    async def get(self, run_id: str) -> None:
        """See `state`; waits until there is something new, or the run has ended."""
        place = await self._place()
        given = self.get_query_argument("offset", "0")
        offset = int(given) if given.isascii() and given.isdigit() else 0
        deadline = time.monotonic() + POLL_SECONDS
        before = self.get_query_argument("status", None)
        while True:
            found = await self.in_thread(state, place, run_id, offset)
            news = found["text"] or found["ended"] or (before and found["status"] != before)
            if news or time.monotonic() > deadline or self._gone:
                break
            await asyncio.sleep(LOOK_EVERY)
        self.set_header("Cache-Control", "no-store")
        self.finish(found)

    @allowed
    async def delete(self, run_id: str) -> None:
        """See `cancel_run`."""
        place = await self._place()
        await self.in_thread(cancel_run, place, run_id)
        self.set_status(204)

    _gone = False

    def on_connection_close(self) -> None:
        """Tornado's call: the browser no longer waits."""
        self._gone = True
