"""Runs that JupyterLab starts: their process, what they print, their end, and the watch over all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from projects import (
    PATIENCE,
    Workflow,
    environment,
    has_ended,
    make_project,
    parameters,
    wait_until,
)
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from dataflow.api import Project as Api
from dataflow.base.process import (
    process_facts,
    signals_as_interrupt,
    this_process,
    was_interrupted,
)
from dataflow.errors import ConfigurationError, DataflowError, ParameterError
from dataflow.lab import execute, output, running, started
from dataflow.lab.output import Log
from dataflow.lab.place import Place, Places
from dataflow.lab.running import Waiting
from dataflow.lab.started import Started, starting
from dataflow.lab.watch import Change, Looks
from dataflow.orchestration.options import RunOptions
from dataflow.project import Project
from dataflow.runs.record import RunRecord, now

pytestmark = pytest.mark.slow

SECRET = "k3y-of-the-hub-0123456789"
PRINT = """
import os, json
print("\\x1b[31mred\\x1b[0m", sorted(os.environ))
print("never", os.environ["API_KEY"])
"""
OP = """
import time
from dagster import job, op
from dataflow.workflows.registry import register_workflow

@op
def first():
    print("begun", flush=True)
    time.sleep(600)

@job
def whole():
    first()

register_workflow(workflow_id="ops", job=whole)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = make_project(
        tmp_path_factory.mktemp("läb <b>") / "project",
        {
            "prints": Workflow(
                {"say": [parameters("count: int = 1"), PRINT]}, config={"key": "${API_KEY}"}
            )
        },
    )
    (made.root / ".env").write_text(f"API_KEY={SECRET}\n", "utf-8")
    home = made.notebooks / "ops"
    home.mkdir()
    (home / "config.yaml").write_text("workflow:\n  name: Ops\n", "utf-8")
    (home / "dagster_job.py").write_text(OP, "utf-8")
    return made


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waiting]:
    """Processes as a Jupyter server starts them, whose environment has its secrets."""
    made = Waiting()
    monkeypatch.setattr(running, "WAITING", made)
    monkeypatch.setattr(running, "_ENVIRONMENT", running.environment_of_runs(environment(HUB)))
    yield made
    for form in list(made._forms):
        made.dismiss(form)


HUB = {
    "JUPYTERHUB_API_TOKEN": "hub-secret",
    "JUPYTER_TOKEN": "secret",
    "JUPYTER_TOKEN_FILE": "/secret",
    "JPY_API_TOKEN": "secret",
    "JPY_SESSION_NAME": "a notebook",
    "JPY_PARENT_PID": "1",
    "DATAFLOW_SERVICE": "the mark by which the service's processes are killed",
    "JUPYTERHUB_USER": "ana",
}


def begin(project: Project, file: str, **body: Any) -> str:
    return running.start(Places(project.root), {"path": f"notebooks/{file}", **body})["run"]


def place(project: Project, file: str) -> Place:
    found = Places(project.root).find(f"notebooks/{file}")
    assert found is not None
    return found


def follow(where: Place, run: str) -> tuple[str, dict[str, Any]]:
    """What a run prints, read as a browser does, and how it stands at its end."""
    text, offset, end = "", 0, time.monotonic() + PATIENCE
    while True:
        found = running.state(where, run, offset)
        text, offset = text + (found["text"] or ""), found["offset"]
        if found["ended"]:
            return text, found
        assert time.monotonic() < end, text
        time.sleep(0.1)


