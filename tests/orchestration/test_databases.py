"""Dagster's databases as our processes open them: the same to everybody else, and whole."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from projects import PATIENCE, make_project, wait_until

from dataflow.orchestration.databases import close_databases, make_databases_cheap
from dataflow.project import Project

# A process that is killed right after the last of its events was stored.
KILLED = """
import os, signal, sys
import dagster as dg
from dataflow.orchestration.databases import make_databases_cheap
make_databases_cheap()
instance = dg.DagsterInstance.get()
run = instance.create_run_for_job(dg.JobDefinition(graph_def=dg.GraphDefinition("job"), name="job"))
for number in range(20):
    instance.report_engine_event(f"event {number}", run)
print(run.run_id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


# A process that stores an event whenever it is told to, and keeps what is held open.
AT_WORK = """
import sys
import dagster as dg
from dataflow.orchestration.databases import make_databases_cheap
make_databases_cheap()
instance = dg.DagsterInstance.get()
run = instance.create_run_for_job(dg.JobDefinition(graph_def=dg.GraphDefinition("job"), name="job"))
instance.report_engine_event("begun", run)
print(run.run_id, flush=True)
for line in sys.stdin:
    instance.report_engine_event(line.strip(), run)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an instance of Dagster."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    return tmp_path


def new_run(instance: dg.DagsterInstance) -> str:
    """A run with one event."""
    job = dg.JobDefinition(graph_def=dg.GraphDefinition("job"), name="job")
    run = instance.create_run_for_job(job)
    instance.report_engine_event("here", run)
    return run.run_id


def schema(file: Path) -> list[tuple[str, ...]]:
    """What a database has, and the migration it is at."""
    with closing(sqlite3.connect(file)) as database:
        made = database.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2")
        return [
            *made.fetchall(),
            *database.execute("SELECT version_num FROM alembic_version").fetchall(),
            *database.execute("PRAGMA journal_mode").fetchall(),
        ]


def test_the_database_of_a_later_run_is_the_one_that_dagster_makes(home: Path):
    plain = (
        "import dagster as dg; instance = dg.DagsterInstance.get(); "
        "job = dg.JobDefinition(graph_def=dg.GraphDefinition('job'), name='job'); "
        "run = instance.create_run_for_job(job); instance.report_engine_event('x', run); "
        "print(run.run_id)"
    )
    dagsters = subprocess.run(
        [sys.executable, "-c", plain], capture_output=True, text=True, check=True
    ).stdout.strip()
    make_databases_cheap()
    with dg.DagsterInstance.get() as instance:
        first, second = new_run(instance), new_run(instance)
        messages = [entry.message for entry in instance.all_logs(second)]
    close_databases()

    runs = home / "history" / "runs"
    assert len(list(runs.glob("empty-*.sqlite"))) == 1
    assert schema(runs / f"{second}.db") == schema(runs / f"{dagsters}.db")
    assert schema(runs / f"{first}.db") == schema(runs / f"{dagsters}.db")
    assert messages == ["here"], "nothing of another run came along"
    assert not list(home.rglob("*-wal")), "all of it is in the files"
    assert not list(home.rglob("*.draft"))


def test_events_of_a_process_that_is_killed_are_there_for_the_next(home: Path):
    killed = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    plain = (
        "import sys, dagster as dg; instance = dg.DagsterInstance.get(); "
        "print(*[entry.message for entry in instance.all_logs(sys.argv[1])], sep='\\n')"
    )
    seen = subprocess.run(
        [sys.executable, "-c", plain, killed.stdout.strip()], capture_output=True, text=True
    )
    assert seen.stdout.splitlines() == [f"event {number}" for number in range(20)], seen.stderr


def test_who_follows_a_run_as_dagsters_pages_do_sees_each_event_when_it_happens(home: Path):
    make_databases_cheap()
    seen: list[str] = []
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(
            [sys.executable, "-c", AT_WORK], stdin=pipe, stdout=pipe, text=True
        ) as run,
        dg.DagsterInstance.get() as instance,
    ):
        assert run.stdout
        assert run.stdin
        run_id = run.stdout.readline().strip()
        instance.watch_event_logs(run_id, None, lambda event, _: seen.append(event.message))
        for message in ("first", "second"):
            run.stdin.write(f"{message}\n")
            run.stdin.flush()
            wait_until(lambda message=message: message in seen)
        assert run.poll() is None, "the run goes on"
        run.stdin.close()
    assert seen == ["begun", "first", "second"]
    close_databases()


def test_who_follows_other_runs_goes_on_when_one_is_removed_whose_page_is_open(home: Path):
    make_databases_cheap()
    seen: list[str] = []
    with dg.DagsterInstance.get() as instance:
        removed, other = new_run(instance), new_run(instance)
        for run_id in (removed, other):
            instance.watch_event_logs(run_id, None, lambda event, _: seen.append(event.run_id))
        instance.delete_run(removed)
        for file in (home / "history" / "runs").glob(f"{removed}.db*"):
            file.unlink()
        time.sleep(0.5)  # what was changed is looked at then

        run = instance.get_run_by_id(other)
        assert run is not None
        instance.report_engine_event("again", run)

        wait_until(lambda: seen.count(other) == 2, 30)
    close_databases()


def test_a_run_database_that_another_process_has_made_stays(home: Path):
    make_databases_cheap()
    with dg.DagsterInstance.get() as instance:
        run_id = new_run(instance)
        file = home / "history" / "runs" / f"{run_id}.db"
        # Another instance of this process, which has not seen the file yet.
        with dg.DagsterInstance.from_ref(instance.get_ref()) as other:
            run = other.get_run_by_id(run_id)
            assert run is not None
            other.report_engine_event("again", run)
        before = file.stat().st_ino
        messages = [entry.message for entry in instance.all_logs(run_id)]

    assert messages == ["here", "again"]
    assert file.stat().st_ino == before
    close_databases()


def test_a_forked_process_leaves_the_connections_of_its_parent_alone(home: Path):
    make_databases_cheap()
    with dg.DagsterInstance.get() as instance:
        run_id = new_run(instance)
        child = os.fork()
        if child == 0:
            close_databases()  # has none of its own
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        run = instance.get_run_by_id(run_id)
        assert run is not None
        instance.report_engine_event("after the fork", run)
        with closing(sqlite3.connect(home / "history" / "runs" / f"{run_id}.db")) as other:
            count = other.execute("SELECT count(*) FROM event_logs").fetchone()
    close_databases()

    assert count == (2,), "another process sees what was written since"


OPENS = """
import sys
from pathlib import Path
import dagster
from dataflow.orchestration.instance import open_instance
from dataflow.project import Project
print("ready", flush=True)
sys.stdin.readline()
with open_instance(Project(Path(sys.argv[1]))):
    pass
"""


def versions(project: Project) -> list[int]:
    """How many migrations each database says that it is at."""
    counts = []
    for file in sorted(project.dagster_home.rglob("*.db")):
        with closing(sqlite3.connect(file)) as database:
            counts += database.execute("SELECT count(*) FROM alembic_version").fetchone()
    return counts


def test_many_that_open_a_new_project_at_once_make_its_databases_once(tmp_path: Path):
    project = make_project(tmp_path / "project", {})
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", OPENS, str(project.root)]
    crowd = [subprocess.Popen(command, text=True, **pipes) for _ in range(6)]
    for one in crowd:
        assert one.stdout
        one.stdout.readline()
    for one in crowd:
        assert one.stdin
        one.stdin.write("\n")
        one.stdin.flush()
    said = [one.communicate(timeout=PATIENCE)[1] for one in crowd]
    assert [one.returncode for one in crowd] == [0] * len(crowd), said
    assert versions(project) == [1, 1, 1]

    # As earlier versions could leave it.
    with closing(sqlite3.connect(project.dagster_home / "schedules/schedules.db")) as database:
        database.execute("INSERT INTO alembic_version VALUES ('567bc23fd1ac')")
        database.commit()
    assert 2 in versions(project)
    again = subprocess.run(command, input="\n", text=True, capture_output=True, check=False)
    assert again.returncode == 0, again.stderr
    assert versions(project) == [1, 1, 1]
