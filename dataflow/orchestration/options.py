"""What a run is asked to do."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What starts runs in processes of their own; the others are Dagster's.
OWN_TRIGGERS = ("cli", "python", "jupyterlab")


@dataclass(frozen=True)
class RunOptions:
    """What a run is to do, and who asks for it.

    Args:
        parameters: values by name; a name goes to every stage that declares it, and
            `stage.name` to that stage only.
        only: run this step and nothing else.
        start: run this step and everything downstream; upstream steps only if they are stale.
        changed: run what is stale and everything downstream of it.
        live: whether what the notebooks print is shown on standard error.
        trigger: what starts the run, as its record names it: one of `OWN_TRIGGERS`.
        user: who asks for it, where that is not who the process belongs to.
        run_id: the id that the run gets.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    only: str | None = None
    start: str | None = None
    changed: bool = False
    live: bool = True
    trigger: str = "cli"
    user: str | None = None
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))
