"""Signals that cancel, and that are never lost on the way."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Has what a signal's handler raises end an event loop, wherever the loop is just then.

    Dagster's handlers raise an exception of its own. When that happens within a callback or
    a task, asyncio takes it for that callback's failure, and the run goes on as if nobody had
    cancelled it; only `KeyboardInterrupt` is let through. So inside the `with` block that is
    raised in its place, and `error` is what the handler meant.

    In other threads than the main one it does nothing; signals do not get there.
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
