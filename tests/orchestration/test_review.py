"""A workflow with `review:` publishes what somebody has seen and approved, exactly that, or nothing."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import dagster as dg
import duckdb
import httpx
import psutil
import pytest
from dashboard_helpers import servers
from projects import (
    Workflow,
    command_of,
    dataflow,
    environment,
    make_project,
    parameters,
    wait_until,
)

from dataflow.base.lock import acquire
from dataflow.errors import ConfigurationError, DataflowError
from dataflow.orchestration.approval import approve, publish_or_await, reject
from dataflow.orchestration.instance import open_instance
from dataflow.project import Project
from dataflow.runs.record import AWAITING, REJECTED, SUPERSEDED, Run, RunRecord, find_run
from dataflow.services import decision
from dataflow.services.decision import token
from dataflow.shared.db import get_duckdb_connection
from dataflow.warehouse.store import candidate_runs, publish, published_path
from dataflow.workflows.registry import get_workflow

CELLS = [
    parameters("rows = 100"),
    "from dataflow.shared.db import get_duckdb_connection, write_table\n"
    "import pandas as pd\n"
    "with get_duckdb_connection() as conn:\n"
    "    write_table(conn, pd.DataFrame({'n': range(rows)}), 'levels')",
]
FIRST, SECOND = "aaaaaaaa-1", "bbbbbbbb-2"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with a workflow whose runs are all reviewed."""
    section = {"workflow": {"name": "Rivers", "review": "required"}}
    stages = [{"notebook": "ingest.ipynb", "writes": ["levels"]}]
    return make_project(tmp_path / "p", {"rivers": Workflow({"ingest": CELLS}, stages, section)})


@pytest.fixture
def serve():
    """Start the dashboards' server of a project."""
    with servers() as start:
        yield start


def rules(project: Project, text: str) -> None:
    """Give the workflow other rules."""
    config = project.notebooks / "rivers" / "config.yaml"
    config.write_text(config.read_text().replace("review: required", f"review: {text}"))


def table(project: Project, select: str) -> None:
    """Make the table `levels` in the working warehouse."""
    with get_duckdb_connection(database="working", project=project) as conn:
        conn.execute("CREATE SCHEMA IF NOT EXISTS rivers")
        conn.execute(f"CREATE OR REPLACE TABLE rivers.levels AS {select}")


def passed(project: Project, run_id: str, select: str = "FROM range(100) t(n)") -> Run:
    """A run whose publish step is over: published, or awaiting review."""
    table(project, select)
    workflow = get_workflow(project, "rivers")
    record = RunRecord(project, "rivers", run_id)
    record.begin([{"name": "publish", "kind": "publish"}])
    record.step_started("publish")

    def make():
        schemas = list(workflow.schemas)
        return publish(project, "rivers", schemas, run_id=run_id, for_review=True)

    done = publish_or_await(project, workflow, record, make)
    record.step_ended("publish", "succeeded" if done else AWAITING)
    record.end()
    return Run(record.folder, record.read())


def again(run: Run) -> Run:
    """The run as it is recorded now."""
    return Run(run.folder, json.loads((run.folder / "run.json").read_text()))


def shown(project: Project) -> int | None:
    """How many rows readers see; None before anything is published."""
    path = published_path(project)
    if path is None:
        return None
    with duckdb.connect(path, read_only=True) as connection:
        return connection.execute("SELECT count(*) FROM rivers.levels").fetchone()[0]


def test_a_run_awaits_review_and_publishes_when_it_is_approved(project):
    """From the command line: a run, a newer one that supersedes it, approval, rejection."""
    first = dataflow(project, "workflow", "run", "rivers")
    assert first.returncode == 0, first.stderr
    assert "awaiting review" in first.stdout
    older = find_run(project, "last")
    assert older.status == AWAITING
    assert f"dataflow runs approve {older.run_id[:8]}" in first.stdout
    nothing = dataflow(project, "workflow", "run", "rivers", "--changed")
    assert "nothing was run" in nothing.stderr

    assert dataflow(project, "workflow", "run", "rivers", "-p", "rows=70").returncode == 0
    run = find_run(project, "last")
    assert again(older).status == SUPERSEDED
    late = dataflow(project, "runs", "approve", older.run_id[:8])
    assert (late.returncode, shown(project)) == (2, None)
    assert f"newer data took its place ({run.run_id[:8]})" in late.stderr

    refused = dataflow(project, "db", "publish", "rivers")
    assert refused.returncode == 2
    assert "when a run of it is approved" in refused.stderr
    done = dataflow(project, "runs", "approve", "last", "--comment", "as announced", "--by", "ana")
    assert done.returncode == 0, done.stderr
    with duckdb.connect(published_path(project), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM rivers_raw.levels").fetchone() == (70,)
    review = again(run).data["review"]
    assert (review["by"], review["comment"]) == ("ana", "as announced")
    assert review["seen"] == review["hash"]
    assert re.fullmatch("[0-9a-f]{64}", review["hash"])
    assert candidate_runs(project, "rivers") == []
    same = dataflow(project, "workflow", "run", "rivers", "--changed", "-p", "rows=70")
    assert "nothing was run" in same.stderr
    twice = dataflow(project, "runs", "approve", "last")
    assert twice.returncode == 2
    assert "was approved by ana" in twice.stderr

    assert dataflow(project, "workflow", "run", "rivers", "-p", "rows=1").returncode == 0
    gone = dataflow(project, "runs", "reject", "last", "--comment", "one row only")
    assert gone.returncode == 0, gone.stderr
    assert find_run(project, "last").status == REJECTED
    told = dataflow(project, "runs", "show", "last")
    assert "one row only" in told.stdout
    failed = json.loads(dataflow(project, "runs", "list", "--failed", "--json").stdout)
    assert [run["status"] for run in failed] == [REJECTED]
    with open_instance(project) as instance:
        key = dg.AssetKey(["published", "rivers_published"])
        event = instance.get_latest_materialization_event(key)
        checks = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(key, "review"), limit=5
        )
    assert event.asset_materialization.metadata["by"].value == "ana"
    assert [check.status.value for check in checks] == ["FAILED", "SUCCEEDED"]


