"""The configuration of a Python workflow's ops: what its job sets, and what a run chooses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataflow.base.words import nearest
from dataflow.errors import ConfigurationError, ParameterError, Problem
from dataflow.orchestration import names
from dataflow.orchestration.python_graph import is_op
from dataflow.project import Project
from dataflow.workflows.model import Workflow
from dataflow.workflows.python_workflow import load_registration

Values = dict[str, dict[str, Any]]  # by op and field


def job_config(
    project: Project, workflow: Workflow, chosen: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any] | None:
    """The run configuration of the workflow's Dagster job: its author's, with the chosen values.

    Raises:
        ConfigurationError: the author's is a function, which cannot be merged with anything.
    """
    job = load_registration(project, workflow).job
    if job.run_config is None and job.config_mapping is not None:
        raise ConfigurationError(
            f"the job of {workflow.id} computes its configuration with a function",
            where=project.relative(workflow.folder / "dagster_job.py"),
            hint="Give `config=` a dictionary, or read load_config() in the ops.",
        )
    config = {key: value for key, value in (job.run_config or {}).items() if key != "ops"}
    ops = {name: dict(part) for name, part in (job.run_config or {}).get("ops", {}).items()}
    for name, values in (chosen or {}).items():
        part = ops.setdefault(name, {})
        part["config"] = {**(part.get("config") or {}), **values}
    if ops:
        config["ops"] = {names.op_name(workflow.id, names.JOB): {"ops": ops}}
    return config or None


def op_config(
    project: Project, workflow: Workflow, chosen: Mapping[str, Mapping[str, Any]]
) -> Values:
    """The configuration of each op that has one: its author's, with the chosen values."""
    config = job_config(project, workflow, chosen) or {}
    ops = config.get("ops", {}).get(names.op_name(workflow.id, names.JOB), {}).get("ops", {})
    return {name: part["config"] for name, part in ops.items() if part.get("config")}


def op_values(project: Project, workflow: Workflow, parameters: Mapping[str, Any]) -> Values:
    """Check the values chosen for a run against the ops' configuration.

    Args:
        project: the project.
        workflow: a Python workflow.
        parameters: values by name; a name goes to every op whose configuration has that field,
            and `op.name` to that op only. Text is read as YAML, where the field is not text.

    Raises:
        ParameterError: a name that no op knows, a value of the wrong type, or a missing one.
    """
    job = load_registration(project, workflow).job
    ops = {node.name: node.definition for node in job.graph.nodes if is_op(node)}
    values: Values = {}
    problems: list[Problem] = []
    for name, value in parameters.items():
        op, _, bare = name.rpartition(".")
        takers = [o for o in ops if op in ("", o) and bare in _fields(ops[o])]
        if op and op not in ops:
            problems.append(Problem(f"there is no op `{op}`", hint=nearest(op, ops)))
        elif not takers:
            known = {field for definition in ops.values() for field in _fields(definition)}
            where = f"op `{op}`" if op else f"no op of {workflow.id}"
            problems.append(
                Problem(
                    f"{where} has{' no' if op else ' a'} parameter `{bare}`",
                    hint=nearest(bare, known) or "None of the ops has a config_schema.",
                )
            )
        for taker in takers:
            values.setdefault(taker, {})[bare] = _read(value, _fields(ops[taker])[bare])
    set_already = (job.run_config or {}).get("ops", {})
    for name, definition in ops.items():
        config = {**((set_already.get(name) or {}).get("config") or {}), **values.get(name, {})}
        problems += _problems(name, definition, config)
    if problems:
        raise ParameterError(
            f"the parameters of workflow {workflow.id} are not right; nothing was run",
            problems=problems,
            root=project.root,
        )
    return values


def _fields(definition: Any) -> dict[str, Any]:
    config_type = getattr(definition.config_schema, "config_type", None)
    return dict(getattr(config_type, "fields", None) or {})


def _read(value: Any, field: Any) -> Any:
    """Text from the command line as what the field takes."""
    import yaml

    if not isinstance(value, str) or getattr(field.config_type, "given_name", "") == "String":
        return value
    try:
        return yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):  # 2024-13-45 is a date to YAML
        return value


def _problems(name: str, definition: Any, config: dict[str, Any]) -> list[Problem]:
    from dagster._config import process_config

    if not _fields(definition):
        return []
    result = process_config(definition.config_schema.config_type, config)
    return [Problem(f"op `{name}`: {error.message}") for error in result.errors or []]
