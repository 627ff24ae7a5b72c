"""A kernel that is forked from a process with packages imported is as one that is started."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from engine_helpers import run_cells
from projects import REPOSITORY, dataflow, executed, make_project, markdown, write_notebook

from dataflow.base.forked import ForkServer
from dataflow.engine.provisioner import kernel_server
from dataflow.stages.notebook import Stage
from dataflow.stages.prepared import imports_of

MODULES = ["numpy", "pandas", "duckdb", "duckdb:close", "matplotlib", "matplotlib.pyplot"]


def surroundings(**more: str) -> dict[str, str]:
    own = {
        n: v for n, v in os.environ.items() if not n.startswith(("PYTEST", "DATAFLOW_", "DAGSTER_"))
    }
    return {**own, "PYTHONPATH": str(REPOSITORY), "TZ": "Asia/Tokyo", **more}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    server = kernel_server(MODULES, surroundings()).start()
    yield server
    server.close()


SEES = """
import json, os, pathlib, random, resource, signal, sys, time
import numpy, pandas, duckdb, matplotlib
settings = duckdb.connect().execute("select name, value from duckdb_settings()").fetchall()
seen = {
    "environment": {n: v for n, v in os.environ.items() if n not in PER_KERNEL},
    "folder": os.getcwd(),
    "path": sys.path,
    "argv": sys.argv[:2],
    "flags": str(sys.flags),
    "handlers": [str(signal.getsignal(n)).split(" at ")[0] for n in signal.valid_signals()],
    "umask": os.umask(os.umask(0)),
    "limits": pathlib.Path("/proc/self/limits").read_text(),
    "zone": time.tzname,
    "main": sys.modules["__main__"].__dict__ is globals(),
    "leads": os.getsid(0) == os.getpgid(0) == os.getpid(),
    "streams": [os.readlink(f"/proc/self/fd/{n}").partition(":")[0] for n in (1, 2)],
    "pandas": [pandas.get_option(n) for n in ("display.max_columns", "display.max_rows")],
    "duckdb": sorted(one for one in settings if "progress" in one[0]),
    "backend": matplotlib.get_backend(),
    "default": duckdb.sql("select 40 + 2").fetchall(),
    "product": float((numpy.ones((300, 300)) @ numpy.ones((300, 300)))[0, 0]),
    "parent": int(os.environ["JPY_PARENT_PID"]) == os.getppid(),
}
print(json.dumps(seen))
"""
DRAWS = "print(json.dumps([random.random(), float(numpy.random.rand())]))"
CELLS = [
    'PER_KERNEL = {"JPY_PARENT_PID", "DATAFLOW_STEP_PROCESSES"}' + SEES,
    DRAWS,
    "import subprocess; print(subprocess.run(['echo', 'from below'], capture_output=True).stdout)",
    # ipykernel reads the descriptor in a thread: it shows what that finds before the cell ends.
    "os.system('echo straight to the descriptor'); time.sleep(1)",
    "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(2) as pool:\n"
    "    print(pool.map(abs, [-1, -2]))",
    "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
    "from dataflow import stage\nstage.record('t', rows=3)",
]


def test_a_forked_kernel_sees_what_a_started_one_sees(server, tmp_path):
    found: dict[str, Any] = {}
    results = {}
    for way, address in (("forked", server.address), ("started", "")):
        ended = run_cells(
            tmp_path, CELLS, cwd=str(tmp_path), environment=surroundings(), kernel_server=address
        )
        marks = ended.notebook.metadata.dataflow
        assert "kernel_started" not in marks
        assert marks.peak_memory_bytes > 0
        results[way] = [one["table"] for one in marks.results]
        texts = [["".join(o.get("text", "")) for o in cell.outputs] for cell in ended.code]
        images = [sorted(o.data) for o in ended.code[5].outputs if "data" in o]
        found[way] = (json.loads(texts[0][0]), texts[2:5], images, json.loads(texts[1][0]))

    forked, started = found["forked"], found["started"]
    assert forked[0] == started[0]
    assert forked[1] == started[1]
    assert "from below" in forked[1][0][0]
    assert forked[1][1] == ["straight to the descriptor\n"]
    assert forked[2] == started[2] == [["image/png", "text/plain"]]
    assert results["forked"] == results["started"] == ["t"]
    assert forked[3][0] != started[3][0]
    assert forked[3][1] != started[3][1]


@pytest.mark.parametrize(
    ("cell", "ename"),
    [
        ("exit()", "KernelExit"),
        ("import os; os._exit(3)", "KernelDied"),
        ("import os; os.kill(os.getpid(), 9)", "KernelDied"),
        ("import time; time.sleep(60)", "Timeout"),
    ],
)
def test_however_a_forked_kernel_ends_it_is_told_as_of_a_started_one(server, tmp_path, cell, ename):
    said = []
    for address in (server.address, ""):
        ended = run_cells(
            tmp_path,
            [cell],
            environment=surroundings(),
            kernel_server=address,
            cwd=str(tmp_path),
            notebook_timeout=2.0 if ename == "Timeout" else 0.0,
        )
        assert "kernel_started" not in ended.notebook.metadata.dataflow
        (error,) = [o for o in ended.code[0].outputs if o.output_type == "error"]
        assert error.ename == ename
        said.append(error.evalue.partition(";")[0])
    assert said[0] == said[1]


NOTES_ITS_END = """
import os
class Noted:
    def __del__(self, note=os.mkdir):
        note("ended{n}")
