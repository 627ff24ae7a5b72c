"""The workflow `earthquakes` without DATAFLOW's runs: by hand, under plain Dagster, under Ploomber.

Each does what a run does: the three notebooks, models and tests, the dashboard's data. None keeps
executed notebooks of earlier runs, publishes, or checks the dashboard's queries.
"""

from __future__ import annotations

import atexit
import shlex
import shutil
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path

import nbformat
import ways
import yaml
from harness import Measure, Place, command, in_a_row, run

from dataflow.project import Project

STAGES = ("ingest", "transform", "explore")
MADE = shutil.ignore_patterns("target", "logs", "build", ".evidence", "node_modules", "debug")
PYTHON = [sys.executable, "-m"]
DATAFLOW = [*PYTHON, "dataflow"]
RUN = [*DATAFLOW, "workflow", "run", "earthquakes", "--quiet"]

DEFINITIONS = """\
import subprocess
from pathlib import Path

import dagster as dg
from dagster_dbt import DbtCliResource, DbtProject, dbt_assets
from dagstermill import ConfigurableLocalOutputNotebookIOManager, define_dagstermill_asset

here = Path(__file__).parent
root = here.parents[1]
models_project = DbtProject(root / "dbt", profiles_dir=root / "dbt")


def notebook(stage, name, deps):
    path = str(here / f"{stage}.ipynb")
    return define_dagstermill_asset(name, path, key_prefix="earthquakes", deps=deps)


ingest = notebook("ingest", "events", [])
transform = notebook("transform", "events_clean", [ingest])
explore = notebook("explore", "explored", [transform])


@dbt_assets(manifest=models_project.manifest_path, project=models_project)
def models(context: dg.AssetExecutionContext, dbt: DbtCliResource):
    yield from dbt.cli(["build"], context=context).stream()


@dg.asset(deps=[models])
def dashboard():
    subprocess.run(EVIDENCE, cwd=root / "evidence", check=True)


defs = dg.Definitions(
    assets=[ingest, transform, explore, models, dashboard],
    resources={
        "dbt": DbtCliResource(models_project),
        "output_notebook_io_manager": ConfigurableLocalOutputNotebookIOManager(
            base_dir=str(root / "output")
        ),
    },
)
"""


def earthquakes(place: Place, name: str) -> tuple[Project, dict[str, str]]:
    """A copy of the repository's example, as a project of its own, that has run once.

    Returns:
        The project, and the environment for commands in it. Pages are not built: that takes a
        minute, and is needed only when they changed.
    """
    root = place.folder / name
    root.mkdir()
    shutil.copy2(ways.REPOSITORY / "pyproject.toml", root)
    for part in ("notebooks", "dbt", "evidence"):
        shutil.copytree(ways.REPOSITORY / part, root / part, ignore=MADE)
    (root / "evidence" / "node_modules").symlink_to(ways.REPOSITORY / "evidence" / "node_modules")
    project = Project(root)
    environment = ways.environment(
        DATAFLOW_NO_BUILD="1",
        # For what is not DATAFLOW's: it sets these in its runs itself.
        DATAFLOW_WAREHOUSE_PATH=str(_by_hand(project)),
        DBT_SEND_ANONYMOUS_USAGE_STATS="false",
        DO_NOT_TRACK="1",
        SEND_ANONYMOUS_USAGE_STATS="no",
        PLOOMBER_STATS_ENABLED="false",
        PATH=f"{Path(sys.executable).parent}:{ways.environment()['PATH']}",
    )
    run(RUN, root, environment)
    return project, environment


def _by_hand(project: Project) -> Path:
    """The database of notebooks that are run by hand."""
    from dataflow.warehouse.layout import Layout

    return Layout.of(project).development


def by_hand(place: Place) -> Measure:
    """`papermill` for each notebook, `dbt build`, `evidence sources`: each a command."""
    project, environment = earthquakes(place, "by-hand")
    notebooks = project.notebooks / "earthquakes"
    parts = {
        stage: command(
            [*PYTHON, "papermill", f"{stage}.ipynb", f"../../{stage}.ipynb", "--cwd", "."],
            notebooks,
            environment,
        )
        for stage in STAGES
    }
    parts["dbt"] = command(dbt(), project.root, environment)
    parts["dashboard"] = command(sources(project), project.evidence, environment)
    return in_a_row(parts)


