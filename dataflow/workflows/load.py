"""Read `config.yaml` and the notebooks beside it as a `Workflow`, with everything that is wrong."""

from __future__ import annotations

import re
from collections.abc import Collection
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from dataflow.base.sql import TableName, split_table
from dataflow.base.words import nearest
from dataflow.errors import Problem
from dataflow.workflows.ids import STEPS_THAT_FOLLOW, workflow_id_problem
from dataflow.workflows.model import (
    REVIEW_FORMS,
    Stage,
    StageSection,
    Workflow,
    WorkflowConfig,
    WorkflowSection,
)
from dataflow.workflows.python_workflow import JOB_FILE, PythonWorkflow
from dataflow.workflows.schedule import cron_problem
from dataflow.workflows.yaml_file import Location, YamlFile, read_yaml

SCRATCH = re.compile(r"Untitled\d*|.*-Copy\d+")  # as JupyterLab calls new notebooks and copies
TABLE = re.compile(r"(?:[a-z_][a-z0-9_]*\.)?[a-z_][a-z0-9_]*\Z")


def load_workflow(
    folder: Path, text: str | None = None, planned: Collection[str] = ()
) -> tuple[Workflow | None, list[Problem]]:
    """Read the workflow in `folder`.

    Args:
        folder: the folder.
        text: what its config.yaml is going to be, in place of what it is.
        planned: notebooks that are going to be there.

    Returns:
        The workflow (None when it cannot be built) and all problems of its configuration, not
        just the first.
    """
    file = read_yaml(folder / "config.yaml", text)
    problems = list(file.problems)
    if name_problem := workflow_id_problem(folder.name):
        problems.append(Problem(name_problem, folder, hint="Rename the folder."))
    if file.problems:
        return None, problems
    config = _validate(file, problems)
    if config is None:
        return None, problems
    problems += _schedule_problems(file, config.workflow)
    stages = _stages(folder, file, config, problems, planned)
    if problems:
        return None, problems
    kind = PythonWorkflow if (folder / JOB_FILE).is_file() else Workflow
    return kind(folder.name, folder, config, tuple(stages)), []


def _validate(file: YamlFile, problems: list[Problem]) -> WorkflowConfig | None:
    if not isinstance(file.data, dict):
        problems.append(
            Problem(
                "the file is not a mapping" if file.data is not None else "the file is empty",
                file.path,
                1,
                'Start it with "workflow:" and, below it, "name:".',
            )
        )
        return None
    try:
        return WorkflowConfig.model_validate(file.data)
    except ValidationError as error:
        for detail in error.errors():
            problems.append(_in_words(file, detail))
        return None


def _in_words(file: YamlFile, detail: Any) -> Problem:
    """One of pydantic's errors, as a sentence with a line and a hint."""
    # Union members put their class's name into the location; files have no such key.
    location: Location = tuple(
        part
        for index, part in enumerate(detail["loc"])
        if not (isinstance(part, str) and part in {"IngestionSource", "str"} and index)
    )
    shown = ".".join(str(part) for part in location)
    kind = detail["type"]
    if kind == "extra_forbidden":
        allowed = (
            StageSection.model_fields if location[0] == "stages" else WorkflowSection.model_fields
        )
        key = str(location[-1])
        # The other keys of the mapping are taken.
        free = [name for name in allowed if (*location[:-1], name) not in file.lines]
        text = f"`{shown}` is not a known key"
        return file.problem(text, location, nearest(key, allowed), key, free)
    if kind == "missing":
        hint = f"Add `{location[-1]}:`."
        return file.problem(f"`{shown}` is missing", location[:-1] or location, hint)
    value = detail["input"]
    if isinstance(value, (dict, list, BaseModel)):
        value = type(value).__name__
    return file.problem(f"`{shown}`: {detail['msg']}, not {value!r}", location, _fix(kind))


def _fix(kind: str) -> str:
    """What to write in place of a value of the wrong kind; `kind` is pydantic's name for it."""
    if kind == "review":
        return f"Write {REVIEW_FORMS}."
    if kind.startswith("list"):
        return "Write a list: `[a, b]`, or one `- a` per line."
    if kind.startswith(("int", "float", "greater", "less")):
        return "Write a number: `timeout` is in seconds and above 0, `retries` is from 0 to 20."
    if kind.startswith(("dict", "model")):
        return "Write a mapping: `key: value`, one per line, indented below the key above."
    return "Write text; put it in quotes if it looks like a number or a date."


def _schedule_problems(file: YamlFile, workflow: WorkflowSection) -> list[Problem]:
    problems = []
    if workflow.schedule is not None and (reason := cron_problem(workflow.schedule)):
        problems.append(
            file.problem(
                f"`{workflow.schedule}` is not a cron schedule: {reason}",
                ("workflow", "schedule"),
                'Five fields: minute hour day month weekday; "0 6 * * *" is every day at 6:00.',
            )
        )
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(workflow.timezone)
    except (KeyError, ValueError, OSError):
        problems.append(
            file.problem(
                f"`{workflow.timezone}` is not a time zone",
                ("workflow", "timezone"),
                'Use a name like "UTC" or "Europe/Berlin".',
            )
        )
    return problems


