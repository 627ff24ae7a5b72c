"""A workflow written in Python as Dagster assets: its job's ops, and the tables they make."""

import asyncio
import functools
import inspect
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg

from dataflow.base.sql import TableName
from dataflow.orchestration import dagster_names as names
from dataflow.orchestration.python.op import op_step, summary
from dataflow.orchestration.python.steps import PythonSteps, last_nodes, tables_name
from dataflow.orchestration.step import recorded_step
from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection
from dataflow.stages.result import plain
from dataflow.workflows.model import Workflow


def job_asset(steps: PythonSteps) -> Any:
    """The assets that the job of a Python workflow makes, with its ops inside.

    Every op is recorded as a step of the run; after the last one, a step reports to Dagster the
    tables that the job wrote.

    Raises:
        ConfigurationError: the job cannot be imported, or no step can follow its ops.
    """
    project, workflow, registration = steps.project, steps.workflow, steps.registration
    job = registration.job
    outputs = steps.outputs()
    ports = {key: f"table_{number}" for number, key in enumerate(outputs)}
    tables = _tables_op(steps, tables_name(job.graph), ports)
    ops = _Ops(steps, job.op_retry_policy)
    graph = _recorded_graph(ops, job.graph, tables, ports)
    description = registration.description or workflow.config.workflow.description or workflow.name

    def each(value: Any) -> dict[str, Any]:
        return dict.fromkeys(ports.values(), value)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # `resource_defs` is in beta
        return dg.AssetsDefinition.from_graph(
            graph,
            keys_by_output_name={port: dg.AssetKey(key) for key, port in ports.items()},
            internal_asset_deps={
                ports[key]: {dg.AssetKey(other) for other in before}
                for key, before in outputs.items()
            },
            group_name=workflow.id,
            resource_defs=_own_resources(job) or None,
            descriptions_by_output_name=each(description),
            metadata_by_output_name=each(
                {key: plain(value) for key, value in registration.metadata.items()}
                | {"job": project.relative(workflow.folder / "dagster_job.py")}
            ),
            code_versions_by_output_name=each(steps.version(names.TABLES)),
            owners_by_output_name=each(names.owners(workflow.config.workflow.owner) or []),
            tags_by_output_name=each(
                names.tags(workflow.config.workflow.tags) | {"dagster/kind/python": ""}
            ),
            hook_defs=job.hook_defs or None,
        )


def _own_resources(job: Any) -> dict[str, Any]:
    """The resources the author gave the job; Dagster adds its default one to every job."""
    from dagster._core.definitions.job_definition import default_job_io_manager

    return {
        key: resource
        for key, resource in job.resource_defs.items()
        if resource is not default_job_io_manager
    }


@dataclass(frozen=True)
class _Ops:
    """What all ops of a job have in common."""

    steps: PythonSteps
    retry_policy: Any  # the job's, for ops that have none of their own

    def name(self, own: str) -> str:
        """The name in Dagster of one of the author's ops or graphs."""
        return names.op_name(self.steps.workflow.id, own)


def _recorded_graph(ops: _Ops, graph: Any, tables: Any, ports: Any) -> Any:
    """The author's graph with recorded ops, followed by the step that reports its tables."""
    alias = tables_name(graph)
    dependencies = _renamed(ops, graph)
    dependencies[dg.NodeInvocation(tables.name, alias)] = {
        "after": dg.MultiDependencyDefinition(
            [
                dg.DependencyDefinition(node.name, node.definition.output_defs[0].name)
                for node in last_nodes(graph)
                if node.definition.output_defs
            ]
        )
    }
    return dg.GraphDefinition(
        ops.name(names.JOB),
        description=graph.description,
        node_defs=[*_recorded(ops, graph.node_defs), tables],
        dependencies=dependencies,
        output_mappings=[
            dg.OutputMapping(
                graph_output_name=port, mapped_node_name=alias, mapped_node_output_name=port
            )
            for port in ports.values()
        ],
    )


def _renamed(ops: _Ops, graph: Any) -> dict[Any, Any]:
    """The dependencies of `graph` between ops whose definitions bear the workflow's name.

    Dagster wants one definition per name in the whole project; the ops keep their own names.
    """
    dependencies = {
        node.alias or node.name: (node, inputs) for node, inputs in graph.dependencies.items()
    }
    renamed = {}
    for node in graph.nodes:
        # A node without dependencies, as in a graph of one op, is not listed there.
        invocation, inputs = dependencies.get(
            node.name, (dg.NodeInvocation(node.definition.name), {})
        )
        new = dg.NodeInvocation(
            ops.name(node.definition.name),
            node.name,
            invocation.tags,
            invocation.hook_defs,
            invocation.retry_policy,
        )
        renamed[new] = inputs
    return renamed