def dbt(verb: str = "build") -> list[str]:
    """The command of dbt, in a project's root."""
    return [*PYTHON, "dbt.cli.main", verb, "--project-dir", "dbt", "--profiles-dir", "dbt"]


def sources(project: Project) -> list[str]:
    """Evidence's own export, in the folder `evidence`."""
    return [str(project.evidence / "node_modules" / ".bin" / "evidence"), "sources"]


def with_dagster(place: Place) -> Measure:
    """`dagster asset materialize` of `define_dagstermill_asset`, `@dbt_assets` and Evidence."""
    project, environment, words = dagster_project(place)
    words = [*words, "asset", "materialize", "--select", "*", "-f", "definitions.py"]
    return command(words, project.notebooks / "earthquakes", environment)


def dagster_project(place: Place) -> tuple[Project, dict[str, str], list[str]]:
    """Plain Dagster's definitions of the example, in the folder of its notebooks.

    Returns:
        The project, the environment, and the first words of Dagster's command.
    """
    project, environment = earthquakes(place, "dagster")
    notebooks = project.notebooks / "earthquakes"
    for stage in STAGES:  # dagstermill would put its own cell in the parameters' place
        notebook = nbformat.read(notebooks / f"{stage}.ipynb", as_version=4)
        for cell in notebook.cells:
            cell.metadata.pop("tags", None)
        nbformat.write(notebook, notebooks / f"{stage}.ipynb")
    definitions = DEFINITIONS.replace("EVIDENCE", repr(sources(project)))
    (notebooks / "definitions.py").write_text(definitions, "utf-8")
    home = project.root / "dagster_home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", "utf-8")
    run(dbt("parse"), project.root, environment)
    return project, environment | {"DAGSTER_HOME": str(home)}, [*PYTHON, "dagster"]


def with_ploomber(place: Place) -> Measure:
    """`ploomber build` of the notebooks, and of two scripts for dbt and Evidence."""
    project, environment = earthquakes(place, "ploomber")
    notebooks = project.notebooks / "earthquakes"
    scripts = {
        "dbt": [*dbt()[:3], "build", "--project-dir", "../../dbt", "--profiles-dir", "../../dbt"],
        "dashboard": ["sh", "-c", f"cd ../../evidence && {shlex.join(sources(project))}"],
    }
    for name, words in scripts.items():
        # Ploomber insists on a script that names what comes before it.
        text = f"# after {{{{upstream}}}}\nset -e\n{shlex.join(words)}\ntouch {{{{product}}}}\n"
        (notebooks / f"{name}.sh").write_text(text, "utf-8")
    sources_of = {**{stage: f"{stage}.ipynb" for stage in STAGES}, **dict.fromkeys(scripts)}
    tasks, before = [], None
    for name, source in sources_of.items():
        task = {
            "name": name,
            "source": source or f"{name}.sh",
            "product": f"output/{source or name}",
            "upstream": before,
        }
        tasks.append(task | ({"static_analysis": "disable"} if source else {}))
        before = [name]
    return command(ploomber(notebooks, tasks), notebooks, environment)


def ploomber(folder: Path, tasks: list[dict[str, object]]) -> list[str]:
    """Write the file of a pipeline, and return the command that builds all of it."""
    meta = {"extract_upstream": False, "extract_product": False}
    text = yaml.safe_dump({"meta": meta, "tasks": tasks}, sort_keys=False)
    (folder / "pipeline.yaml").write_text(text, "utf-8")
    return [str(ploomber_environment() / "bin" / "ploomber"), "build", "--force"]


@cache
def ploomber_environment() -> Path:
    """An environment with Ploomber, which sees the packages of this one, in the same versions."""
    folder = Path(tempfile.mkdtemp(prefix="bench-ploomber-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    environment = ways.environment()
    run([*PYTHON, "venv", str(folder)], folder, environment)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "these.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    install = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "ploomber==0.23.3",
    ]
    try:
        run(install, folder, environment)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder
