"""Secrets are kept out of what a step tells Dagster: its log, its events, its errors."""

from __future__ import annotations

import contextlib
import json
import logging
import traceback
from collections.abc import Iterator
from typing import Any

from dataflow.stages.scrub import Scrubber


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


def cleaned(value: Any, scrubber: Scrubber) -> Any:
    """An event, or metadata, without secrets: made from the form in which Dagster stores it."""
    import dagster as dg

    stored = json.loads(dg.serialize_value(value))
    clean = scrubber.tree(json.loads(json.dumps(stored)))
    return value if clean == stored else dg.deserialize_value(json.dumps(clean))


def cleaned_error(error: Exception, scrubber: Scrubber) -> Exception:
    """`error` without secrets: the run's own events repeat it, where no step's filter is.

    It stays the same object where its texts can be replaced, so that retry policies and hooks
    see what was raised; an error that makes its text of other things becomes a failure.
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