@pytest.mark.parametrize(
    ("select", "because"),
    [
        ("FROM range(119) t(n)", []),
        ("FROM range(121) t(n)", ["rivers.levels: 100 → 121 rows (+21%)"]),
        ("FROM range(79) t(n)", ["rivers.levels: 100 → 79 rows (-21%)"]),
        (
            "SELECT n::VARCHAR AS n FROM range(100) t(n)",
            ["rivers.levels: column n is VARCHAR instead of BIGINT"],
        ),
        ("SELECT n, 1 AS b FROM range(100) t(n)", ["rivers.levels: column b is new"]),
    ],
)
def test_a_small_change_needs_no_review(project, select, because):
    """With `on_change` only what changes a table that much, or its columns, awaits review."""
    rules(project, "{on_change: {rows: 20%, schema: any}}")
    first = passed(project, FIRST)
    assert first.data["review"]["because"] == ["rivers.levels is new"]
    approve(project, first)
    second = passed(project, SECOND, select)
    assert second.data.get("review", {}).get("because", []) == because
    assert second.status == (AWAITING if because else "succeeded")
    if because:
        assert shown(project) == 100


def test_data_that_is_older_than_what_is_published_is_not_approved(project):
    """Whoever publishes without a review supersedes what awaits one."""
    run = passed(project, FIRST)
    table(project, "FROM range(5) t(n)")
    assert dataflow(project, "db", "publish", "rivers", "--unreviewed").returncode == 0
    assert (again(run).status, shown(project)) == (SUPERSEDED, 5)
    with pytest.raises(ConfigurationError, match="newer data took its place"):
        approve(project, run)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("yes", "neither `required` nor"),
        ("{on_change: {rows: 20}}", "no percentage"),
        ("{on_change: {row: 20%}}", "takes `rows`, `schema`"),
        ("{on_change: {schema: none}}", "can only be `any`"),
    ],
)
def test_rules_that_mean_nothing_are_refused(project, text, says):
    """A misspelt rule is an error with its line, never no review."""
    rules(project, text)
    done = dataflow(project, "workflow", "validate", "rivers")
    assert done.returncode == 2
    assert says in done.stdout + done.stderr
    assert "config.yaml:3" in done.stdout + done.stderr