def stage_notebooks(folder: Path) -> list[Path]:
    """The notebooks of a folder that are stages where `stages:` names none, in name order.

    Those that JupyterLab has just made or copied are scratch paper until they have a name.
    """
    return [path for path in sorted(folder.glob("*.ipynb")) if not SCRATCH.fullmatch(path.stem)]


def _stages(
    folder: Path,
    file: YamlFile,
    config: WorkflowConfig,
    problems: list[Problem],
    planned: Collection[str],
) -> list[Stage]:
    """The stages in an order in which each comes after what it depends on."""
    sections = config.stages
    if (folder / JOB_FILE).is_file():
        if sections:
            problems.append(
                file.problem(
                    f"a workflow with {JOB_FILE} has no `stages:`",
                    ("stages",),
                    f"Keep one of the two: `stages:` with notebooks, or {JOB_FILE} with ops.",
                )
            )
        return []  # notebooks beside it are for exploring
    if sections is None:
        sections = [StageSection(notebook=path.name) for path in stage_notebooks(folder)]
    names = [Path(section.notebook).stem for section in sections]
    stages: list[Stage] = []
    for index, section in enumerate(sections):
        location: Location = ("stages", index)
        name = names[index]
        problems += _notebook_problems(folder, file, section, location, planned)
        if name in names[:index]:
            problems.append(
                file.problem(f"stage `{name}` is given twice", location, "Keep one of the two.")
            )
        after = section.after
        if after is None:
            after = names[index - 1 : index] if index else []
        for other in after:
            if other not in names or other == name:
                reason = "itself" if other == name else f"`{other}`, which is not a stage"
                others = [n for n in names if n != name]
                text, where = f"stage `{name}` comes after {reason}", (*location, "after")
                problems.append(file.problem(text, where, nearest(other, others), other, others))
        writes = []
        for number, table in enumerate(section.writes):
            if not TABLE.match(table):
                problems.append(
                    file.problem(
                        f"`{table}` is not a table's name",
                        (*location, "writes", number),
                        "Use `table` or `schema.table`, in lower-case letters, digits and _.",
                    )
                )
            writes.append(split_table(table, folder.name))
        stages.append(
            Stage(
                folder.name,
                name,
                folder / section.notebook,
                section.parameters,
                tuple(writes),
                tuple(after),
                section.timeout,
                section.retries,
            )
        )
    problems += _table_problems(file, stages)
    return _in_order(file, stages, problems)


def _notebook_problems(
    folder: Path,
    file: YamlFile,
    section: StageSection,
    location: Location,
    planned: Collection[str],
) -> list[Problem]:
    where = (*location, "notebook")
    notebook = folder / section.notebook
    if notebook.suffix != ".ipynb" or notebook.parent != folder:
        return [
            file.problem(
                f"`{section.notebook}` is not a notebook here",
                where,
                "Name a file like `ingest.ipynb` in the workflow's own folder.",
            )
        ]
    if section.notebook not in planned and not notebook.is_file():
        name, others = section.notebook, [path.name for path in folder.glob("*.ipynb")]
        text = f"there is no notebook `{name}`"
        return [file.problem(text, where, nearest(name, others), name, others)]
    if reason := stage_name_problem(notebook.stem):
        hint = "Rename the file: its name becomes the stage's name, also in Dagster."
        return [file.problem(reason, where, hint)]
    return []


def stage_names(config: Any) -> list[str]:
    """The names of the stages that the content of a config.yaml lists; "" for what is none."""
    sections = config.get("stages") if isinstance(config, dict) else None
    notebooks = [
        section.get("notebook") if isinstance(section, dict) else None
        for section in (sections if isinstance(sections, list) else ())
    ]
    return [Path(name).stem if isinstance(name, str) else "" for name in notebooks]


def stage_name_problem(name: str) -> str | None:
    """Why `name` cannot be a stage's name, or None when it can."""
    if not IDENTIFIER_STEM.match(name):
        return f"`{name}` is not a name of letters, digits and _"
    if name in STEPS_THAT_FOLLOW:
        return f"a stage cannot be called `{name}`: every workflow has such a step after its stages"
    return None


IDENTIFIER_STEM = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def _table_problems(file: YamlFile, stages: list[Stage]) -> list[Problem]:
    owners: dict[TableName, str] = {}
    problems = []
    for index, stage in enumerate(stages):
        for table in stage.writes:
            if table in owners:
                problems.append(
                    file.problem(
                        f"table `{table}` is written by `{owners[table]}` and `{stage.name}`",
                        ("stages", index, "writes"),
                        "Only one stage may write a table.",
                    )
                )
            owners[table] = stage.name
    return problems


def _in_order(file: YamlFile, stages: list[Stage], problems: list[Problem]) -> list[Stage]:
    by_name = {stage.name: stage for stage in stages}
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for stage in stages:
        sorter.add(stage.name, *(name for name in stage.after if name in by_name))
    try:
        return [by_name[name] for name in sorter.static_order()]
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        problems.append(
            file.problem(
                f"the stages wait for each other: {circle}", ("stages",), "Break the circle."
            )
        )
        return stages
