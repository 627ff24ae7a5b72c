"""A secret that a stage uses is found nowhere under the project folder, however the run ends."""

from __future__ import annotations

import base64
import contextlib
import html
import io
import json
import os
import signal
import sqlite3
import subprocess
import textwrap
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
import pytest
from projects import (
    Workflow,
    dataflow,
    executed,
    make_project,
    parameters,
    run_data,
    start_dataflow,
    statuses,
    wait_until,
)
from rich.console import Console
from rich.panel import Panel
from rich.syntax import Syntax

from dataflow.engine.output import LiveText
from dataflow.engine.secrets import Scrubber
from dataflow.project import Project
from dataflow.variables import secrets_in, secrets_of

# Each piece alone tells a leak, whatever escaped the characters between them.
PIECES = ["canaryQ7x", "wR9tLm2v", "Zk4Bn8sD"]
LONG_PIECES = [f"long{n}Hj{n * n + 11}Vc{n}" for n in range(1, 9)]
CANARY = "canaryQ7x\"\\+/wR9tLm2v<&>'Zk4Bn8sD"
LONG_CANARY = ":".join(LONG_PIECES)  # pandas shows 46 characters of it, then dots
MARKER = "CANARY}"

USE = """\
import base64, json, logging, os, sys
from urllib.parse import quote
import pandas as pd
from dataflow import stage
from dataflow.shared import http
from dataflow.shared.config import load_config

config = load_config("demo")
answer = http.client(config["ingestion"]["source"]).get("/")
assert answer.json()["token"] == token
assert long_one == config["long"]"""
SHOW = """\
print(token)
print(f"in the middle {token}, twice {token}", end="", flush=True)
print(" and in", token[:7], end="", flush=True)
for character in token:
    print(character, end="", flush=True)
print()
print(answer.text, base64.b64encode(token.encode()).decode(), quote(token), token.encode())
print(base64.urlsafe_b64encode(b"user:" + token.encode()).decode(), token.encode().hex())
print(json.dumps({"a": {"b": token}}))
logging.warning("the token is %s", token)
os.environ["T"] = token
os.system('echo "$T"; echo "by a subprocess $T" >&2')
print(token, file=sys.__stderr__, flush=True)
stage.record(table=None, x=token, nested={"a": [token]})
stage.check("is never wrong", True, token=token)"""
FRAME = """\
frame = pd.DataFrame({"token": [token, "other"], "long": [long_one, "x"]})
print(frame)
display(frame, {"token": token, "long": long_one})
frame"""
LOG = "context.log.info(token)\ncontext.log.warning('long: ' + long_one)"
FAIL = "raise ValueError(f'not accepted: {token} nor {long_one}')"
SLEEP = "print(token, end='', flush=True)\nopen('began', 'w').close()\nimport time; time.sleep(300)"


