"""Three ways to run one notebook, each as its own documentation has it: for the benchmarks."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml

REPOSITORY = Path(__file__).parents[1]
_FOREIGN = ("DATAFLOW_", "DAGSTER_", "DBT_")  # of a run that surrounds this one

PYPROJECT = '[tool.dataflow]\n\n[tool.dagster]\nmodule_name = "dataflow.definitions"\n'

DEFINITIONS = """\
import os

from dagster import Definitions, Field
from dagstermill import ConfigurableLocalOutputNotebookIOManager, define_dagstermill_asset

home = os.path.dirname(os.path.abspath(__file__))
notebook = define_dagstermill_asset(
    name="notebook",
    notebook_path=os.path.join(home, "notebook.ipynb"),
    config_schema={
        "minimum": Field(float, is_required=False), "token": Field(str, is_required=False)
    },
    save_notebook_on_failure=True,
)
defs = Definitions(
    assets=[notebook],
    resources={
        "output_notebook_io_manager": ConfigurableLocalOutputNotebookIOManager(
            base_dir=os.path.join(home, "output")
        )
    },
)
"""


@dataclass(frozen=True)
class FromEnvironment:
    """A parameter's value that is in an environment variable: a secret."""

    variable: str


@dataclass(frozen=True)
class Prepared:
    """A folder made ready: the command that runs the notebook, and its environment."""

    command: list[str]
    environment: dict[str, str]


@dataclass(frozen=True)
class Way:
    """One way to run a notebook.

    Args:
        title: what the table calls it.
        prepare: makes a folder ready, of cells and values.
    """

    title: str
    prepare: Callable[[Path, Sequence[Any], Mapping[str, Any]], Prepared]


def parameters(source: str) -> Any:
    """A cell tagged `parameters`."""
    return nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})


def write_notebook(path: Path, cells: Sequence[Any]) -> Path:
    """Write a notebook: text is a code cell, a node stays what it is."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(c) if isinstance(c, str) else c for c in cells],
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def environment(**more: str) -> dict[str, str]:
    """This process's environment, without what a run or a shell around it left in there."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith(_FOREIGN)}
    path = os.pathsep.join(filter(None, [str(REPOSITORY), kept.get("PYTHONPATH")]))
    return {**kept, "PYTHONPATH": path, "NO_COLOR": "1", **more}


def with_papermill(folder: Path, cells: Sequence[Any], values: Mapping[str, Any]) -> Prepared:
    """`papermill notebook.ipynb executed.ipynb -p …`: a secret is given like any value."""
    write_notebook(folder / "notebook.ipynb", cells)
    command = [sys.executable, "-m", "papermill", "notebook.ipynb", "executed.ipynb"]
    command += ["--no-progress-bar", "--cwd", "."]
    given = []
    for name, value in values.items():
        text = f'"${value.variable}"' if isinstance(value, FromEnvironment) else str(value)
        given.append(f"-p {name} {text}")
    if given:  # through a shell, which is where the secret is put in
        command = ["sh", "-c", f'exec "$@" {" ".join(given)}', "sh", *command]
    return Prepared(command, environment())


def with_dagstermill(folder: Path, cells: Sequence[Any], values: Mapping[str, Any]) -> Prepared:
    """`dagster asset materialize` of a `define_dagstermill_asset`: values are its config."""
    if values:  # the notebook takes them from the context, which is all that it is given
        take = "\n".join(f"{name} = context.op_config[{name!r}]" for name in values)
        cells = [cells[0], take, *cells[1:]]
    write_notebook(folder / "notebook.ipynb", cells)
    (folder / "definitions.py").write_text(DEFINITIONS, "utf-8")
    home = folder / "dagster_home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", "utf-8")
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "--select", "notebook"]
    command += ["-f", "definitions.py"]
    if values:
        # Dagster's {"env": NAME} comes to a notebook as it is, so the shell puts the secret in.
        config = {
            name: f"${value.variable}" if isinstance(value, FromEnvironment) else value
            for name, value in values.items()
        }
        text = json.dumps({"ops": {"notebook": {"config": config}}}).replace('"', '\\"')
        command = ["sh", "-c", f'exec "$@" --config-json "{text}"', "sh", *command]
    return Prepared(command, environment(DAGSTER_HOME=str(home)))


def with_dataflow(folder: Path, cells: Sequence[Any], values: Mapping[str, Any]) -> Prepared:
    """`dataflow workflow run`: a secret is named in config.yaml, other values are given."""
    (folder / "pyproject.toml").write_text(PYPROJECT, "utf-8")
    home = folder / "notebooks" / "compare"
    write_notebook(home / "notebook.ipynb", cells)
    secrets = {n: f"${{{v.variable}}}" for n, v in values.items() if isinstance(v, FromEnvironment)}
    config = {
        "workflow": {"name": "Compare"},
        "stages": [{"notebook": "notebook.ipynb", "parameters": secrets}],
    }
    (home / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    command = [sys.executable, "-m", "dataflow", "workflow", "run", "compare"]
    for name, value in values.items():
        if name not in secrets:
            command += ["-p", name, str(value)]
    return Prepared(command, environment())


WAYS = [
    Way("plain papermill", with_papermill),
    Way("plain dagstermill", with_dagstermill),
    Way("DATAFLOW", with_dataflow),
]
