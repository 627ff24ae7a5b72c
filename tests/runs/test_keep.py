"""Runs that people want to keep: pinned, noted on, removed only when somebody says so."""

from __future__ import annotations

import datetime
import json
import uuid
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from projects import dataflow, make_project, start_dataflow

from dataflow.api import Project as Api
from dataflow.errors import ConfigurationError, DataflowError
from dataflow.orchestration.instance import open_instance
from dataflow.orchestration.retention import old_of, prune
from dataflow.orchestration.sensors import sensors
from dataflow.project import Project
from dataflow.runs.marks import LONGEST
from dataflow.runs.record import newest_first
from dataflow.runs.retention import Limits, age_of
from dataflow.services.pages import run_page


def archive(project: Project, days: float, *, workflow: str = "flow", **facts: Any) -> str:
    """The record of a run that began some days ago; its id."""
    run_id = uuid.uuid4().hex
    began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
    folder = project.runs / workflow / f"{began:%Y%m%dT%H%M%SZ}_{run_id[:8]}"
    folder.mkdir(parents=True)
    at = began.isoformat()
    run = {"format": 2, "run_id": run_id, "workflow": workflow, "started_at": at, "ended_at": at}
    run |= {"status": "succeeded", "steps": {}, **facts}
    (folder / "run.json").write_text(json.dumps(run))
    return run_id


def left(project: Project) -> list[str]:
    return [run.run_id for run in newest_first(project)]


def test_prune_lists_unless_told_to_remove_and_says_why_the_rest_stays(tmp_path: Path):
    """By hand nothing is removed without --remove; pinned and awaited runs are never old enough."""
    project = make_project(tmp_path, {})
    gone = [archive(project, 40), archive(project, 35)]
    pinned, awaited = archive(project, 33), archive(project, 32, status="awaiting review")
    young = [archive(project, 20, workflow="other"), archive(project, 10), archive(project, 1)]
    Api(project).find_run(pinned).pin()
    everything = set(left(project))

    listed = dataflow(project, "runs", "prune", "--keep", "30d")
    assert listed.returncode == 0, listed.stderr
    assert all(run_id[:8] in listed.stdout for run_id in gone)
    assert "2 runs would be removed" in listed.stderr
    assert "1 pinned" in listed.stderr
    assert "1 awaiting review" in listed.stderr
    assert "--remove" in listed.stderr
    assert set(left(project)) == everything

    removed = dataflow(project, "runs", "prune", "--keep", "30d", "--remove", "--json")
    assert removed.returncode == 0, removed.stderr
    assert [run["run_id"] for run in json.loads(removed.stdout)] == gone
    assert set(left(project)) == {pinned, awaited, *young}


def test_the_limits_of_a_call_take_the_place_of_the_settings(tmp_path: Path):
    """--keep and --keep-last count instead of keep_runs; the longer of the two, per workflow."""
    project = make_project(tmp_path, {})
    (project.root / "pyproject.toml").write_text("[tool.dataflow]\nkeep_runs = 1\n")
    ids = [archive(project, days) for days in (9, 7, 5, 3, 1)]
    archive(project, 8, workflow="other")

    def goes(*arguments: str) -> list[str]:
        done = dataflow(project, "runs", "prune", "--json", *arguments)
        assert done.returncode == 0, done.stderr
        return [run["run_id"] for run in json.loads(done.stdout)]

    assert goes() == ids[:4]
    assert goes("--keep-last", "3") == ids[:2]
    assert goes("--keep-last", "2", "--keep", "6d") == ids[:2]
    assert goes("other", "--keep-last", "1") == []
    assert dataflow(project, "runs", "prune", "--keep-last", "0").returncode == 2


def test_an_age_is_hours_days_or_weeks():
    """An age is a number above 0 and a unit; anything else is an error that shows how."""
    assert age_of("12h") == datetime.timedelta(hours=12)
    assert age_of(" 8W ") == datetime.timedelta(weeks=8)
    for wrong in ("30", "0d", "-1d", "3m", "d", "1.5d", "9" * 30 + "w"):
        with pytest.raises(ConfigurationError, match="not an age"):
            age_of(wrong)


def test_a_run_that_is_pinned_while_others_are_removed_stays(tmp_path: Path):
    """A removal looks at the record once more, under its lock, before the folder goes."""
    project = make_project(tmp_path, {})
    first, second, _newest = archive(project, 9), archive(project, 8), archive(project, 1)
    listed = old_of(project, limits=Limits(newest=1))
    assert [old.run.run_id for old in listed] == [first, second]

    with open_instance(project) as instance:
        delete = instance.get_run_by_id

        def pins_the_second(run_id: str) -> Any:
            if run_id == second:
                Api(project).find_run(second).pin()
            return delete(run_id)

        instance.get_run_by_id = pins_the_second  # type: ignore[method-assign]
        removed = prune(project, instance, limits=Limits(newest=1))

    assert [run.run_id for run in removed] == [first]
    assert second in left(project)


