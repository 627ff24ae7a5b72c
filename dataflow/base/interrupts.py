"""Signals that cancel a run, and are never lost on the way."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def interrupt_behind(error: BaseException) -> BaseException | None:
    """What a signal raised within a statement of DuckDB, which makes an error of its own of that.

    The statement goes on: so does whoever uses the connection before it is closed or interrupted.

    Args:
        error: what came out.

    Returns:
        None for any other error.
    """
    hidden = isinstance(error, RuntimeError) and str(error) == "Query interrupted"
    return error.__context__ if hidden else None


class Interrupts:
    """Ends an event loop when a signal's handler raises, wherever the loop is at that moment.

    Dagster's handlers raise an exception of its own. When that happens within a callback or
    a task, asyncio takes it for that callback's failure, and the run goes on as if nobody had
    cancelled it; only `KeyboardInterrupt` is let through. So inside the `with` block that is
    raised instead, and `error` is the handler's own exception.

    It does nothing outside the main thread, where no signals arrive.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                try:
                    signal.signal(number, self._handle)
                except ValueError:  # not the main thread
                    break
                self._handlers[number] = handler
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self.error is not None and error is not self.error:
            raise self.error from None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        try:
            self._handlers[number](number, frame)
        except BaseException as error:
            self.error = error
            raise KeyboardInterrupt from None
