"""What pages say of their data: the run that made it, and that a newer one failed or waits."""

from __future__ import annotations

import datetime
import json
import time
from typing import Any

import httpx
import pytest
from dashboard_helpers import write

from dataflow.dashboard.export import export_sources
from dataflow.project import Project
from dataflow.runs.record import AWAITING, DIFFERENCE, RunRecord
from dataflow.services.provenance import MOST, provenance
from dataflow.services.run_list import RunLists
from dataflow.warehouse.versions import Metadata

SHOWN = "5110e000-0000-4000-8000-000000000000"


def run(project: Project, run_id: str, status: str | None = "succeeded", **facts: Any) -> RunRecord:
    """A run of `quakes` that ended as `status`, later than those before it; None: it goes on."""
    record = RunRecord(project, "quakes", run_id)
    record.begin([{"name": "ingest", "kind": "stage"}], **{"trigger": "schedule", **facts})
    minutes = len(list(project.runs.glob("quakes/*/run.json"))) - 1
    start = datetime.datetime(2024, 3, 7, 12, tzinfo=datetime.UTC)
    record.note(started_at=(start + datetime.timedelta(minutes=minutes)).isoformat())
    if status is not None:
        record.step("ingest", status="failed" if status == "killed" else status)
        record.end(cancelled=status == "cancelled")
        record.note(ended_at=(start + datetime.timedelta(minutes=minutes + 1)).isoformat())
    if status == "killed":
        record.note(status=None, process={"pid": 2**22 + 1, "started": 0.0})
    return record


@pytest.fixture
def shown(project, warehouse) -> Project:
    """A project whose dashboard shows what a run has published."""
    record = run(
        project, SHOWN, parameters={"ingest": {"since": "2024-01-01"}},
        git={"commit": "0123456789abcdef", "dirty": True},
    )  # fmt: skip
    record.note(user="ana")
    record.step("ingest", checks=[
        {"name": "a", "passed": True}, {"name": "b", "passed": False, "severity": "warn"}
    ])  # fmt: skip
    (record.folder / DIFFERENCE).write_text("+++ b/x\n")
    at = "2024-03-07T12:00:30+00:00"
    origin = {"workflow": "quakes", "run_id": SHOWN, "published_at": at}
    Metadata(1, at, "", schemas={"quakes": origin}).write(warehouse.parent)
    export_sources(project, ["quakes"])
    return project


def said(project: Project) -> dict[str, Any]:
    return provenance(RunLists(project))["quakes"]


def test_the_run_is_named_with_its_parameters_checks_user_and_code(shown):
    found = said(shown)

    folder = next(shown.runs.glob("quakes/*")).name
    assert found["made"] == {
        "at": "2024-03-07T12:00:30+00:00",
        "run": SHOWN[:8],
        "url": f"/runs/quakes/{folder}/",
        "trigger": "schedule",
        "user": "ana",
        "commit": "01234567",
        "dirty": True,
        "difference": f"/runs/quakes/{folder}/{DIFFERENCE}",
        "parameters": ["since = 2024-01-01"],
        "checks": {"passed": 1, "all": 2},
    }
    assert (found["newer"], found["running"], found["late"]) == (None, None, None)


@pytest.mark.parametrize("status", ["failed", "cancelled", "killed", AWAITING])
def test_a_newer_run_that_is_not_shown_is_said(shown, status):
    """A failed run changes no data, and yet what pages say; some steps' success does not hide it."""
    newer = run(shown, "bad00000-1", status)
    run(shown, "600d0000-1", "succeeded", selection=["ingest"])

    found = said(shown)["newer"]

    assert found["status"] == status
    assert found["url"] == f"/runs/quakes/{newer.folder.name}/"
    assert found["at"] == "2024-03-07T12:01:00+00:00"


def test_runs_before_the_shown_one_do_not_count_and_one_that_goes_on_is_said(project, shown):
    early = run(project, "bad00000-1", "failed")
    early.note(started_at="2024-03-07T11:00:00+00:00")
    assert said(shown)["newer"] is None

    going = run(shown, "90e50000-1", None)

    assert said(shown)["running"]["url"].endswith(f"{going.folder.name}/")
    assert said(shown)["newer"] is None


def test_a_missed_schedule_makes_data_late_unless_a_failed_run_says_more(shown):
    write(
        shown.notebooks / "quakes" / "config.yaml",
        "workflow: {name: Quakes, schedule: '0 6 * * *'}\n",
    )
    late = said(shown)["late"]
    assert datetime.datetime.fromisoformat(late).hour == 6

    run(shown, "bad00000-1", "failed")

    assert said(shown)["late"] is None
    assert said(shown)["newer"]["status"] == "failed"


def test_a_removed_run_a_write_by_hand_and_a_broken_record_are_said_as_far_as_known(shown):
    """Nothing that stands in a record keeps pages from showing the rest."""
    folder = next(shown.runs.glob("quakes/*"))
    data = json.loads((folder / "run.json").read_text())
    data["parameters"] = {"ingest": {f"p{n}": "<b>" for n in range(40)}}
    (folder / "run.json").write_text(json.dumps(data))
    assert len(said(shown)["made"]["parameters"]) == MOST + 1

    (folder / "run.json").write_text(json.dumps({**data, "steps": {"ingest": {"checks": 7}}}))
    assert said(shown)["made"]["run"] == SHOWN[:8]

    (folder / "run.json").unlink()
    assert said(shown)["made"] == {
        "at": "2024-03-07T12:00:30+00:00", "run": SHOWN[:8], "url": f"/runs/quakes/{SHOWN}/"
    }  # fmt: skip


def test_the_server_answers_at_once_and_nothing_is_cached(shown, serve):
    """A workflow without runs and data is there, too; many runs cost no more time."""
    write(shown.notebooks / "other_one" / "config.yaml", "workflow: {name: Other}\n")
    for number in range(60):
        run(shown, f"{number:08}-1", "failed")
    url = serve(shown)
    first = httpx.get(f"{url}/data/provenance.json")
    begun = time.monotonic()
    answer = httpx.get(f"{url}/data/provenance.json")

    assert time.monotonic() - begun < 20
    assert first.headers["cache-control"] == "no-cache"
    assert answer.json()["quakes"]["newer"]["status"] == "failed"
    assert answer.json()["other-one"]["made"] is None
