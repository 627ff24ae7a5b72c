"""A small project that is right in every way, for each test to put one mistake into."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import duckdb
import pytest
from projects import Workflow, make_project, markdown, parameters, write_files

from dataflow.dashboard.export import export_sources
from dataflow.project import Project

CONFIG = """\
workflow:
  name: Lab
  schedule: "0 6 * * *"
  timezone: Europe/Berlin
  tags: [small]
ingestion:
  source:
    type: api
    url: https://example.org/
    token: ${LAB_TOKEN}
stages:
  - notebook: ingest.ipynb
    parameters:
      least: 2
    writes: [samples]
  - notebook: clean.ipynb
    after: [ingest]
    writes: [good]
"""
SOURCES = """\
sources:
  - name: lab
    schema: lab_raw
    tables:
      - name: samples
      - name: good
"""
STAGING = "select id, weight\nfrom {{ source('lab', 'good') }}\n"
MART = "{{ config(alias='weights') }}\nselect id, weight\nfrom {{ ref('stg_lab__good') }}\n"
PAGE = """\
# Lab

```sql heavy
select id, weight
from lab.weights
where weight > 1
```

<DataTable data={heavy}/>
"""
INGEST = [
    markdown("# Ingest"),
    parameters(
        "least: int = 0  # drop lighter samples\n"
        'source: Literal["file", "api"] = "file"\nsince: date | None = None'
    ),
    "from dataflow import stage\nfiles = !ls",
    "%matplotlib inline\nstage.check('there are samples', True)",
]
CLEAN = [parameters("share: float = 0.5"), "print(share)"]


@pytest.fixture(scope="session")
def right_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("right") / "project"
    project = make_project(root, {"lab": Workflow({"ingest": INGEST, "clean": CLEAN})})
    files = {
        "notebooks/lab/config.yaml": CONFIG,
        "notebooks/lab/scales.py": "GRAMS = 1000\n",
        "dbt/models/lab/_lab__sources.yml": SOURCES,
        "dbt/models/lab/staging/stg_lab__good.sql": STAGING,
        "dbt/models/lab/marts/lab__weights.sql": MART,
        "evidence/sources/lab/connection.yaml": "name: lab\ntype: duckdb\n",
        "evidence/sources/lab/weights.sql": "select id, weight from lab.weights\n",
        "evidence/pages/lab/index.md": PAGE,
        ".env": "LAB_TOKEN=correct-horse-battery\n",
    }
    write_files(root, files)
    database = tmp_path_factory.mktemp("published") / "dataflow.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute("CREATE SCHEMA lab")
        connection.execute("CREATE TABLE lab.weights AS SELECT 'a' AS id, 1.5::DOUBLE AS weight")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVIDENCE_DUCKDB_PATH", str(database))
        export_sources(project, ["lab"])
    return root


@pytest.fixture
def lab(right_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The right project, copied, with the working directory in it."""
    root = tmp_path / "project"
    shutil.copytree(right_project, root)
    # What reading .env puts into the environment goes again at the test's end.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.chdir(root)
    return Project(root)