def _recorded(ops: _Ops, nodes: Any) -> list[Any]:
    """The same ops and graphs, with every op run as a step of a run."""
    made = []
    for node in nodes:
        if isinstance(node, dg.GraphDefinition):
            made.append(
                dg.GraphDefinition(
                    ops.name(node.name),
                    description=node.description,
                    node_defs=_recorded(ops, node.node_defs),
                    dependencies=_renamed(ops, node),
                    input_mappings=node.input_mappings,
                    output_mappings=node.output_mappings,
                    config=node.config_mapping,
                    tags=node.tags,
                )
            )
        else:
            made.append(_recorded_op(ops, node))
    return made


def _recorded_op(ops: _Ops, op: Any) -> Any:
    from dagster._core.definitions.decorators.op_decorator import DecoratedOpFunction

    decorated = isinstance(op.compute_fn, DecoratedOpFunction)
    function = op.compute_fn.decorated_fn if decorated else op.compute_fn
    wrapped = _in_step(ops.steps, function)
    return dg.OpDefinition(
        compute_fn=DecoratedOpFunction(wrapped) if decorated else wrapped,
        name=ops.name(op.name),
        ins={one.name: dg.In.from_definition(one) for one in op.input_defs},
        outs={one.name: dg.Out.from_definition(one) for one in op.output_defs},
        description=op.description,
        config_schema=op.config_schema,
        required_resource_keys=set(op.required_resource_keys),
        tags=op.tags,
        retry_policy=op.retry_policy or ops.retry_policy,
        code_version=op.version,
        pool=op.pool,
    )


_END = object()  # after the last event


async def _next_of(events: AsyncIterator[Any]) -> Any:
    return await anext(events, _END)


def _in_step(steps: PythonSteps, function: Callable[..., Any]) -> Any:
    """`function`, run as a step; of the same kind, generator or async, which Dagster inspects."""
    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        def run_async_generator(*arguments: Any, **keywords: Any) -> Iterator[Any]:
            # One context for all events: Dagster would ask for each in another.
            with op_step(steps), asyncio.Runner() as runner:
                events = function(*arguments, **keywords)
                while (event := runner.run(_next_of(events))) is not _END:
                    yield event

        return run_async_generator
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run_async(*arguments: Any, **keywords: Any) -> Any:
            with op_step(steps) as step:
                value = await function(*arguments, **keywords)
                step.facts["result"] = summary(value)
                return value

        return run_async
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def run_generator(*arguments: Any, **keywords: Any) -> Iterator[Any]:
            with op_step(steps):
                yield from function(*arguments, **keywords)

        return run_generator

    @functools.wraps(function)
    def run(*arguments: Any, **keywords: Any) -> Any:
        with op_step(steps) as step:
            value = function(*arguments, **keywords)
            step.facts["result"] = summary(value)
            return value
        return None  # the step was skipped

    return run


def _tables_op(steps: PythonSteps, name: str, ports: dict[Any, str]) -> Any:
    """The op after the job's own, which reports to Dagster the tables and their rows."""
    workflow = steps.workflow

    @dg.op(
        name=names.op_name(workflow.id, name),
        description="Reports to Dagster the tables that the ops wrote.",
        ins={"after": dg.In(dg.Nothing)},
        out={port: dg.Out(dg.Nothing) for port in ports.values()},
    )
    def tables(context: dg.OpExecutionContext) -> Iterator[Any]:
        with recorded_step(context, steps, name) as step:
            rows = _row_counts(steps.project, workflow)
            step.facts["rows"] = {
                table: count
                for (schema, table), count in rows.items()
                if schema == workflow.raw_schema
            }
            for key, port in ports.items():
                count = rows.get(key)
                yield dg.Output(
                    None,
                    port,
                    metadata={} if count is None else {"dagster/row_count": count},
                )

    return tables


def _row_counts(project: Project, workflow: Workflow) -> dict[tuple[str, ...], int]:
    """The rows of every table in the workflow's schemas."""
    counts: dict[tuple[str, ...], int] = {}
    with get_duckdb_connection(database="working", project=project) as conn:
        found = conn.execute(
            "SELECT table_schema, table_name FROM information_schema.tables "
            "WHERE table_catalog = current_catalog() AND list_contains(?, table_schema)",
            [list(workflow.schemas)],
        ).fetchall()
        for table in (TableName(*row) for row in found):
            row = conn.execute(f"SELECT count(*) FROM {table.quoted}").fetchone()
            counts[table] = row[0] if row else 0
    return counts
