"""One step of a run as the archive sees it: begun, ended, with what came of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from dataflow.orchestration.clean import cleaned_error, keep_clean
from dataflow.orchestration.names import step_of
from dataflow.orchestration.selection import chosen_steps, steps_of, version_of
from dataflow.project import Project
from dataflow.runs.archive import RunArchive
from dataflow.shared.config import read_variables_of
from dataflow.stages.lifetime import end_with_run
from dataflow.stages.scrub import Scrubber, secrets_in
from dataflow.workflows.model import Workflow


@dataclass
class Step:
    """A step while it runs; what is put into `facts` is archived at its end, without secrets.

    Args:
        archive: the run's archive.
        name: the step.
        secrets: the values of the variables that the project's configuration names, by name.
    """

    archive: RunArchive
    name: str
    secrets: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def archived_step(
    context: Any, project: Project, workflow: Workflow, name: str, **facts: Any
) -> Iterator[Step]:
    """Archive the step that runs inside the `with` block.

    It ends as its facts say (`status`), as succeeded without that, as failed when an error
    leaves the block, and as cancelled when a signal does.

    Args:
        context: Dagster's context of the step.
        project: the project.
        workflow: the workflow that runs.
        name: the step.
        facts: what is known from the start.
    """
    end_with_run()
    archive = RunArchive(project, workflow.id, context.run_id)
    if not archive.read():  # the run's first step
        archive.begin(
            [{"name": step.name, "kind": step.kind} for step in steps_of(project, workflow)],
            selection=chosen_steps(project, workflow, context.run.asset_selection),
            trigger=_trigger(context.run.tags),
            parameters=parameters_of(context.run.run_config),
            git=git_state(project),
        )
    archive.step_started(name, code_version=version_of(project, workflow, name), **facts)
    step = Step(archive, name, secrets_in(read_variables_of(workflow.folder), facts.get("values")))
    scrubber = Scrubber(step.secrets)
    keep_clean(context, scrubber)

    def end(status: str) -> None:
        known = scrubber.tree(step.facts)
        archive.step_ended(name, status, **{k: v for k, v in known.items() if k != "status"})

    try:
        yield step
    except Exception as error:
        step.facts.setdefault("error", {"message": str(error).strip().split("\n")[0][:500]})
        end("failed")
        clean = cleaned_error(error, scrubber) if scrubber else error
        if clean is error:
            raise
        raise clean from None
    except BaseException:
        end("cancelled")
        raise
    end(step.facts.get("status", "succeeded"))


def _trigger(tags: dict[str, str]) -> str:
    if "dagster/schedule_name" in tags:
        return "schedule"
    return tags.get("dataflow/trigger", "dagster")


def parameters_of(run_config: Any) -> dict[str, dict[str, Any]]:
    """What was chosen for this run, by stage: `${VAR}` stays a name here."""
    chosen = {}
    for op, part in (run_config or {}).get("ops", {}).items():
        if part.get("config"):
            chosen[step_of(op)] = dict(part["config"])
        for inner, own in part.get("ops", {}).items():  # of a job written in Python
            if own.get("config"):
                chosen[inner] = dict(own["config"])
    return chosen


def git_state(project: Project) -> dict[str, Any] | None:
    """The commit the project is at and whether files differ from it; None without git."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments],
            cwd=project.root,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        ).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
