"""Dagster's context inside a notebook, on demand.

A notebook in a run may use the variable `context` (log, resources, run, partition) or call
`dagstermill.get_context()`. Both come from dagstermill, which takes seconds to import and to
rebuild the job, so none of it happens before the first use. The data to rebuild the context
is in a private file, not in the notebook.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dataflow.engine.secrets import Scrubber
from dataflow.project import Project

VARIABLE = "DATAFLOW_CONTEXT"
SECRETS_VARIABLE = "DATAFLOW_SECRET_NAMES"
# Loaded into the kernel before the first cell: the variable `context`.
KERNEL_LINE = "from dataflow.stages.kernel import context"


@contextlib.contextmanager
def context_file(
    project: Project, context: Any, secrets: Iterable[str] = ()
) -> Iterator[dict[str, str]]:
    """Write down what a kernel needs to rebuild `context`; removed when the block ends.

    Args:
        project: the project.
        context: Dagster's context of the step.
        secrets: the names of environment variables whose values must not get into Dagster's log.

    Yields:
        Environment variables for the kernel; none when the job cannot be rebuilt in another
        process (`dagster.materialize` in a test).
    """
    step_context = context.get_step_execution_context()
    folder = folder_of(project, context)
    arguments = rebuild_arguments(step_context, folder)
    if arguments is None:
        yield {}
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "context.json"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(arguments, file)
    try:
        yield {VARIABLE: str(path), SECRETS_VARIABLE: ",".join(secrets)}
    finally:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()  # unless it has events


def folder_of(project: Project, context: Any) -> Path:
    """The private folder of a step while it runs."""
    step_context = context.get_step_execution_context()
    key = str(step_context.step.key).replace("/", "_")
    return project.state / "contexts" / f"{context.run_id}-{key}"


def yielded_events(project: Project, context: Any) -> list[Any]:
    """The events that the notebook handed over with `dagstermill.yield_event`, in order."""
    import pickle

    events = []
    folder = folder_of(project, context)
    for path in sorted(folder.glob("event-*")):
        events.append(pickle.loads(path.read_bytes()))
        path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()
    return events


def rebuild_arguments(step_context: Any, marshal_dir: Path) -> dict[str, Any] | None:
    """The arguments of dagstermill's `reconstitute_job_context`, as JSON.

    The same as those of `dagstermill.factory.get_papermill_parameters`, without importing
    dagstermill in the process that runs the step.
    """
    from dagster._core.definitions.reconstruct import ReconstructableJob
    from dagster._serdes import pack_value

    if not isinstance(step_context.job, ReconstructableJob):
        return None
    return {
        "executable_dict": step_context.job.to_dict(),
        "job_run_dict": pack_value(step_context.dagster_run),
        "node_handle_kwargs": step_context.node_handle._asdict(),
        "instance_ref_dict": pack_value(step_context.instance.get_ref()),
        "step_key": step_context.step.key,
        "output_log_path": None,
        "marshal_dir": str(marshal_dir),
        "run_config": step_context.run_config,
    }


class WithoutSecrets(logging.Filter):
    """Takes secrets out of what a step logs, and of its events: they are log records, too."""

    def __init__(self, scrubber: Scrubber) -> None:
        super().__init__()
        self._scrubber = scrubber

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean the record; none is left out."""
        record.msg = self._scrubber.text(record.getMessage())
        record.args = ()
        event = getattr(record, "dagster_event", None)
        if event is not None:
            record.dagster_event = cleaned(event, self._scrubber)
        return True


def cleaned(value: Any, scrubber: Scrubber) -> Any:
    """An event, or metadata, without secrets, rebuilt from the form in which Dagster stores it."""
    import dagster as dg

    stored = json.loads(dg.serialize_value(value))
    clean = scrubber.tree(json.loads(json.dumps(stored)))
    return value if clean == stored else dg.deserialize_value(json.dumps(clean))


def cleaned_error(error: Exception, scrubber: Scrubber) -> Exception:
    """`error` without secrets: the run's own events repeat it, where no step's filter is.

    It stays the same object where its texts can be replaced, so that retry policies and hooks
    see what was raised; an error that computes its text otherwise becomes a failure.
    """
    import dagster as dg

    for each in _chain(error):
        with contextlib.suppress(Exception):  # whatever an author's class makes of it
            each.args = tuple(scrubber.tree(list(each.args)))
        if hasattr(each, "__notes__"):
            each.__notes__ = scrubber.tree(list(each.__notes__))
        if isinstance(each, dg.Failure):
            each.description = scrubber.text(each.description or "") or None
            each.metadata = {k: cleaned(v, scrubber) for k, v in each.metadata.items()}
    text = "".join(traceback.format_exception(error))
    clean = scrubber.text(text)
    if clean == text:
        return error
    return dg.Failure(clean.strip().splitlines()[-1], metadata={"traceback": clean})


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those it came from."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