def test_a_run_prints_into_a_private_file_without_jupyters_secrets(project, waiting, monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_USER", "ana")
    waiting.prepare("form")
    run = str(uuid.uuid4())
    body = {"scope": "all", "run": run, "parameters": {"count": "2"}}

    assert begin(project, "prints/say.ipynb", **body) == run
    assert begin(project, "prints/say.ipynb", **body) == run, "the form was sent twice"

    assert starting(project, "prints") == run
    text, end = follow(place(project, "prints/say.ipynb"), run)
    assert (end["status"], end["error"]) == ("succeeded", None), text
    assert "say │ red [" in text
    assert "say │ never ${API_KEY}" in text
    assert "✓ publish" in text
    assert "\x1b" not in text
    theirs = {"JUPYTERHUB_USER", "JPY_PARENT_PID"}  # the latter its own kernel's
    assert not [name for name in HUB if f"'{name}'" in text and name not in theirs], text
    started = Started.of(project, run)
    assert stat.S_IMODE(started.log.stat().st_mode) == 0o600
    assert stat.S_IMODE(started.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(started.log.parent.stat().st_mode) == 0o700
    (record,) = project.runs.glob("prints/*/run.json")
    facts = json.loads(record.read_text("utf-8"))
    assert (facts["run_id"], facts["trigger"], facts["user"]) == (run, "jupyterlab", "ana")
    assert facts["parameters"] == {"say": {"count": 2}}
    assert starting(project, "prints") is None
    assert waiting._process is None


LEAVES = """
import sys
from dataflow.lab import running
from dataflow.lab.place import Places
from pathlib import Path
print(running.start(Places(Path(sys.argv[1])), {"path": "notebooks/ops/dagster_job.py", "scope": "all"})["run"])
"""


def test_a_run_goes_on_when_jupyterlab_ends_and_is_cancelled_by_another(project):
    ended = subprocess.run(
        [sys.executable, "-c", LEAVES, str(project.root)],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    run, where = ended.stdout.strip(), place(project, "ops/dagster_job.py")
    assert starting(project, "ops") == run, "a page that is loaded now finds it"
    process = psutil.Process(Started.of(project, run).read()["process"]["pid"])
    wait_until(lambda: "begun" in running.state(where, run, 0)["text"])

    running.cancel_run(where, run)
    running.cancel_run(where, run)

    text, end = follow(where, run)
    assert (end["status"], end["error"]) == ("cancelled", None), text
    assert text.endswith(f"error: run {run[:8]} cancelled\n"), "as on a terminal"
    data = RunRecord(project, "ops", run).read()
    assert data["cancel"]["by"]
    states = [step["status"] for step in data["steps"].values()]
    assert states == ["cancelled"] + ["not run"] * (len(states) - 1)
    wait_until(lambda: has_ended(process))
    running.cancel_run(where, run)
    assert running.state(where, run, 0)["status"] == "cancelled"


def test_a_run_that_is_cancelled_before_it_begins_leaves_no_record(project, waiting):
    run, where = begin(project, "ops/dagster_job.py", scope="all"), place(project, "ops/x")

    running.cancel_run(where, run)

    text, end = follow(where, run)
    assert (text, end["status"], end["error"]) == ("", "cancelled", None)
    assert RunRecord(project, "ops", run).read() == {}
    assert starting(project, "ops") is None


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"parameters": {"count": "many"}}, ParameterError),
        ({"run": "../../../etc/passwd"}, ConfigurationError),
        ({"run": ["a"]}, ConfigurationError),
        ({"scope": "everything"}, ConfigurationError),
        ({"path": "../elsewhere.ipynb"}, ConfigurationError),
        ({"path": None}, ConfigurationError),
    ],
)
def test_what_cannot_run_is_refused_before_anything_begins(project, waiting, body, error):
    known = set(started.started_runs(project))

    with pytest.raises(error):
        begin(project, "prints/say.ipynb", **body)

    assert set(started.started_runs(project)) == known
    assert waiting._process is None
    assert waiting._ending == []


def test_an_error_before_the_run_begins_is_kept_with_its_problems(project, monkeypatch):
    """What changed since the form was checked."""
    one = Started.of(project, str(uuid.uuid4()))
    one.claim("prints", this_process())
    options = RunOptions({"say.cuont": "1"}, run_id=one.run_id)
    log = Log(one.log)
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("DATAFLOW_PROJECT", str(project.root))
    monkeypatch.setattr(execute, "printed_to", lambda log, clean: contextlib.nullcontext())

    code = execute._run(str(project.root), "prints", options, one, log)
    one.note(ended_at=now())

    state = running.state(place(project, "prints/say.ipynb"), one.run_id, 0)
    assert code == 2
    assert state["ended"]
    assert state["error"]["problems"][0]["hint"] == "Did you mean `count`?"


def test_one_process_waits_for_all_forms_and_ends_with_the_last(monkeypatch):
    monkeypatch.setattr(running, "python", lambda module: ["cat"])
    waiting = Waiting()
    for form in ("a", "b", "b"):
        waiting.prepare(form)
    first = waiting._process
    waiting.dismiss("a")
    assert waiting._process is first
    assert first.poll() is None
    waiting.dismiss("b")
    assert first.wait(60) is not None
    assert waiting._process is None

    waiting.prepare("c")
    second = waiting._process
    assert waiting.take() is second
    third = waiting.take()
    assert third is not second, "two starts at once"
    monkeypatch.setattr(running, "FRESH", -1)
    waiting.prepare("d")
    old = waiting._process
    fourth = waiting.take()
    assert fourth is not old, "it may be about to end"
    assert old.wait(60) is not None
    for process in (second, third, fourth):
        process.kill()
        process.wait()