os.noted = Noted()  # goes after everything that is called at a process's end
"""


def test_a_kernel_that_is_asked_to_end_does_so(server, tmp_path):
    # Of ipykernel's own, one in ten waits for a thread that has been stopped, and is killed.
    many = range(25)
    for n in many:
        cells = [NOTES_ITS_END.replace("{n}", str(n))]
        options = {"environment": surroundings(), "kernel_server": server.address}
        run_cells(tmp_path, cells, cwd=str(tmp_path), **options)
    assert [n for n in many if not (tmp_path / f"ended{n}").exists()] == []


def test_a_kernel_is_started_where_a_forked_one_could_differ_and_the_notebook_says_why(
    server, tmp_path
):
    def why(address: str, **more: str) -> str:
        ended = run_cells(
            tmp_path,
            ["print(1)"],
            cwd=str(tmp_path),
            environment=surroundings(**more),
            kernel_server=address,
        )
        assert ended.status == "completed"
        return str(ended.notebook.metadata.dataflow.kernel_started)

    assert why(server.address, OMP_NUM_THREADS="3") == "the environment differs: OMP_NUM_THREADS"
    assert "does not answer" in why(str(tmp_path / "gone"))
    (tmp_path / "matplotlibrc").touch()
    assert "settings of matplotlib" in why(server.address)


def test_what_is_imported_before_is_what_the_notebook_and_its_modules_import(tmp_path):
    cells = [
        markdown("import scipy"),
        "%matplotlib inline\nimport pandas as pd, polars\nfrom helpers import f",
        "!pip list\nfrom dataflow.shared.http import client",
        "import requests  # the author's own, below",
        "def broken(",
        "from wf.more import g",
        "import matplotlib.pyplot as plt\nfrom pyarrow import parquet, Table",
    ]
    project = make_project(tmp_path, {"wf": {"a": cells, "b": ["print(1)"]}})
    folder = project.notebooks / "wf"
    (folder / "helpers.py").write_text("import yaml\n")
    (folder / "more.py").write_text("import numpy as np\nimport wf.more\n")
    (folder / "requests.py").write_text("import httpx\n")
    write_notebook(folder / "c.ipynb", ["print(1)"]).write_text("{")

    found = [imports_of(project, [Stage("wf", n, folder / f"{n}.ipynb")]) for n in "abc"]

    context = "dataflow.stages.context"
    assert found[0] == [
        "numpy", "pyarrow", "pyarrow.parquet", "pandas", "matplotlib.pyplot", "yaml", "httpx",
        "dataflow.shared.http", context,
    ]  # fmt: skip
    assert found[1] == found[2] == [context]


def test_a_run_forks_its_kernels_unless_the_setting_says_cold(tmp_path):
    project = make_project(
        tmp_path, {"wf": {"a": ["import os\nprint(open(f'/proc/{os.getppid()}/cmdline').read())"]}}
    )
    for way in ("warm", "cold"):
        dataflow(project, "workflow", "run", "wf", env={"DATAFLOW_KERNELS": way})
        notebook = executed(project, "wf", "a")
        assert ("dataflow.base.forked" in notebook.cells[0].outputs[0].text) == (way == "warm")
        assert "kernel_started" not in notebook.metadata.dataflow