def test_a_run_that_is_removed_while_it_is_pinned_is_not_half_there(tmp_path: Path):
    """Pinning a run that has just gone is an error, and leaves no folder of that name."""
    project = make_project(tmp_path, {})
    run = Api(project).find_run(archive(project, 9))
    for name in run.folder.iterdir():
        name.unlink()
    (run.folder / ".lock").touch()  # what a lock that came too late would have made

    with pytest.raises(DataflowError, match="removed meanwhile"):
        run.pin()
    assert not run.folder.exists()
    with pytest.raises(DataflowError, match="removed meanwhile"):
        run.add_note("late")
    assert not run.folder.exists()


@pytest.mark.slow
def test_pins_and_notes_at_once_lose_nothing(tmp_path: Path):
    """Programs that change one record at the same time each keep what the others wrote."""
    project = make_project(tmp_path, {})
    run_id = archive(project, 2)
    calls = [("pin", run_id), ("pin", run_id), *(("note", run_id, f"note {n}") for n in range(3))]

    processes = [start_dataflow(project, "runs", *call) for call in calls]

    for process in processes:
        _out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    run = Api(project).find_run(run_id)
    assert run.pinned
    assert sorted(note.text for note in run.notes) == ["note 0", "note 1", "note 2"]
    assert run.unpin().pinned is None
    assert len(Api(project).find_run(run_id).notes) == 3


def test_notes_are_shown_as_text_and_secrets_in_them_by_name(tmp_path: Path, monkeypatch):
    """A note is text wherever it is shown; the value of a variable becomes its name."""
    project = make_project(tmp_path, {"flow": {"a": ["1"]}})
    config = project.notebooks / "flow" / "config.yaml"
    config.write_text(config.read_text("utf-8") + "token: ${API_TOKEN}\n")
    monkeypatch.setenv("API_TOKEN", "abcdefgh12345678")
    run = Api(project).find_run(archive(project, 1))

    run = run.add_note("<b>Größe</b> [red]geprüft[/] \x1b[2J mit abcdefgh12345678\nzweite Zeile")

    (note,) = run.notes
    assert note.text == (
        "<b>Größe</b> [red]geprüft[/] \N{REPLACEMENT CHARACTER}[2J mit ${API_TOKEN}\nzweite Zeile"
    )
    page = run_page(project, run.folder).body.decode()
    assert "&lt;b&gt;Größe&lt;/b&gt;" in page
    assert note.by in page
    shown = dataflow(project, "runs", "show", run.run_id[:8])
    assert "[red]geprüft[/]" in shown.stdout
    for text in (" \n", "x" * (LONGEST + 1)):
        with pytest.raises(ConfigurationError):
            run.add_note(text)


def test_a_record_of_0_1_0_and_one_with_odd_marks_can_be_pinned_and_noted_on(tmp_path: Path):
    """What stands in a record already does not keep a run from being pinned, or shown."""
    project = make_project(tmp_path, {})
    odd = archive(project, 2, format=1, notes="by hand", pinned={"by": 1})
    run = Api(project).find_run(odd)
    assert (run.pinned, run.notes) == (None, [])
    assert [old.needed for old in old_of(project, limits=Limits(age=age_of("1d")))] == ["pinned"]

    run = run.unpin().pin().add_note("seen")

    assert run.pinned
    assert [note.text for note in run.notes] == ["seen"]
    assert "pinned" in dataflow(project, "runs", "list").stdout
    assert b"Pinned by" in run_page(project, run.folder).body


@pytest.mark.slow
def test_dagsters_daemon_removes_old_runs_also_of_workflows_that_are_gone(tmp_path: Path):
    """The service's sensor keeps what the settings say, whether or not anything runs."""
    project = make_project(tmp_path, {})
    archive(project, 3, workflow="gone")
    newest = archive(project, 2, workflow="gone")

    def tick() -> str:
        with open_instance(project) as instance, dg.build_sensor_context(instance) as context:
            return str(sensors()[1](context).skip_message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATAFLOW_PROJECT", str(project.root))
        assert "all runs are kept" in tick()
        (project.root / "pyproject.toml").write_text("[tool.dataflow]\nkeep_runs = 1\n")
        assert tick().startswith("removed ")
        assert left(project) == [newest]
        assert "no run is too old" in tick()
