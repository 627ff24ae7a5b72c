"""What dbt reads of the environment stays out of what a run keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
from projects import copy_repository, dataflow

pytestmark = pytest.mark.slow

TOKEN = "tok-3f9a77c1e2-only-for-this-test"


def test_a_models_secret_is_in_no_file_of_the_run(tmp_path: Path):
    project = copy_repository(tmp_path / "project")
    model = project.dbt / "models" / "earthquakes" / "leaky.sql"
    model.write_text("""select '{{ env_var("LEAKY_TOKEN", "") }}'::integer as a""")

    ran = dataflow(
        project, "workflow", "run", "earthquakes", "--only", "dbt", env={"LEAKY_TOKEN": TOKEN}
    )

    assert ran.returncode == 1, ran.stderr
    assert TOKEN not in ran.stdout + ran.stderr
    [log] = project.runs.glob("earthquakes/*/dbt.log")
    assert "${LEAKY_TOKEN}" in log.read_text()
    made = (project.runs, project.dagster_home, project.state, project.dbt / "target")
    kept = [path for folder in made for path in folder.rglob("*") if path.is_file()]
    assert kept
    assert [path for path in kept if TOKEN.encode() in path.read_bytes()] == []
