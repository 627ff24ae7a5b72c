"""The variable `context`, which a kernel in a run has, for notebooks that use it.

Loaded into each kernel of a run before the first cell. It must cost nothing: dagstermill takes
three seconds to import and two to rebuild the job, so all of that waits for the first use.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import json
import os
import pickle
import sys
import time
import uuid
import warnings
from pathlib import Path
from typing import Any

from dataflow.engine.secrets import Scrubber
from dataflow.stages.context import (
    SECRETS_VARIABLE,
    VARIABLE,
    WithoutSecrets,
    cleaned,
    cleaned_error,
)

MANAGER = "dagstermill.manager"


class LazyContext:
    """Dagster's context of this step; rebuilt when it is first used."""

    @property
    def partition_key(self) -> str | None:
        """The partition that the run is for; None for a run of everything."""
        tag: str | None = self.run.tags.get("dagster/partition")  # dagstermill's has no partition
        return tag

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("_repr_", "_ipython_")):
            raise AttributeError(name)  # displaying it does not count as use
        import dagstermill

        return getattr(dagstermill.get_context(), name)

    def __repr__(self) -> str:
        return "<Dagster's context of this stage: log, run_id, resources, partition_key, …>"


context = LazyContext()


def rebuild(manager: Any) -> None:
    """Rebuild the run's context in dagstermill's `manager`, once."""
    if manager.context is not None or VARIABLE not in os.environ:
        return
    arguments = json.loads(Path(os.environ[VARIABLE]).read_text("utf-8"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dagster's own, nothing the author could fix
        rebuilt = manager.reconstitute_job_context(**arguments)
    rebuilt.log.addFilter(WithoutSecrets(_scrubber()))


def _scrubber() -> Scrubber:
    names = filter(None, os.environ.get(SECRETS_VARIABLE, "").split(","))
    return Scrubber({name: os.environ[name] for name in names if name in os.environ})


class _Finder(importlib.abc.MetaPathFinder):
    """Extends dagstermill's manager as soon as something imports it, and not before."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != MANAGER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "Manager is currently in beta"
                execute(module)
            extend(module.Manager)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def extend(manager_class: Any) -> None:
    """Let dagstermill's `get_context` and `yield_event` find the run they are in."""
    get_original, yield_original = manager_class.get_context, manager_class.yield_event

    def get_context(self: Any, *arguments: Any, **keywords: Any) -> Any:
        """The run's context; by hand, dagstermill's stand-in for one."""
        rebuild(self)
        return get_original(self, *arguments, **keywords)

    def yield_event(self: Any, dagster_event: Any) -> Any:
        """Pass an event to the step, which reports it to Dagster when the notebook has ended."""
        rebuild(self)
        in_job, self.in_job = self.in_job, False
        try:
            yield_original(self, dagster_event)  # checks the event's type
        finally:
            self.in_job = in_job
        if in_job and self.marshal_dir:
            clean = cleaned_error if isinstance(dagster_event, Exception) else cleaned
            # Not stored in the notebook, as dagstermill does: that writes paths of the machine
            # into it.
            folder = Path(self.marshal_dir)
            folder.mkdir(parents=True, exist_ok=True)
            name = f"event-{time.time_ns()}-{uuid.uuid4().hex}"
            (folder / name).write_bytes(pickle.dumps(clean(dagster_event, _scrubber())))
        return dagster_event

    manager_class.get_context, manager_class.yield_event = get_context, yield_event


if VARIABLE in os.environ and MANAGER not in sys.modules:
    sys.meta_path.insert(0, _Finder())
