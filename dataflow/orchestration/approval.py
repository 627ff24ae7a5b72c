"""Review before publishing: what a run made is kept aside until somebody approves or rejects it.

With `review:` in its workflow's config.yaml, the publish step makes a *candidate* version and
previews the dashboard on it. The run then awaits review. Its record says why, which files were
seen (`hash`), and, once somebody has decided, who, when and with which comment.

Decisions about a workflow's runs, and new candidates, take turns. A decision is noted before it
is carried out: approved again, an approval that was killed is finished.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dagster as dg

from dataflow.base.lock import Held, StillHeld, acquire
from dataflow.base.words import counted, printable
from dataflow.dashboard.paths import has_sources
from dataflow.dashboard.refresh import preview_dashboard, refresh_dashboard, remove_previews
from dataflow.engine.secrets import Scrubber
from dataflow.errors import ConfigurationError, DataflowError, WarehouseError
from dataflow.orchestration import dagster_names as names
from dataflow.orchestration.instance import open_instance
from dataflow.orchestration.live import tell
from dataflow.project import Project
from dataflow.runs.record import AWAITING, REJECTED, SHORT, SUPERSEDED, Run, RunRecord, now, user
from dataflow.variables import secrets_of
from dataflow.warehouse.store import (
    Published,
    candidate_hash,
    candidate_runs,
    publish_candidate,
    published_path,
    remove_candidates,
    shapes,
)
from dataflow.workflows.model import Review, Workflow

CHECK = "review"  # the name of the decision among Dagster's checks
APPROVED = "approved"
WAIT = 600.0  # seconds for another decision: building pages takes a minute or two


def publish_or_await(
    project: Project,
    workflow: Workflow,
    record: RunRecord,
    make: Callable[[], Published],
    code_version: str | None = None,
) -> Published | None:
    """Publish the candidate version that `make` makes, or keep it for review; None if it is kept.

    Args:
        project, workflow: what ran.
        record: the run's record.
        make: makes the run's candidate version.
        code_version: of the dashboard, if there is one.

    Raises:
        WarehouseError: as `make` does, or the candidate cannot be read.
        DashboardError: a query of the dashboard fails on it: nobody is asked to review that.
    """
    rules, run_id = workflow.config.workflow.review, record.run_id
    assert rules is not None
    with _deciding(project, workflow.id, f"run {run_id[:SHORT]}"):
        candidate = make()
        reasons = why_review(rules, project, workflow.id, candidate)
        if not reasons:
            published = publish_candidate(project, workflow.id, run_id)
            remove_candidates(project, workflow.id, [run_id])
            _supersede(project, workflow.id, run_id)
            return published
        if has_sources(project, workflow.id):
            begun = now()
            try:
                shown = preview_dashboard(project, workflow.id, run_id, candidate.path)
            except BaseException:
                remove_candidates(project, workflow.id, [run_id])
                raise
            record.step(
                names.DASHBOARD,
                status=AWAITING,
                started_at=begun,
                ended_at=now(),
                code_version=code_version,
                **shown,
            )
        _supersede(project, workflow.id, run_id)
        record.note(
            review={"because": reasons, "hash": candidate_hash(project, workflow.id, run_id)}
        )
    return None


def supersede(project: Project, workflow_id: str, run_id: str | None) -> None:
    """Runs that still await review no longer do, since newer data is published without one.

    Args:
        project, workflow_id: whose they are.
        run_id: the run that made it; None when it was published by hand.
    """
    if candidate_runs(project, workflow_id):
        with _deciding(project, workflow_id, f"publish of {workflow_id}"):
            _supersede(project, workflow_id, run_id)


def why_review(
    rules: Review, project: Project, workflow_id: str, candidate: Published
) -> list[str]:
    """Why a candidate version has to be reviewed before it is published; empty if it has not."""
    if rules.always:
        return ["every run is reviewed"]
    current = published_path(project)
    before = shapes(current, workflow_id) if current else {}
    after = shapes(candidate.path, workflow_id)
    reasons = []
    for table in sorted(before.keys() | after.keys()):
        old, new = before.get(table), after.get(table)
        if old is None or new is None:
            # Whatever the rules look at has changed completely.
            reasons.append(f"{table} is {'new' if old is None else 'gone'}")
            continue
        if rules.schema and old.columns != new.columns:
            reasons.append(f"{table}: {_columns_changed(old.columns, new.columns)}")
        if rules.rows is not None:
            share = abs(new.rows - old.rows) / old.rows if old.rows else float(new.rows > 0)
            if share > rules.rows:
                change = f" ({(new.rows - old.rows) / old.rows:+.0%})" if old.rows else ""
                reasons.append(f"{table}: {old.rows:,} → {new.rows:,} rows{change}")
    return reasons


def approve(
    project: Project,
    run: Run,
    *,
    comment: str = "",
    by: str | None = None,
    via: str = "command line",
    seen: str | None = None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> Run:
    """Publish what a run made and somebody has seen, and show it on the dashboard.

    Args:
        project: the project.
        run: a run that awaits review.
        comment: why it is right.
        by: who decides; this process's user when None.
        via: where that was said.
        seen: the hash of what was seen, if it is to be compared.
        on_progress: told in words what takes time.

    Returns:
        The run as it is now: succeeded, or failed where the dashboard could not be shown.

    Raises:
        ConfigurationError: the run does not await review, or its candidate is not what was seen.
        WarehouseError: it could not be published; the run still awaits review.
    """
    with _deciding(project, run.workflow_id, f"the approval of run {run.run_id[:SHORT]}"):
        record, review = _awaited(project, run)
        if review.get("decision") != APPROVED:
            found = candidate_hash(project, run.workflow_id, run.run_id)
            if found is None or found != review.get("hash") or seen not in (None, found):
                gone = "is gone" if found is None else "is not what was seen"
                raise ConfigurationError(
                    f"the candidate version of run {run.run_id[:SHORT]} {gone}; "
                    "nothing was published",
                    hint=f"Make another: dataflow workflow run {run.workflow_id} --only publish",
                )
            review |= _decision(project, run, APPROVED, comment, by, via)
            review |= {"seen": found, "error": None}
            record.note(review=review)
        try:
            published = publish_candidate(project, run.workflow_id, run.run_id)
        except WarehouseError as error:
            # Nothing is published: it awaits review as before.
            still = {key: value for key, value in review.items() if key in ("because", "hash")}
            record.note(review=still | {"error": error.message})
            raise
        record.step(names.PUBLISH, status="succeeded", version=published.version)
        _tell_dagster(project, run, review, passed=True, version=published.version)
        status = _show(project, record, on_progress)
        record.reviewed(status)
        _forget(project, run.workflow_id, [run.run_id])
    return Run(record.folder, record.read())


def reject(
    project: Project, run: Run, *, comment: str, by: str | None = None, via: str = "command line"
) -> Run:
    """Refuse to publish what a run made; readers keep what they have.

    Arguments are those of `approve`.

    Raises:
        ConfigurationError: the run does not await review.
    """
    with _deciding(project, run.workflow_id, f"the rejection of run {run.run_id[:SHORT]}"):
        record, review = _awaited(project, run)
        if review.get("decision") == APPROVED:
            raise ConfigurationError(
                f"run {run.run_id[:SHORT]} was approved by {review['by']}, and it may be published",
                hint=f"Approving it again finishes that: dataflow runs approve {run.run_id[:SHORT]}",
            )
        decided = _decision(project, run, REJECTED, comment, by, via)
        decided["seen"] = review.get("hash")
        record.reviewed(REJECTED, **decided)
        _forget(project, run.workflow_id, [run.run_id])
        _tell_dagster(project, run, review | decided, passed=False)
    return Run(record.folder, record.read())


def _awaited(project: Project, run: Run) -> tuple[RunRecord, dict[str, Any]]:
    """The record of a run and its review, if it awaits one."""
    record = RunRecord(project, run.workflow_id, run.run_id)
    current = Run(record.folder, record.read())
    review = dict(current.data.get("review") or {})
    if current.status != AWAITING:
        raise ConfigurationError(
            f"run {run.run_id[:SHORT]} does not await review: {_standing(current, review)}",
            hint="`dataflow runs list` shows which runs do.",
        )
    return record, review


def _standing(run: Run, review: Mapping[str, Any]) -> str:
    if newer := review.get("superseded_by"):
        return f"newer data took its place ({newer[:SHORT]})"
    if decision := review.get("decision"):
        return f"it was {decision} by {review['by']} at {review['at'][:16].replace('T', ' ')} UTC"
    return f"it {run.status}" if run.status in ("succeeded", "failed") else f"it is {run.status}"


def _decision(
    project: Project, run: Run, decision: str, comment: str, by: str | None, via: str
) -> dict[str, Any]:
    project.load_environment()
    text = Scrubber(secrets_of(project.notebooks / run.workflow_id)).text(
        printable(comment.strip())
    )
    return {
        "decision": decision,
        "by": printable(by or user()),
        "at": now(),
        "comment": text,
        "via": via,
    }


def _show(project: Project, record: RunRecord, on_progress: Callable[[str], None]) -> str:
    """Show the dashboard of what was published; returns how the run stands by that."""
    if not has_sources(project, record.workflow_id):
        return "succeeded"
    record.step(names.DASHBOARD, started_at=now(), ended_at=None, error=None)
    try:
        facts = refresh_dashboard(project, record.workflow_id, on_progress=on_progress)
    except DataflowError as error:
        message = {"message": error.message, **({"hint": error.hint} if error.hint else {})}
        record.step_ended(names.DASHBOARD, "failed", error=message)
        return "failed"
    record.step_ended(names.DASHBOARD, "succeeded", **facts)
    return "succeeded"


def _supersede(project: Project, workflow_id: str, run_id: str | None) -> None:
    """Older runs that still await review no longer do: `run_id` has newer data."""
    older = [other for other in candidate_runs(project, workflow_id) if other != run_id]
    for other in older:
        record = RunRecord(project, workflow_id, other)
        if record.read().get("status") == AWAITING:
            record.reviewed(SUPERSEDED, superseded_by=run_id or "by hand", superseded_at=now())
    _forget(project, workflow_id, older)


def _forget(project: Project, workflow_id: str, runs: list[str]) -> None:
    """Remove what was kept of runs for their review."""
    remove_candidates(project, workflow_id, runs)
    remove_previews(project, workflow_id, runs)


@contextlib.contextmanager
def _deciding(project: Project, workflow_id: str, who: str) -> Iterator[Held]:
    """One at a time: a decision about a workflow's runs, or a new candidate."""
    what = f"the review of workflow {workflow_id}"
    folder = project.state / "reviews" / workflow_id
    try:
        with acquire(folder, what, holder=who, timeout=WAIT) as held:
            yield held
    except StillHeld as error:
        raise ConfigurationError(
            f"{error.holder or 'another program'} is being carried out; nothing was decided",
            hint="Wait until it has ended, and look again: dataflow runs list",
        ) from None
    except OSError as error:  # the disk is full, or somebody else's
        raise DataflowError(
            f"the decision cannot be written down: {error.strerror or error}",
            where=str(error.filename or folder),
            hint="Free space on the disk, or let yourself write there, and decide again.",
        ) from error


def _tell_dagster(
    project: Project,
    run: Run,
    review: Mapping[str, Any],
    *,
    passed: bool,
    version: int | None = None,
) -> None:
    """Put the decision into Dagster's event log; what was decided does not depend on it."""
    key = dg.AssetKey(names.published_key(run.workflow_id))
    facts = {"run": run.run_id, "by": review["by"], "comment": review["comment"]}
    try:
        with open_instance(project) as instance:
            if passed:
                instance.report_runless_asset_event(
                    dg.AssetMaterialization(key, metadata=facts | {"version": version or 0})
                )
            instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=key, check_name=CHECK, passed=passed, metadata=facts
                )
            )
    except Exception as error:  # whatever state its database is in
        tell(f"Dagster was not told of the decision: {error}")


def _columns_changed(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    changes = [f"column {name} is new" for name in new if name not in old]
    changes += [f"column {name} is gone" for name in old if name not in new]
    changes += [
        f"column {name} is {kind} instead of {old[name]}"
        for name, kind in new.items()
        if name in old and old[name] != kind
    ]
    more = f" and {counted(len(changes) - 3, 'more change')}" if len(changes) > 3 else ""
    return ", ".join(changes[:3]) + more if changes else "its columns are in another order"