def test_two_approvals_at_once(project):
    """One of them publishes, the other is told by whom it was approved."""
    run = passed(project, FIRST)
    told: list[str] = []

    def one(by: str) -> None:
        try:
            approve(project, run, by=by)
        except ConfigurationError as error:
            told.append(error.message)

    threads = [threading.Thread(target=one, args=[by]) for by in ("ana", "ben")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    by = again(run).data["review"]["by"]
    assert len(told) == 1
    assert f"was approved by {by}" in told[0]
    assert shown(project) == 100


KILLED = """
import os, signal, sys
from dataflow.orchestration import approval
from dataflow.project import Project
from dataflow.runs.record import find_run

def die(*args, real=approval.publish_candidate, **more):
    if sys.argv[1] == "after":
        real(*args, **more)
    os.kill(os.getpid(), signal.SIGKILL)

approval.publish_candidate = die
project = Project.find()
approval.approve(project, find_run(project, "last"), by="ana", comment="right")
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_approval_is_finished_by_the_next(project, when):
    """kill -9 between the decision and its end: all or nothing is published, and it can go on."""
    run = passed(project, FIRST)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, when], cwd=project.root, env=environment(), check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert shown(project) == (100 if when == "after" else None)
    assert again(run).status == AWAITING
    with pytest.raises(ConfigurationError, match="was approved by ana"):
        reject(project, again(run), comment="no")
    done = approve(project, again(run), by="ben")
    assert (done.status, shown(project)) == ("succeeded", 100)
    assert done.data["review"]["by"] == "ana"
    assert published_path(project).parent.name in ("1", "2")
    assert candidate_runs(project, "rivers") == []


def test_what_was_changed_since_it_was_seen_is_not_published(project):
    """A candidate whose files differ from what the record says, or from what was seen, stays."""
    run = passed(project, FIRST)
    with pytest.raises(ConfigurationError, match="is not what was seen"):
        approve(project, run, seen="0" * 64)
    path = project.warehouse.parent / "published" / "candidates" / "rivers" / FIRST
    database = path / "dataflow.duckdb"
    database.chmod(0o644)
    with duckdb.connect(database) as connection:
        connection.execute("DELETE FROM rivers.levels")
    with pytest.raises(ConfigurationError, match="is not what was seen"):
        approve(project, run)
    assert (again(run).status, shown(project)) == (AWAITING, None)


def test_a_dashboard_that_fails_on_it_is_nobody_s_to_review(project):
    """The run fails, and an older one still awaits review."""
    first = passed(project, FIRST)
    source = project.evidence / "sources" / "rivers" / "levels.sql"
    source.parent.mkdir(parents=True)
    source.write_text("SELECT nn FROM rivers.levels")
    with pytest.raises(DataflowError, match="nn"):
        passed(project, SECOND)
    assert again(first).status == AWAITING
    assert candidate_runs(project, "rivers") == [FIRST]


class Reviewer:
    """A browser on the dashboards' server."""

    def __init__(self, base: str, run: Run) -> None:
        self.base = base
        self.client = httpx.Client(base_url=base, timeout=120)
        self.page = f"/runs/rivers/{run.folder.name}/decide"

    def form(self) -> dict[str, str]:
        """What the page's form would send, without a decision."""
        hidden = re.findall(r'name="(code|seen)" value="(\w+)"', self.client.get(self.page).text)
        return dict(hidden)

    def send(self, origin: str | None = None, **fields: str) -> int:
        headers = {"origin": origin or self.base}
        return self.client.post(self.page, data=fields, headers=headers).status_code


def test_only_who_has_the_token_decides_in_the_browser(project, serve):
    """Neither another user of the machine nor another site's page can approve."""
    run = passed(project, FIRST)
    base = serve(project)
    browser, stranger = Reviewer(base, run), Reviewer(base, run)
    assert stranger.form() == {}
    assert stranger.client.get(f"{stranger.page}?token=x{token(project)}").status_code == 403
    opened = browser.client.get(f"{browser.page}?token={token(project)}")
    assert (opened.status_code, opened.headers["location"]) == (303, browser.page)
    form = browser.form()
    assert form["seen"] == run.data["review"]["hash"]
    assert stranger.send(decision="approve", **form) == 403
    assert browser.send(decision="approve", seen=form["seen"]) == 403
    assert browser.send("http://evil.example", decision="approve", **form) == 403
    assert browser.send("null", decision="approve", **form) == 403
    assert browser.send(**form) == 400
    assert browser.send(decision="approve", code=form["code"], seen="0" * 64) == 409
    assert (again(run).status, shown(project)) == (AWAITING, None)
    assert browser.send(decision="approve", comment="<b>fine</b>", by="ana", **form) == 303
    wait_until(lambda: again(run).status == "succeeded")
    assert shown(project) == 100
    page = browser.client.get(f"/runs/rivers/{run.folder.name}/").text
    assert "&lt;b&gt;fine&lt;/b&gt;" in page
    assert browser.send(decision="reject", **form) == 409
    assert (project.state / "review-token").stat().st_mode & 0o077 == 0


def test_a_decision_is_carried_out_when_the_page_has_long_been_answered(
    project, serve, monkeypatch
):
    """Nothing of the server's keeps, or breaks, what takes longer than its answer."""
    run = passed(project, FIRST)
    browser = Reviewer(serve(project), run)
    browser.client.get(f"{browser.page}?token={token(project)}")
    form = browser.form()
    monkeypatch.setattr(decision, "SOON", 0.1)
    reviews = project.state / "reviews" / "rivers"
    with acquire(reviews, "the review", holder="a test"):
        assert browser.send(decision="approve", by="ana\x1b[2J", **form) == 303
        wait_until(lambda: any((reviews / "queue").iterdir()))
        (child,) = (p for p in psutil.Process().children() if run.run_id in command_of(p))
        said = str(Path(f"/proc/{child.pid}/fd/2").readlink())
    wait_until(lambda: again(run).status == "succeeded")
    assert not said.startswith("pipe:")
    assert again(run).data["review"]["by"] == "ana\N{REPLACEMENT CHARACTER}[2J"


def test_a_run_that_ended_before_anybody_could_decide_awaits_nothing(project, serve):
    """A cancel after its candidate was made leaves nothing to approve, and says so."""
    run = passed(project, FIRST)
    record = {**run.data, "status": "cancelled"}
    (run.folder / "run.json").write_text(json.dumps(record))
    shown_now = dataflow(project, "runs", "show", "last").stdout
    assert "Awaits review" not in shown_now
    page = httpx.get(f"{serve(project)}/runs/rivers/{run.folder.name}/").text
    assert "cancelled before anybody could decide" in page
    assert dataflow(project, "runs", "approve", "last").returncode == 2
    assert shown(project) is None
