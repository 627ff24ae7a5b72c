"""Secrets are kept out of what a step tells Dagster: its log, its events, its errors."""

from __future__ import annotations

import logging
from typing import Any

from dataflow.engine.secrets import Scrubber
from dataflow.stages.context import cleaned


def keep_clean(context: Any, scrubber: Scrubber) -> None:
    """Take secrets out of what the step of `context` logs and reports from here on.

    Events are log records, too: those about outputs follow when the step's own code has
    ended, so the filter stays for as long as the step's log does.
    """
    if scrubber:
        context.log.addFilter(_WithoutSecrets(scrubber))


class _WithoutSecrets(logging.Filter):
    def __init__(self, scrubber: Scrubber) -> None:
        super().__init__()
        self._scrubber = scrubber

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = self._scrubber.text(record.getMessage())
        record.args = ()
        event = getattr(record, "dagster_event", None)
        if event is not None:
            record.dagster_event = cleaned(event, self._scrubber)
        return True