class _Echo(BaseHTTPRequestHandler):
    """Answers with the token it was sent, as careless services do."""

    def do_GET(self) -> None:
        text = self.headers["X-Token"]
        body = json.dumps({"token": text}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    """The address of a service that wants the secret in a header."""
    server = HTTPServer(("127.0.0.1", 0), _Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def project_with(tmp_path: Path, service: str, last: str) -> Project:
    """A workflow whose one stage spreads its secrets wherever it can, then does `last`."""
    declared = parameters("token: str\nlong_one: str")
    source = {"url": service, "headers": {"X-Token": "${CANARY}"}}
    return make_project(
        tmp_path / "project",
        {
            "demo": Workflow(
                {"use": [declared, USE, SHOW, FRAME, LOG, last]},
                stages=[{"notebook": "use.ipynb", "parameters": {"long_one": "${LONG_CANARY}"}}],
                config={"ingestion": {"source": source}, "long": "${LONG_CANARY}"},
            )
        },
    )


COMMAND = ("workflow", "run", "demo", "-p", "token", "${CANARY}")
ENVIRONMENT = {"CANARY": CANARY, "LONG_CANARY": LONG_CANARY}


def traces() -> list[bytes]:
    """What must not be found: the pieces, and each secret's encoded forms in parts."""
    found = [piece.encode() for piece in PIECES + LONG_PIECES]
    found += [piece.encode().hex().encode() for piece in PIECES]
    for secret in (CANARY, LONG_CANARY):
        for before in range(3):
            text = base64.b64encode(b"\0" * before + secret.encode())[4:-4]
            found += [text[:16], text[-16:]]
            found += [part.replace(b"+", b"-").replace(b"/", b"_") for part in found[-2:]]
        found += [quote(secret).encode(), repr(secret)[1:-1].encode()]
    return found


def leaks(project: Project) -> dict[str, list[bytes]]:
    """The traces of secrets in each file below the project's folder."""
    found = {}
    for path in project.root.rglob("*"):
        if not path.is_file():
            continue
        content = path.read_bytes() + str(path).encode() + b"".join(_packed(path))
        here = [trace for trace in traces() if trace in content]
        if here:
            found[str(path.relative_to(project.root))] = here
    return found


def _packed(path: Path) -> Iterator[bytes]:
    """What Dagster keeps compressed in its databases."""
    if path.suffix != ".db":
        return
    with contextlib.closing(sqlite3.connect(path)) as conn:
        tables = [
            row[0] for row in conn.execute("select name from sqlite_master where type='table'")
        ]
        for table in tables:
            for row in conn.execute(f'select * from "{table}"'):
                for value in row:
                    if isinstance(value, bytes):
                        with contextlib.suppress(zlib.error):
                            yield zlib.decompress(value)


def assert_no_trace(project: Project, done: subprocess.CompletedProcess[str] | Any) -> None:
    """No secret in any file and in what the command wrote, and the run did use them."""
    wait_until(lambda: list(project.runs.glob("demo/*/use.html")))
    assert leaks(project) == {}
    written = (done.stdout + done.stderr).encode()
    assert [trace for trace in traces() if trace in written] == []
    assert MARKER in done.stderr  # what was printed came, with the name in the secret's place
    assert sum(1 for _ in project.root.rglob("*.db")) > 0  # Dagster's events were looked at


@pytest.mark.slow
def test_nothing_is_left_of_a_secret_after_success(tmp_path: Path, service: str) -> None:
    project = project_with(tmp_path, service, "print('done')")
    done = dataflow(project, *COMMAND, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert_no_trace(project, done)
    nb = executed(project, "demo", "use")
    assert "token = resolve('${CANARY}')" in nb.cells[1].source.replace('"', "'")
    recorded = run_data(project, "demo")["steps"]["use"]["recorded"][""]
    assert recorded == {"x": "${CANARY}", "nested": {"a": ["${CANARY}"]}}
    shown = dataflow(project, "runs", "show", run_data(project, "demo")["run_id"])
    assert "${CANARY}" in shown.stdout


@pytest.mark.slow
def test_nothing_is_left_of_a_secret_in_an_exception(tmp_path: Path, service: str) -> None:
    project = project_with(tmp_path, service, FAIL)
    done = dataflow(project, *COMMAND, env=ENVIRONMENT)
    assert done.returncode == 1, done.stderr
    assert "ValueError: not accepted: ${CANARY} nor ${LONG_CANARY}" in done.stderr
    assert_no_trace(project, done)


@pytest.mark.slow
def test_nothing_is_left_of_a_secret_after_cancelling(tmp_path: Path, service: str) -> None:
    project = project_with(tmp_path, service, SLEEP)
    command = start_dataflow(project, *COMMAND, env=ENVIRONMENT)
    began = project.notebooks / "demo" / "began"
    wait_until(lambda: began.exists() or command.poll() is not None)
    assert leaks(project) == {}  # while it runs, too
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=120)
    assert command.returncode in (1, 130), err
    assert "cancelled" in err
    assert statuses(executed(project, "demo", "use"))[-1] == "cancelled"
    assert_no_trace(project, subprocess.CompletedProcess([], 1, out, err))


@pytest.mark.slow
def test_a_wrong_value_says_nothing_of_the_secret(tmp_path: Path, service: str) -> None:
    project = project_with(tmp_path, service, "print('never')")
    done = dataflow(project, *COMMAND, "-p", "tokn", "${CANARY}", env=ENVIRONMENT)
    assert done.returncode == 2, done.stderr
    assert leaks(project) == {}
    assert not [trace for trace in traces() if trace in (done.stdout + done.stderr).encode()]


JOB = """\
import logging
import os
import subprocess
import sys

from dagster import RetryPolicy, job, op

from dataflow import stage
from dataflow.shared.config import load_config
from dataflow.shared.logging import get_logger
from dataflow.workflows.registry import register_workflow

logger = get_logger(__name__)


class Refused(Exception):
    def __init__(self, token):
        self.token = token

    def __str__(self):
        return "not accepted: " + self.token


@op(retry_policy=RetryPolicy(max_retries=1))
def use(context):
    token = load_config("python")["token"]
    print(token)
    logger.info("with %s", token)
    logging.getLogger("other").warning("and with %s", token)
    for stream in (None, sys.stdout, sys.stderr):
        subprocess.run(["echo", "by a subprocess", token], stdout=stream, check=True)
    subprocess.run('echo "to standard error $T" >&2', shell=True, env={"T": token}, check=True)
    os.write(1, f"to descriptor 1 {token[:9]}".encode())
    os.write(1, token[9:].encode() + b"\\n")
    os.write(2, f"to descriptor 2 {token}\\n".encode())
    print("to Python's own", token, file=sys.__stderr__)
    print("in pieces", token[:9], end="", flush=True)
    print(token[9:])
    context.log.info(f"context: {token}")
    context.add_output_metadata({"token": token})
    stage.record(token=token)
    stage.check("is never wrong", True, token=token)
    try:
        raise KeyError(token)
    except KeyError as error:
        if context.retry_number:
            LAST
        raise Refused(token) from error


@job
def whole():
    use()


register_workflow(workflow_id="python", job=whole)
"""


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ('raise ValueError(f"x?key={token}", {"token": token}) from error', "ValueError: "),
        ('sys.exit(f"not accepted: {token}")', "not accepted: ${CANARY}"),
    ],
)
@pytest.mark.slow
def test_nothing_is_left_of_a_secret_in_a_workflow_written_in_python(
    tmp_path: Path, last: str, told: str
) -> None:
    project = make_project(
        tmp_path / "project", {"python": Workflow({}, config={"token": "${CANARY}"})}
    )
    (project.notebooks / "python" / "dagster_job.py").write_text(JOB.replace("LAST", last), "utf-8")

    done = dataflow(project, "workflow", "run", "python", env=ENVIRONMENT)

    assert done.returncode == 1, done.stderr
    assert told in done.stderr
    data = run_data(project, "python")
    assert (data["status"], data["steps"]["use"]["status"]) == ("failed", "failed")
    assert data["steps"]["use"]["attempt"] == 2
    assert leaks(project) == {}
    assert not [trace for trace in traces() if trace in (done.stdout + done.stderr).encode()]
    log = next(project.runs.glob("python/*/use.log")).read_text("utf-8")
    said = [
        *["by a subprocess"] * 3,
        "to standard error",
        "to descriptor 1",
        "to descriptor 2",
        "to Python's own",
        "in pieces",
    ]
    begin = log.index("by a subprocess")
    lines = log[begin : log.index("context: ${CANARY}")].splitlines()
    assert lines[:-1] == [f"{words} ${{CANARY}}" for words in said]  # in the order they were said


