"""How workflows, stages and tables are called in Dagster."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from dataflow.stages.notebook import Stage
from dataflow.workflows.ids import STEPS_THAT_FOLLOW, workflow_id_problem
from dataflow.workflows.model import Workflow

ADDRESS = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", re.ASCII)

DBT, PUBLISH, DASHBOARD = STEPS_THAT_FOLLOW
JOB = "job"  # the ops of a Python workflow
TABLES = "tables"  # its last op, which reports to Dagster the others' tables


def op_name(workflow_id: str, step: str) -> str:
    """The Dagster step that executes `step` of the workflow."""
    return f"{workflow_id}__{step}"


def step_of(op: str) -> str:
    """The step that Dagster step `op` executes; the reverse of `op_name`.

    An op of a Python workflow is a step of its own name, inside the workflow's job.
    """
    job, _, inner = op.split("[")[0].partition(".")
    return inner or job.rpartition("__")[2]


def workflow_of(op: str) -> str:
    """The workflow that Dagster step `op` belongs to."""
    return op.partition(".")[0].rpartition("__")[0]


def stage_keys(stage: Stage) -> list[list[str]]:
    """The asset keys a stage makes: its tables, or the notebook itself when it writes none."""
    if stage.writes:
        return [list(table) for table in stage.writes]
    return [["notebooks", stage.workflow_id, stage.name]]


def published_key(workflow_id: str) -> list[str]:
    """The asset key of what readers see of a workflow."""
    return ["published", f"{workflow_id}_published"]


def dashboard_key(workflow: Workflow) -> list[str]:
    """The asset key of the workflow's dashboard."""
    return ["dashboard", f"{workflow.id}_dashboard"]


def check_name(name: str) -> str:
    """A check's name as Dagster accepts it, unique for each name.

    Plain words in lower case stay as they are, with underscores between; anything else in a name
    becomes a short hash at its end.
    """
    readable = _plain(name).lower() or "check"
    return readable if name == readable.replace("_", " ") else f"{readable}_{_hash(name)}"


def owners(owner: str | None) -> list[str] | None:
    """The owner of a workflow, as Dagster accepts it: an address, or a team's name."""
    if not owner:
        return None
    return [owner if ADDRESS.fullmatch(owner) else f"team:{owner}"]


def tags(names: Iterable[str]) -> dict[str, str]:
    """A workflow's tags as Dagster accepts them."""
    return {
        re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII)[:63] or _hash(name): "" for name in names
    }


def job_name(workflow_id: str) -> str:
    """The name of a workflow's job: its id, if Dagster accepts that."""
    if workflow_id_problem(workflow_id) is None:
        return workflow_id
    return f"{_plain(workflow_id) or 'workflow'}_{_hash(workflow_id)}"


def _plain(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip(), flags=re.ASCII).strip("_")


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:6]
