"""Runs of Dagster's code server are forked from a process that has imported what they need."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# A code server as far as it starts processes: what each of four of them sees of itself.
SERVER = """
import json, os, signal, sys, time
from pathlib import Path
from dagster._grpc.server import DagsterApiServer
from dataflow.orchestration import forked_runs

def look(queue):
    queue.put({"parent": os.getppid(), "imported": "seldom_imported" in sys.modules,
               "variable": os.environ.get("SET_LATER"), "told": forked_runs.VARIABLE in os.environ})

def run():
    server = object.__new__(DagsterApiServer)
    server._mp_ctx = None  # as it sets its own
    context = server._mp_ctx
    queue = context.Queue()
    process = context.Process(target=look, args=[queue])
    process.start()
    seen = queue.get()
    process.join()
    return {**seen, "exit": process.exitcode}

if __name__ == "__main__":
    forked_runs.IMPORTED = ["seldom_imported"]
    forked_runs.fork_runs()
    os.environ["SET_LATER"] = "1"
    seen = [run(), run()]
    Path(sys.argv[1], "installed-1.0.dist-info").mkdir()
    seen.append(run())
    os.kill(seen[-1]["parent"], signal.SIGKILL)
    seen.append(run())
    print(json.dumps(seen))
"""


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder for sockets, whose paths may have a hundred characters."""
    with tempfile.TemporaryDirectory(prefix="dataflow-") as folder:
        yield Path(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="runs are forked on Linux only")
def test_a_run_has_modules_imported_and_packages_that_change_are_imported_again(
    tmp_path: Path, short_path: Path
):
    packages, service = tmp_path / "packages", short_path
    packages.mkdir()
    (packages / "seldom_imported.py").write_text("")
    (tmp_path / "server.py").write_text(SERVER)
    done = subprocess.run(
        [sys.executable, "server.py", str(packages)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(packages), "DATAFLOW_FORKED_RUNS": str(service)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, second, after_change, after_kill = json.loads(done.stdout)

    assert all(one["imported"] and one["exit"] == 0 for one in (first, second, after_change))
    assert first["parent"] == second["parent"]
    assert after_change["parent"] != second["parent"], "what was imported before is not used"
    assert after_kill["parent"] != after_change["parent"]
    assert first["variable"] is None, "a run reads the project's environment itself"
    assert not first["told"]
    assert not list(service.iterdir()), "no socket is left"
