"""What a stage costs: a plain script, papermill, dagstermill and DATAFLOW, side by side.

    python benchmarks/stages.py [--repeats 3] [--inside]

A trivial notebook of five cells. CPU is that of all processes involved, kernels included; wall is
the clock's. (a) is one more stage inside a process that runs already, (b) the whole command from
the shell. The ways take turns, and the medians are printed; ratios carry over to other machines,
seconds do not.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import ways
from measure import Cost, command, show

PLAIN = "plain papermill"
CELLS = ["a = 1", "b = a + 1", "c = [a, b]", "d = sum(c)", "print(d)"]

# Each runs in a process of its own, which has imported all it needs and warmed up once before
# anything is measured: `one_more()` is what one more stage costs.
SCRIPT = """
def one_more():
    import subprocess, sys
    subprocess.run([sys.executable, "notebook.py"], check=True, stdout=subprocess.DEVNULL)
"""
PAPERMILL = """
import papermill
def one_more():
    papermill.execute_notebook("notebook.ipynb", "executed.ipynb", progress_bar=False)
"""
DAGSTERMILL = """
import dagster, definitions
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.execution.api import execute_run_iterator

repository = ReconstructableRepository.for_file("definitions.py", "defs", ".")
job = repository.get_reconstructable_job("__ASSET_JOB")
instance = dagster.DagsterInstance.get()
def one_more():
    run = instance.create_run_for_job(
        job.get_definition(), run_config={"execution": {"config": {"in_process": {}}}}
    )
    list(execute_run_iterator(job, run, instance))
    assert instance.get_run_by_id(run.run_id).is_success
"""
OURS = """
from pathlib import Path
from dataflow.project import Project
from dataflow.stages.execute import execute_stage
from dataflow.workflows.registry import get_workflow

project = Project(Path.cwd())
stage = get_workflow(project, "compare").stages[0]
def one_more():
    done = execute_stage(project, stage, {}, run_id="r", output=Path("executed.ipynb"))
    assert done.status == "succeeded"
"""
# The same with what Dagster, the archive and the executed notebook's page take: what the
# dagstermill measurement, which is a Dagster run as well, is to be held against.
MORE = 5  # stages that the workflow `longer` has more than `compare`
OUR_RUN = """
from pathlib import Path
from dataflow.orchestration.run import plan_run, run_workflow
from dataflow.project import Project
from dataflow.workflows.registry import get_workflow

project = Project(Path.cwd())
workflow = get_workflow(project, "compare")
def one_more():
    done = run_workflow(project, plan_run(project, workflow, {}, only="notebook"))
    assert done.data["steps"]["notebook"]["status"] == "succeeded"
"""
# A whole run, of one stage and of `MORE` more: the difference is what a stage costs in a run
# that goes on anyway, with its Dagster step, its archive and its page.
OUR_RUNS = """
from pathlib import Path
from dataflow.orchestration.run import plan_run, run_workflow
from dataflow.project import Project
from dataflow.workflows.registry import get_workflow

project = Project(Path.cwd())
workflow = get_workflow(project, WORKFLOW)
def one_more():
    done = run_workflow(project, plan_run(project, workflow, {}))
    assert {step["status"] for step in done.data["steps"].values()} == {"succeeded"}
"""
# Only the calls are measured: a child's CPU time counts when it has been waited for.
MEASURE = """
import json, resource, sys, time
def cpu():
    both = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in both)
one_more()
print("READY", flush=True)
for line in sys.stdin:
    before, begin = cpu(), time.monotonic()
    one_more()
    print("MEASURED " + json.dumps([cpu() - before, time.monotonic() - begin]), flush=True)
"""


class Running:
    """A process that runs one more stage whenever it is asked to."""

    def __init__(self, code: str, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", code + MEASURE],
            cwd=folder,
            env={**environment, "PYTHONPATH": f".{os.pathsep}{environment['PYTHONPATH']}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._answer("READY")

    def measure(self) -> Cost:
        """Run one more stage."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        cpu, wall = json.loads(self._answer("MEASURED"))
        return cpu, wall

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=30)

    def _answer(self, word: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(word):
                return line.removeprefix(word)
        raise RuntimeError(f"it ended with exit code {self._process.wait()}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement")
    parser.add_argument("--inside", action="store_true", help="only (a)")
    options = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {options.repeats} repeats\n")
    with tempfile.TemporaryDirectory(prefix="stages-") as name:
        root = Path(name).resolve()
        prepared = {}
        for way in ways.WAYS:
            folder = root / way.title.replace(" ", "-")
            folder.mkdir()
            prepared[way.title] = (folder, way.prepare(folder, CELLS, {}))
        script = root / "script"
        script.mkdir()
        (script / "notebook.py").write_text("\n".join(CELLS) + "\n", "utf-8")
        prepared["plain script"] = (
            script,
            ways.Prepared([sys.executable, "notebook.py"], ways.environment()),
        )
        codes = {
            "plain script": SCRIPT,
            "plain papermill": PAPERMILL,
            "plain dagstermill": DAGSTERMILL,
            "DATAFLOW": OURS,
        }
        folder, ours = prepared["DATAFLOW"]
        running = {
            title: Running(code, prepared[title][0], prepared[title][1].environment)
            for title, code in codes.items()
        }
        running["DATAFLOW, --only"] = Running(OUR_RUN, folder, ours.environment)
        make_longer(folder)
        one, longer = (
            Running(f"WORKFLOW = {name!r}\n{OUR_RUNS}", folder, ours.environment)
            for name in ("compare", "longer")
        )
        try:
            inside = {title: process.measure for title, process in running.items()}
            inside["DATAFLOW, in a run"] = difference(one, longer)
            show("(a) one more stage inside a running process", inside, options.repeats, base=PLAIN)
        finally:
            for process in (*running.values(), one, longer):
                process.close()
        if options.inside:
            return
        shell = {
            title: command(
                prepared[title][1].command, prepared[title][0], prepared[title][1].environment
            )
            for title in codes
        }
        show("(b) the whole command from the shell", shell, options.repeats, base=PLAIN)


def make_longer(folder: Path) -> None:
    """Beside the workflow `compare` of one stage make `longer`, with copies of that stage."""
    notebook = folder / "notebooks" / "compare" / "notebook.ipynb"
    longer = folder / "notebooks" / "longer"
    longer.mkdir()
    config = {"workflow": {"name": "Longer"}, "stages": []}
    for number in range(1 + MORE):
        shutil.copy(notebook, longer / f"stage{number}.ipynb")
        config["stages"].append({"notebook": f"stage{number}.ipynb"})
    (longer / "config.yaml").write_text(json.dumps(config), "utf-8")  # JSON is YAML


def difference(one: Running, longer: Running) -> Callable[[], Cost]:
    """What each of the stages costs that only the longer workflow has."""

    def measure() -> Cost:
        whole, rest = longer.measure(), one.measure()
        return (whole[0] - rest[0]) / MORE, (whole[1] - rest[1]) / MORE

    return measure


if __name__ == "__main__":
    main()