OP_WITH_CONFIG = """\
from dagster import job, op
from dataflow.workflows.registry import register_workflow


@op(config_schema={"header": str})
def use(context):
    assert context.op_config["header"].startswith("Bearer canary")


@job
def whole():
    use()


register_workflow(workflow_id="python", job=whole)
"""


@pytest.mark.slow
def test_nothing_is_left_of_a_secret_that_is_given_as_a_parameter(tmp_path: Path) -> None:
    project = make_project(
        tmp_path / "project",
        {
            "demo": Workflow(
                {
                    "load": [
                        "from typing import Annotated",
                        parameters('key: Annotated[str, "secret"] = ""\nmaybe: str | None = None'),
                        "print(key, maybe)\nassert key == maybe.removeprefix('Bearer ')",
                    ]
                },
                config={"token": "${CANARY}"},
            ),
            "python": Workflow({}, config={"token": "${CANARY}"}),
        },
    )
    (project.notebooks / "python" / "dagster_job.py").write_text(OP_WITH_CONFIG, "utf-8")
    given = ("-p", "key", CANARY, "-p", "maybe", f"Bearer {CANARY}")

    done = dataflow(project, "workflow", "run", "demo", *given, env=ENVIRONMENT)

    assert done.returncode == 0, done.stderr
    assert run_data(project, "demo")["parameters"] == {
        "load": {"key": "${CANARY}", "maybe": "Bearer ${CANARY}"}
    }
    # A value that no variable of the configuration holds has one of its own.
    unset = {"CANARY": "", "LONG_CANARY": ""}
    given = ("-p", "key", LONG_CANARY, "-p", "maybe", "Bearer x")
    other = dataflow(project, "workflow", "run", "demo", *given, env=unset)
    assert other.returncode == 1, other.stderr
    assert "AssertionError" in other.stderr
    assert run_data(project, "demo")["parameters"]["load"]["key"] == "${SECRET_LOAD_KEY}"
    assert leaks(project) == {}
    # An op's configuration is Dagster's, in its database; the archive has the name.
    job = dataflow(
        project, "workflow", "run", "python", "-p", "header", f"Bearer {CANARY}", env=ENVIRONMENT
    )
    assert job.returncode == 0, job.stderr
    record = run_data(project, "python")
    assert record["parameters"] == {"use": {"header": "Bearer ${CANARY}"}}
    assert record["steps"]["use"]["values"] == {"header": "Bearer ${CANARY}"}


