"""Small projects of real notebooks for tests, and ways to run and watch them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import psutil
import yaml
from warm import run_warm

from dataflow.dashboard.build import built_hash, pages_hash
from dataflow.dashboard.install import installed_hash, packages_hash
from dataflow.project import Project

REPOSITORY = Path(__file__).parents[2]
# What a surrounding run or shell would otherwise hand down to a test's project.
_FOREIGN = ("DATAFLOW_", "DAGSTER_", "DBT_", "EVIDENCE_", "PYTEST_CURRENT_TEST")

Cells = Sequence[Any]
# How many times as many kills, full disks and sequences of actions are tried as usual.
CAMPAIGN = int(os.environ.get("DATAFLOW_TEST_CAMPAIGN", "1"))
PATIENCE = 180  # seconds for what takes a moment on a quiet machine
DATAFLOW = [sys.executable, "-m", "dataflow"]


def parameters(source: str) -> dict[str, Any]:
    """A cell tagged `parameters`."""
    return nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})


def markdown(source: str) -> dict[str, Any]:
    """A markdown cell."""
    return nbformat.v4.new_markdown_cell(source)


def write_notebook(path: Path, cells: Cells, *, kernel: str = "python3") -> Path:
    """Write a notebook of `cells` to `path`: text is a code cell, a node stays what it is."""
    nodes = [nbformat.v4.new_code_cell(c) if isinstance(c, str) else c for c in cells]
    nb = nbformat.v4.new_notebook(cells=nodes)
    nb.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
    nb.metadata["language_info"] = {"name": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, path)
    return path


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write texts into the files of these names below `folder`, and make the folders they are in."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


@dataclass
class Workflow:
    """A workflow to put into a project: its notebooks by stage, and what config.yaml holds."""

    notebooks: Mapping[str, Cells]
    stages: list[dict[str, Any]] | None = None
    config: dict[str, Any] = field(default_factory=dict)


def make_project(folder: Path, workflows: Mapping[str, Workflow | Mapping[str, Cells]]) -> Project:
    """Make a project in `folder`.

    Args:
        folder: becomes the root; made when missing.
        workflows: by id; plain notebooks by stage are a workflow without more configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(
        "[tool.dataflow]\n\n"
        '[tool.dagster]\nmodule_name = "dataflow.definitions"\ncode_location_name = "dataflow"\n',
        encoding="utf-8",
    )
    project = Project(folder.resolve())
    for workflow_id, workflow in workflows.items():
        add_workflow(project, workflow_id, workflow)
    return project


def add_workflow(
    project: Project, workflow_id: str, workflow: Workflow | Mapping[str, Cells]
) -> None:
    """Put a workflow into a project; plain notebooks by stage have no more configuration."""
    if not isinstance(workflow, Workflow):
        workflow = Workflow(workflow)
    home = project.notebooks / workflow_id
    home.mkdir(parents=True)
    config: dict[str, Any] = {"workflow": {"name": workflow_id}, **workflow.config}
    if workflow.stages is not None:
        config["stages"] = workflow.stages
    (home / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    for stage, cells in workflow.notebooks.items():
        write_notebook(home / f"{stage}.ipynb", cells)


def copy_dbt(project: Project) -> None:
    """Copy the repository's dbt project without its models and tests."""
    for part in ("dbt_project.yml", "profiles.yml", "macros/generate_schema_name.sql"):
        (project.dbt / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / "dbt" / part, project.dbt / part)


def copy_repository(target: Path, built: Path | None = None) -> Project:
    """Copy the files that git knows of or would, as they are now.

    Args:
        target: the folder to make.
        built: a folder with built pages to take over.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        source = REPOSITORY / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    project = Project(target)
    link_packages(project)
    if built is not None and built_hash(Project(built)) == pages_hash(project):
        shutil.copytree(built / "evidence" / "build", project.evidence / "build")
    return project


def link_packages(project: Project) -> None:
    """Use Evidence's packages of the repository where they are installed: that takes a minute."""
    if installed_hash(Project(REPOSITORY)) == packages_hash(Project(REPOSITORY)):
        (project.evidence / "node_modules").symlink_to(REPOSITORY / "evidence" / "node_modules")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment as a person in another project would have it."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith(_FOREIGN)}
    # The tested code is the checkout's, wherever the command is run.
    kept["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), kept.get("PYTHONPATH", "")]).rstrip(":")
    return {**kept, "COLUMNS": "200", "NO_COLOR": "1", **(extra or {})}


def dataflow(
    project: Project, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run the command `dataflow` in `project` to its end."""
    return run_warm(arguments, project.root, environment(env), timeout)


def start_dataflow(
    project: Project, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start the command `dataflow` in `project`, in a process group of its own."""
    return subprocess.Popen(
        [*DATAFLOW, *arguments],
        cwd=project.root,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def processes_of(project: Project) -> list[psutil.Process]:
    """Every process that works for `project`, apart from this one: told by its environment."""
    return [
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid()
        if variables_of(process).get("DATAFLOW_PROJECT") == str(project.root)
    ]


def kernels_of(project: Project, **variables: str) -> list[psutil.Process]:
    """The kernels that run stages of `project`, and what those kernels started.

    Args:
        project: the project.
        variables: only those that have these in their environment, as `DATAFLOW_STAGE`.
    """
    return [
        process
        for process in processes_of(project)
        if (found := variables_of(process)).get("DATAFLOW_RUN_ID")
        if variables.items() <= found.items()
    ]


def variables_of(process: psutil.Process) -> dict[str, str]:
    """A process's environment; none for one that has ended."""
    try:
        return {} if process.status() == psutil.STATUS_ZOMBIE else process.environ()
    except psutil.Error:
        return {}


def command_of(process: psutil.Process) -> str:
    """What a process was started as; nothing for one that has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended; one that nobody has asked for its exit code has, too."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def free_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(what: Any, seconds: float = PATIENCE, *, every: float = 0.1) -> Any:
    """Wait until `what()` is truthy, return that; fails after `seconds`, long on any machine."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"waited {seconds:g} s in vain"
        time.sleep(every)
    return found


def executed(project: Project, workflow: str, stage: str) -> Any:
    """The executed notebook of `stage` in the newest run of `workflow`."""
    return nbformat.read(run_folder(project, workflow) / f"{stage}.ipynb", as_version=4)


def run_folder(project: Project, workflow: str) -> Path:
    """The folder of the newest run of `workflow`."""
    return max(project.runs.glob(f"{workflow}/*"), key=lambda path: path.stat().st_ctime)


def run_data(project: Project, workflow: str) -> dict[str, Any]:
    """The content of `run.json` of the newest run of `workflow`."""
    return json.loads((run_folder(project, workflow) / "run.json").read_text("utf-8"))


def statuses(nb: Any) -> list[str]:
    """The status of each code cell of an executed notebook."""
    return [c.metadata.papermill.status for c in nb.cells if c.cell_type == "code"]


def error_of(nb: Any) -> Any:
    """The one error output of an executed notebook."""
    errors = [
        output
        for cell in nb.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]
    assert len(errors) == 1, errors
    return errors[0]


def text_of(cell: Any, name: str = "stdout") -> str:
    """What a cell printed."""
    return "".join(out.text for out in cell.outputs if out.get("name") == name)
