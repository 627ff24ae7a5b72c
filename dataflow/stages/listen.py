"""What cells print and display, handed on while they run, without secrets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dataflow.stages.scrub import Scrubber

Listener = Callable[[str, str], None]


class LiveText:
    """Hands on what a running cell prints.

    Output comes in pieces, and a secret may begin in one and end in the next: what could be
    the beginning of one waits for the next piece, or for `flush`.

    Args:
        scrubber: takes the secrets out.
        listeners: called with ("stdout" | "stderr" | "display", text).
    """

    def __init__(self, scrubber: Scrubber, listeners: list[Listener]) -> None:
        self._scrubber = scrubber
        self._listeners = listeners
        self._waiting: dict[str, str] = {}

    def write(self, name: str, text: str) -> None:
        """Take a piece of a stream, or a whole display."""
        if not self._listeners:
            return
        if name != "display":
            text = self._waiting.pop(name, "") + text
            complete = self._scrubber.complete(text)
            if complete < len(text):
                self._waiting[name] = text[complete:]
                text = text[:complete]
        self._hand_on(name, text)

    def flush(self) -> None:
        """Hand on what waits; the cell has ended."""
        for name, text in self._waiting.items():
            self._hand_on(name, text)
        self._waiting = {}

    def _hand_on(self, name: str, text: str) -> None:
        if text:
            clean = self._scrubber.text(text)
            for listener in self._listeners:
                listener(name, clean)


def to_file(stream: str, file: Any) -> Listener:
    """A listener that writes one stream to `file`."""

    def write(name: str, text: str) -> None:
        if name == stream:
            file.write(text)
            file.flush()

    return write


def to_log(log: Any) -> Listener:
    """A listener that writes everything to a log, as papermill's `log_output` does."""
    return lambda name, text: log.info(text)
