"""The stages of my_workflow, each run on a small input in a warehouse of the test's own."""

from __future__ import annotations


def test_every_sensor_has_a_reading_for_every_hour(run_stage):
    run = run_stage("my_workflow", "ingest", parameters={"days": 2})

    readings = run.tables["readings"]
    assert readings.groupby("sensor").size().to_dict() == {"cellar": 48, "garden": 48, "office": 48}
    assert run.checks["every sensor measured every hour"].passed


def test_the_same_seed_gives_the_same_readings(run_stage):
    first = run_stage("my_workflow", "ingest", parameters={"days": 1, "seed": 7})
    readings = first.tables["readings"]
    again = run_stage("my_workflow", "ingest", parameters={"days": 1, "seed": 7})

    assert again.tables["readings"].equals(readings)
