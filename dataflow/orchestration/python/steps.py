"""The steps of a workflow written in Python: the ops of its job."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from dataflow.dbt.project import has_models, models_of, read_manifest
from dataflow.engine.secrets import Scrubber
from dataflow.errors import ConfigurationError, Problem
from dataflow.orchestration import dagster_names as names
from dataflow.orchestration.code_version import job_version
from dataflow.orchestration.steps import StepInfo, Values, WorkflowSteps
from dataflow.variables import secrets_of
from dataflow.workflows.python_workflow import load_registration

Key = tuple[str, ...]


class PythonSteps(WorkflowSteps):
    """Each op is a step; a last one reports to Dagster the tables that they made."""

    word = "op"

    @property
    def registration(self) -> Any:
        """The job, and what its author says about it.

        Raises:
            ConfigurationError: it cannot be imported.
        """
        return load_registration(self.project, self.workflow)

    def own(self) -> list[StepInfo]:
        graph = self.registration.job.graph
        steps = _steps(graph, "", ())
        waited_for = {name for step in steps for name in step.after}
        ends = tuple(step.name for step in steps if step.name not in waited_for)
        return [*steps, StepInfo(tables_name(graph), names.TABLES, ends)]

    def own_keys(self, step: str) -> list[list[str]]:
        return self.last_keys()  # the ops make them together

    def last_keys(self) -> list[list[str]]:
        return [list(key) for key in self.outputs()]

    def outputs(self) -> dict[Key, set[Key]]:
        """The assets that the job makes, each with those it is made from.

        They are the tables that the dbt sources name in the workflow's raw schema and, where
        the job builds the models, the models; one for the job itself when there are none.
        """
        workflow = self.workflow
        found: dict[Key, set[Key]] = {}
        if has_models(self.project, workflow.id):
            manifest = read_manifest(self.project, workflow)
            known: dict[str, Key] = {
                name: (node["schema"], node["identifier"])
                for name, node in manifest["sources"].items()
                if node["schema"] == workflow.raw_schema
            }
            found = {key: set() for key in known.values()}
            if workflow.builds_models:
                models = models_of(manifest, workflow)
                known |= {name: (node["schema"], node["alias"]) for name, node in models.items()}
                for name, node in models.items():
                    before = node.get("depends_on", {}).get("nodes", [])
                    found[known[name]] = {known[other] for other in before if other in known}
        return found or {("jobs", workflow.id): set()}

    def own_version(self, step: str, values: Any) -> str:
        return job_version(self.project, self.workflow, values)

    def values(self, step: StepInfo, chosen: Mapping[str, Mapping[str, Any]]) -> Any:
        if step.kind != "op":
            return None
        config = self.run_config(chosen) or {}
        own = config.get("ops", {}).get(self._job_op, {}).get("ops", {}).get(step.name, {})
        # As the record has it.
        scrubber = Scrubber(secrets_of(self.workflow.folder))
        return dict(scrubber.tree(copy.deepcopy(own.get("config") or {})))

    def check(self, parameters: Mapping[str, Any]) -> Values:
        """See `WorkflowSteps.check`; text is read as YAML, where the op's field is not text."""
        job = self.registration.job
        ops = {node.name: node.definition for node in job.graph.nodes if is_op(node)}
        fields = {name: _fields(definition) for name, definition in ops.items()}
        values, problems = self.route(fields, parameters)
        for op, chosen in values.items():
            values[op] = {name: _read(value, fields[op][name]) for name, value in chosen.items()}
        set_already = (job.run_config or {}).get("ops", {})
        for name, definition in ops.items():
            config = {**((set_already.get(name) or {}).get("config") or {}), **values.get(name, {})}
            problems += _problems(name, definition, config)
        self.refuse(problems)
        return values

    def run_config(
        self, chosen: Mapping[str, Mapping[str, Any]], steps: list[str] | None = None
    ) -> dict[str, Any] | None:
        """See `WorkflowSteps.run_config`: the author's configuration, with the chosen values.

        Raises:
            ConfigurationError: the author's is a function, which cannot be merged with anything.
        """
        job = self.registration.job
        if job.run_config is None and job.config_mapping is not None:
            raise ConfigurationError(
                f"the job of {self.workflow.id} computes its configuration with a function",
                where=self.project.relative(self.workflow.folder / "dagster_job.py"),
                hint="Give `config=` a dictionary, or read load_config() in the ops.",
            )
        config = {key: value for key, value in (job.run_config or {}).items() if key != "ops"}
        ops = {name: dict(part) for name, part in (job.run_config or {}).get("ops", {}).items()}
        for name, values in chosen.items():
            part = ops.setdefault(name, {})
            part["config"] = {**(part.get("config") or {}), **values}
        if ops:
            config["ops"] = {self._job_op: {"ops": ops}}
        return config or None

    def own_assets(self) -> list[Any]:
        from dataflow.orchestration.python.job import job_asset

        return [job_asset(self)]

    def require_alone(self, step: str) -> None:
        if step in {info.name for info in self.own()}:
            raise ConfigurationError(
                f"`{step}` cannot be run by itself: the ops of {self.workflow.id} are one job",
                hint="Run the workflow; --changed leaves the job out if its code has not changed.",
            )

    @property
    def _job_op(self) -> str:
        return names.op_name(self.workflow.id, names.JOB)


def tables_name(graph: Any) -> str:
    """The name of the last op, unless the job has one of that name already."""
    name = names.TABLES
    while name in graph.node_dict:
        name += "_"
    return name


def last_nodes(graph: Any) -> list[Any]:
    """The nodes of a graph that no other waits for."""
    structure = graph.dependency_structure
    return [
        node
        for node in graph.nodes
        if not structure.output_to_downstream_inputs_for_node(node.name)
    ]


def is_op(node: Any) -> bool:
    """Whether a node of a graph is an op, and not a graph of its own."""
    import dagster as dg

    return isinstance(node.definition, dg.OpDefinition)


def _steps(graph: Any, prefix: str, before: tuple[str, ...]) -> list[StepInfo]:
    """The ops of `graph` and the graphs inside it; `before`: what the graph itself waits for."""
    found: list[StepInfo] = []
    structure = graph.dependency_structure
    for node in graph.nodes_in_topological_order:
        upstream = {
            output.node_name
            for outputs in structure.input_to_upstream_outputs_for_node(node.name).values()
            for output in outputs
        }
        after = tuple(
            step.name
            for step in found
            if any(
                step.name == prefix + up or step.name.startswith(f"{prefix}{up}.")
                for up in upstream
            )
        )
        if is_op(node):
            found.append(StepInfo(prefix + node.name, "op", after or before))
        else:
            found += _steps(node.definition, f"{prefix}{node.name}.", after or before)
    return found


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
