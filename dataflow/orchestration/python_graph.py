"""The ops of a Python workflow's job: which there are, and what each waits for."""

from __future__ import annotations

from typing import Any

from dataflow.orchestration import names
from dataflow.project import Project
from dataflow.workflows.model import Workflow
from dataflow.workflows.python_workflow import load_registration


def op_steps(project: Project, workflow: Workflow) -> list[tuple[str, str, tuple[str, ...]]]:
    """The steps of the workflow's job: each one's name, kind, and the steps it waits for.

    The last one is that which tells Dagster of the tables.

    Raises:
        ConfigurationError: the job cannot be imported.
    """
    graph = load_registration(project, workflow).job.graph
    found = _steps(graph, "", ())
    waited_for = {name for _, _, after in found for name in after}
    ends = tuple(name for name, _, _ in found if name not in waited_for)
    return [*found, (tables_name(graph), names.TABLES, ends)]


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


def _steps(
    graph: Any, prefix: str, before: tuple[str, ...]
) -> list[tuple[str, str, tuple[str, ...]]]:
    """The ops of `graph` and the graphs inside it; `before`: what the graph itself waits for."""
    found: list[tuple[str, str, tuple[str, ...]]] = []
    structure = graph.dependency_structure
    for node in graph.nodes_in_topological_order:
        upstream = {
            output.node_name
            for outputs in structure.input_to_upstream_outputs_for_node(node.name).values()
            for output in outputs
        }
        after = tuple(
            name
            for name, _, _ in found
            if any(name == prefix + up or name.startswith(f"{prefix}{up}.") for up in upstream)
        )
        if is_op(node):
            found.append((prefix + node.name, "op", after or before))
        else:
            found += _steps(node.definition, f"{prefix}{node.name}.", after or before)
    return found