def test_one_that_nobody_tells_anything_ends_by_itself(monkeypatch):
    code = "from dataflow.lab import execute as e; e.NEEDED = (); e.WAIT_SECONDS = 0.1; print(e.main())"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"0\n"  # its input is still open


def test_a_run_whose_process_was_killed_before_it_had_a_record_has_ended(project):
    where = place(project, "prints/say.ipynb")
    gone = Started.of(project, str(uuid.uuid4()))
    gone.claim("prints", {**this_process(), "ticks": 1})
    foreign = RunRecord(project, "prints", str(uuid.uuid4()))
    foreign.begin([{"name": "say", "kind": "stage"}], trigger="cli")

    ended = running.state(where, gone.run_id, 0)
    elsewhere = running.state(where, foreign.run_id, 0)
    foreign.end()

    assert (ended["ended"], ended["status"]) == (True, None)
    assert "killed before it began" in ended["error"]["message"]
    assert (elsewhere["text"], elsewhere["ended"]) == (None, False)
    assert running.state(where, foreign.run_id, 0)["ended"]
    unknown = running.state(where, str(uuid.uuid4()), 0)
    assert unknown["error"]["message"] == "there is no such run"


def test_a_run_that_a_full_disk_refuses_may_be_started_again(tmp_path):
    project = make_project(tmp_path / "project", {})
    run = Started.of(project, str(uuid.uuid4()))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))  # as if there were no room
    try:
        with pytest.raises(DataflowError, match="cannot be written") as error:
            run.claim("prints", this_process())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert error.value.hint == "Make room for .dataflow."
    assert not run.file.exists()
    assert run.claim("prints", this_process())
    assert run.read()["workflow"] == "prints"


def test_text_of_gigabytes_keeps_its_beginning_and_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(output, "FIRST", 1000)
    monkeypatch.setattr(output, "PIECE", 500)
    monkeypatch.setattr(output, "ANSWER", 333)
    log = Log(tmp_path / "run.log")
    for number in range(1000):
        log.write(f"line {number} äöü€\n")

    text, offset = "", 0
    while (found := output.read(tmp_path / "run.log", offset)) and found[0]:
        text, offset = text + found[0], found[1]

    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 2000
    assert text.startswith("line 0 äöü€\nline 1 äöü€\n")
    assert text.endswith("line 998 äöü€\nline 999 äöü€\n")
    assert text.count("left out") == 1
    assert "\ufffd" not in text
    output.remove(tmp_path / "run.log")
    assert list(tmp_path.iterdir()) == []


