"""Which runs somebody asks for, by the command line, the API and the pages alike."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from dataflow.api import Project
from dataflow.errors import ConfigurationError
from dataflow.project import Project as Paths
from dataflow.runs import index as index_module
from dataflow.runs.index import RunIndex
from dataflow.runs.search import moment

START = datetime.datetime(2026, 1, 2, 3, 0, tzinfo=datetime.UTC)


def put(project: Paths, number: int, **facts) -> Path:
    """Write the record of a run that began `number` minutes after START."""
    started = START + datetime.timedelta(minutes=number)
    data = {
        "format": 2,
        "run_id": f"{number:08}-0000",
        "workflow": "sales",
        "started_at": started.isoformat(),
        "ended_at": (started + datetime.timedelta(seconds=30)).isoformat(),
        "status": "succeeded",
        "trigger": "cli",
        "user": "ana",
        "steps": {},
        **facts,
    }
    folder = project.runs / "sales" / f"{started:%Y%m%dT%H%M%SZ}_{number:08}"
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / "draft"
    draft.write_text(json.dumps(data))
    draft.replace(folder / "run.json")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Paths:
    project = Paths(tmp_path)
    put(project, 1, parameters={"ingest": {"limit": 4.5, "source": "api", "deep": True}})
    put(project, 2, status="failed", trigger="schedule", user="ben")
    put(project, 3, git={"commit": "4dd0ad2f77", "dirty": True})
    put(project, 4, status="killed", steps={"ingest": {"values": {"limit": 7, "tags": ["a", "b"]}}})
    put(project, 5, status="awaiting review", parameters={"load": {"limit": 7}})
    put(project, 6, parameters=["odd"], git="odd", user=None, steps={"a": None, "b": {"rows": 3}})
    return project


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [6, 5, 4, 3, 2, 1]),
        ({"status": "failed"}, [2]),
        ({"status": ["failed", "awaiting review"]}, [5, 2]),
        ({"failed": True}, [4, 2]),
        ({"since": START + datetime.timedelta(minutes=4)}, [6, 5, 4]),
        ({"since": "2026-01-02T04:05+01:00"}, [6, 5]),
        ({"trigger": "schedule"}, [2]),
        ({"user": "ben"}, [2]),
        ({"commit": "4DD0"}, [3]),
        ({"parameters": ["limit=4.50"]}, [1]),
        ({"parameters": {"limit": 7}}, [5, 4]),
        ({"parameters": {"load.limit": 7}}, [5]),
        ({"parameters": {"deep": True}}, [1]),
        ({"parameters": ["deep=1"]}, []),
        ({"parameters": ["source=api", "limit=*"]}, [1]),
        ({"parameters": ['tags=["a", "b"]']}, [4]),
        ({"parameters": ["limit"], "user": "ana", "failed": True}, [4]),
    ],
)
def test_runs_are_found_by_what_is_known_of_them(project, asked, found):
    """Each filter narrows the list, and what is odd in a record breaks none."""
    assert [int(run.run_id[:8]) for run in Project(project).runs(**asked)] == found


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"status": "faild"}, "no run is ever `faild`"),
        ({"since": "soon"}, "`soon` is not a time"),
        ({"since": "9999999999w"}, "is not a time"),
        ({"parameters": ["=4"]}, "a parameter has no name"),
    ],
)
def test_what_cannot_be_asked_is_an_error(project, asked, message):
    """A mistake in a filter never looks like an empty result."""
    with pytest.raises(ConfigurationError, match=message):
        Project(project).runs(**asked)


def test_a_time_may_be_how_long_ago():
    """`36h` is a day and a half before now."""
    ago = datetime.datetime.now(datetime.UTC) - moment("36h")

    assert abs(ago - datetime.timedelta(hours=36)) < datetime.timedelta(seconds=5)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders whose records are read, as they are read."""
    folders: list[str] = []
    whole = index_module._read
    monkeypatch.setattr(
        index_module, "_read", lambda folder: folders.append(folder.name) or whole(folder)
    )
    return folders


def numbers(index: RunIndex) -> list[int]:
    return [int(run.run_id[:8]) for run in index.newest_first()]


def test_the_index_reads_a_record_again_only_when_it_changed(project, read):
    """Of ten thousand runs, those that stayed as they were cost a look at their file."""
    index = RunIndex(project)
    assert numbers(index) == [6, 5, 4, 3, 2, 1]
    assert len(read) == 6

    folder = put(project, 5, status="superseded", parameters={"load": {"limit": 7}})
    put(project, 7)
    (project.runs / "sales" / "20260102T030100Z_00000001" / "run.json").unlink()
    read.clear()

    assert numbers(index) == [7, 6, 5, 4, 3, 2]
    assert len(read) == 2
    assert [run.status for run in index.newest_first() if run.name == folder.name] == ["superseded"]


def test_the_index_asks_each_time_about_a_run_that_goes_on(project, read):
    """A run that was killed is so at the next look, although its record is as it was."""
    index = RunIndex(project)
    put(project, 8, status=None, ended_at=None, process={"host": "elsewhere", "pid": 1})
    assert next(index.newest_first()).status == "running"
    read.clear()

    assert next(index.newest_first()).status == "running"
    assert len(read) == 1


def test_the_index_remembers_the_newest_runs_only_and_finds_the_others_too(tmp_path, read):
    """What a server remembers is bounded, what it finds is not."""
    project = Paths(tmp_path)
    for number in range(60):
        put(project, number)
    index = RunIndex(project, most=20)

    assert numbers(index) == list(range(59, -1, -1))
    assert len(index._known) <= 20
    read.clear()
    index.warm()
    assert set(read) <= {f"20260102T03{n:02}00Z_{n:08}" for n in range(60)}
    assert len(read) <= 3, "of the newest 20, nearly all are remembered"


def test_runs_up_to_one_are_found_without_reading_those_after_it(project, read):
    """What was usual before an old run is known without the runs since."""
    index = RunIndex(project)

    found = [run.name[-1] for run in index.newest_first(until="20260102T030300Z_00000003")]

    assert found == ["3", "2", "1"]
    assert len(read) == 3