@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        base64.b64encode(CANARY.encode()).decode(),
        base64.b64encode(b"user:" + CANARY.encode()).decode(),
        base64.urlsafe_b64encode(b"a" + CANARY.encode() + b"b").decode(),
        quote(CANARY, safe=""),
        CANARY.encode().hex(),
        repr(CANARY),
        repr(CANARY.encode()),
        html.escape(repr([CANARY])),
        html.escape(json.dumps(CANARY)),
        LONG_CANARY[:46] + "...",
        "..." + LONG_CANARY[-20:],
    ],
)
def test_every_form_of_a_secret_is_taken_out(text: str) -> None:
    clean = Scrubber(ENVIRONMENT).text(f"before {text} after")
    assert MARKER in clean
    assert not [trace for trace in traces() if trace in clean.encode()]
    assert clean.startswith("before ")
    assert clean.endswith(" after")


WRAPPED = "tok-5fT8w2Qz:Lr7Yb3Xc9-Kd1Mn6Vp4" * 3  # 99 characters: more than a line


def shown_by_rich(text: str, width: int) -> dict[str, str]:
    """What rich makes of `text` in a notebook and on a terminal, in a box, too."""
    console = Console(
        record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print({"token": text}, Panel(text), Panel(f"key {text}", style="red"))
    console.print(Syntax(f"x = '{text}'", "python", word_wrap=True))
    return {
        "text/html": console.export_html(clear=False, inline_styles=True),
        "ansi": console.export_text(clear=False, styles=True),
        "text/plain": console.export_text(),
    }


@pytest.mark.parametrize("width", [12, 80])
def test_a_secret_that_a_console_wraps_or_colours_is_taken_out_whole(width: int) -> None:
    wrapped = "\n".join(textwrap.wrap(f"token={WRAPPED}", width, subsequent_indent="  "))
    by_rich = shown_by_rich(WRAPPED, width)
    texts = by_rich | {
        "rich in json": json.dumps([by_rich["ansi"], by_rich["text/plain"]]),
        "wrapped": wrapped,
        "json": json.dumps({"a": wrapped}),
        "coloured": "\x1b[1;32m".join(WRAPPED) + "\x1b[0m",
        "escaped": json.dumps("\x1b[31m".join(WRAPPED)) + repr("\x1b[31m".join(WRAPPED)),
        "base64": base64.encodebytes(WRAPPED.encode()).decode(),
        "crlf": wrapped.replace("\n", "\r\n"),
    }
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x")])
    nb.cells[0].outputs = [
        nbformat.v4.new_output("display_data", data=texts),
        nbformat.v4.new_output("stream", text=wrapped),
        nbformat.v4.new_output("error", ename="E", evalue=wrapped, traceback=[texts["ansi"]]),
    ]
    left = json.dumps(Scrubber({"CANARY": WRAPPED}).notebook(nb))
    # Runs of four characters tell a leak, as rich splits at digits and colons.
    pieces = {WRAPPED[at : at + 4] for at in range(len(WRAPPED) - 4)}
    encoded = base64.b64encode(WRAPPED.encode()).decode()
    pieces |= {encoded[at : at + 6] for at in range(0, len(encoded) - 6)}
    assert [piece for piece in pieces if piece in left] == []
    assert left.count(MARKER) >= 12


def test_a_passphrase_that_is_wrapped_at_its_spaces_is_taken_out() -> None:
    scrubber = Scrubber({"CANARY": "correct horse battery staple"})
    assert scrubber.text("a correct horse\n  battery staple b") == "a ${CANARY} b"


@pytest.mark.parametrize("size", [1, 3, 30])
def test_a_wrapped_secret_printed_in_pieces_is_held_back(size: int) -> None:
    seen: list[str] = []
    live = LiveText(Scrubber({"CANARY": WRAPPED}), [lambda name, text: seen.append(text)])
    halves = WRAPPED[:40], WRAPPED[40:]
    text = (
        f"at {halves[0]}\n   {halves[1]} and \x1b[32m{halves[0]}\x1b[0m\x1b[33m{halves[1]}\x1b[0m\n"
    )
    for at in range(0, len(text), size):
        live.write("stdout", text[at : at + size])
    live.flush()
    assert "".join(seen) == "at ${CANARY} and \x1b[32m${CANARY}\x1b[0m\n"


@pytest.mark.parametrize(
    "noise",
    [" ", "\n", "<", "<span ", "\x1b[", "\x1b]", "\\n", "tok-", " │", "\x1b[0m "],
)
def test_looking_for_split_secrets_takes_time_that_grows_with_the_text_only(noise: str) -> None:
    text = noise * (1_000_000 // len(noise))
    begun = time.process_time()
    scrubber = Scrubber({"CANARY": WRAPPED, "B": "two words of it"})
    assert scrubber.text(text + "end") == text + "end"
    assert time.process_time() - begun < 10  # a quadratic search takes hours


def test_short_and_common_values_do_not_damage_text() -> None:
    scrubber = Scrubber({"STAGE": "prod", "FLAG": "true", "PORT": "5432", "NO": "abc"})
    text = "products, true, port 5432, abc"
    assert scrubber.text(text) == text
    assert scrubber.text("on prod.") == "on ${STAGE}."
    assert scrubber.text("on \x1b[32mprod\x1b[0m") == "on \x1b[32m${STAGE}\x1b[0m"


def test_only_the_variables_that_are_named_are_secrets() -> None:
    values = ["a ${ONE} b", {"deep": ["${TWO:-x}"]}, "$${THREE}"]
    environment = {"ONE": "first", "TWO": "second", "THREE": "third", "FOUR": "fourth"}
    assert secrets_in(*values, environment=environment) == {"ONE": "first", "TWO": "second"}


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_a_secret_printed_in_pieces_is_held_back_until_it_is_whole(size: int) -> None:
    seen: list[str] = []
    live = LiveText(Scrubber(ENVIRONMENT), [lambda name, text: seen.append(text)])
    text = f"begin {CANARY} canary {LONG_CANARY}\nend ca"
    for at in range(0, len(text), size):
        live.write("stdout", text[at : at + size])
    live.flush()
    assert "".join(seen) == "begin ${CANARY} canary ${LONG_CANARY}\nend ca"
    assert os.environ.get("CANARY") != CANARY  # no other secret than those it was given


def test_secrets_of_other_workflows_count_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHERS", "of-another-workflow")
    project = make_project(
        tmp_path / "project",
        {"demo": {}, "other": Workflow({}, config={"key": "${OTHERS}"})},
    )
    # It may `load_config("other")`.
    assert secrets_of(project.notebooks / "demo") == {"OTHERS": "of-another-workflow"}