def test_what_processes_print_is_kept_as_plain_text_and_a_link_is_not_followed(tmp_path):
    code = rf"""
import os, subprocess, sys
from pathlib import Path
from dataflow.lab.output import Log, printed_to
with printed_to(Log(Path({str(tmp_path / "run.log")!r})), lambda text: text.replace("s3cret", "${{KEY}}")):
    print("\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07 s3cret", flush=True)
    sys.stderr.write("10 %\r50 %\r100 %\r\n")
    subprocess.run(["printf", "a child \\xff no end"])
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    (tmp_path / "other.log").symlink_to(tmp_path / "run.log")

    text, _ = output.read(tmp_path / "run.log", 0) or ("", 0)
    assert sorted(text.splitlines()) == ["100 %", "a child \ufffd no end", "red link ${KEY}"]
    with pytest.raises(OSError, match="symbolic links"):
        output.read(tmp_path / "other.log", 0)
    with pytest.raises(FileExistsError):
        Log(tmp_path / "other.log")


def test_old_texts_go_and_those_of_runs_that_go_on_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(started, "MOST", 3)
    project = make_project(tmp_path, {})
    runs = [Started.of(project, str(uuid.uuid4())) for _ in range(6)]
    for number, run in enumerate(runs):
        run.claim("w", this_process() if number == 0 else {**this_process(), "ticks": 1})
        Log(run.log)
        os.utime(run.file, (number, time.time() - 100 + number))

    assert Started.of(project, str(uuid.uuid4())).claim("w", this_process())

    left = {run for run in runs if run.file.exists()}
    assert left == {runs[0], runs[4], runs[5]}
    assert {run for run in runs if run.log.exists()} == left
    assert not runs[5].claim("w", this_process()), "it was started already"


@pytest.mark.parametrize(
    ("process", "words"),
    [({"host": "another"}, "is on the machine another"), ({"pid": 1}, "belongs to the user")],
)
def test_a_run_that_cannot_be_reached_is_not_cancelled(project, monkeypatch, process, words):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    record = RunRecord(project, "prints", str(uuid.uuid4()))
    record.begin([{"name": "say", "kind": "stage"}], trigger="cli")
    facts = this_process() | process
    if "pid" in process:
        facts = process_facts(1)
    record.note(process=facts)

    with pytest.raises(ConfigurationError, match=words):
        running.cancel_run(place(project, "prints/say.ipynb"), record.run_id)

    assert "cancel" not in record.read()
    record.end()


def test_a_cancel_of_a_run_that_has_ended_changes_nothing(project):
    record = RunRecord(project, "prints", str(uuid.uuid4()))
    record.begin([{"name": "say", "kind": "stage"}], trigger="cli")
    record.end()
    before = record.read()

    assert Api(project).find_run(record.run_id).cancel().status == before["status"]
    assert record.read() == before
    with pytest.raises(ConfigurationError, match="no run"):
        running.cancel_run(place(project, "prints/say.ipynb"), str(uuid.uuid4()))


def test_the_watch_tells_of_runs_that_begin_go_on_end_or_are_killed(tmp_path):
    project = make_project(tmp_path, {})
    for number in range(40):
        old = RunRecord(project, "w", f"{number:08}-{'0' * 26}")
        old.begin([{"name": "a", "kind": "stage"}], trigger="cli")
        old.end()
        os.utime(old.folder / "run.json", (1, 1))
    looks = Looks(project)
    assert looks.changes() == []
    assert looks.changes() == []

    run = RunRecord(project, "w", str(uuid.uuid4()))
    run.folder.mkdir(parents=True)
    assert looks.changes() == [], "it has no record yet"
    run.begin([{"name": "a", "kind": "stage"}], trigger="schedule")
    assert looks.changes() == [Change("w", run.run_id, "running")]
    assert looks.changes() == []
    run.step_started("a")
    assert looks.changes() == [Change("w", run.run_id, "running")]
    run.note(process={**this_process(), "ticks": 1})
    assert looks.changes() == [Change("w", run.run_id, "killed")]
    assert looks._open == {}

    for _ in range(30):
        RunRecord(project, "w", str(uuid.uuid4())).begin([], trigger="cli")
    assert len(looks.changes()) == 1, "no storm"


def test_the_server_answers_when_something_is_printed_and_tells_browsers_of_every_run(lab):
    path = "notebooks/told/say.ipynb"
    lab.add("told", {"say": ["1"]})
    assert lab.api("GET", f"notebook?path={path}").json()["going_on"] is None
    run = Started.of(lab.project, str(uuid.uuid4()))
    run.claim("told", this_process())
    record = RunRecord(lab.project, "told", run.run_id)
    log = Log(run.log)

    async def story() -> list[Any]:
        socket = HTTPRequest(
            f"{lab.base}/api/events/subscribe".replace("http", "ws"), headers=lab.headers
        )
        connection = await websocket_connect(socket)

        def ask(offset: int) -> Any:
            query = f"running/{run.run_id}?path={path}&offset={offset}"
            return asyncio.to_thread(lambda: (lab.api("GET", query).json(), time.monotonic()))

        asked = asyncio.create_task(ask(0))
        await asyncio.sleep(0.7)
        assert not asked.done(), "nothing was printed yet"
        log.write("häufig\n")
        printed = time.monotonic()
        first, at = await asked
        assert at - printed < running.POLL_SECONDS / 2
        record.begin([{"name": "say", "kind": "stage"}], trigger="cli")
        event = json.loads(str(await asyncio.wait_for(connection.read_message(), 60)))
        record.end()
        run.note(ended_at=now())
        last, _ = await ask(first["offset"])
        connection.close()
        return [first, event, last]

    first, event, last = asyncio.run(story())

    assert (first["text"], first["ended"]) == ("häufig\n", False)
    assert (event["project"], event["workflow"], event["run"]) == ("", "told", run.run_id)
    assert event["status"] == "running"
    assert (last["text"], last["ended"]) == ("", True)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("run", ["..%2F..%2Fservices%2Fjupyter", "%00", "<b>", "A" * 300])
def test_what_is_no_id_of_a_run_is_refused_in_words(lab, method, run):
    if not (lab.project.notebooks / "x").exists():
        lab.add("x", {"say": ["1"]})

    answer = lab.api(method, f"running/{run}?path=notebooks/x/say.ipynb&offset=-1")

    assert (answer.status_code, answer.json()["message"]) == (422, "this is not the id of a run")


def test_a_cancel_that_a_library_swallows_is_not_lost():
    """As SQLAlchemy's weak references do while a run is prepared."""
    with signals_as_interrupt(signal.SIGUSR1):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGUSR1)
        assert was_interrupted()

    assert not was_interrupted()
