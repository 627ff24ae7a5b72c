"""Loggers for notebooks and workflow code."""

from __future__ import annotations

import logging
import sys

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def get_logger(name: str, level: int | str = logging.INFO) -> logging.Logger:
    """Get a logger that writes one line per message to standard error.

    In a notebook the lines appear below the cell; in a run they are in the executed
    notebook, on the terminal and in Dagster's log.

    Args:
        name: usually `__name__`.
        level: the least severe level to show.
    """
    logger = logging.getLogger(name)
    logger.setLevel(level)
    if not any(isinstance(handler, _CurrentStderrHandler) for handler in logger.handlers):
        handler = _CurrentStderrHandler()
        handler.setFormatter(logging.Formatter(FORMAT, datefmt="%H:%M:%S"))
        logger.addHandler(handler)
        logger.propagate = False  # a root handler would print every line a second time
    return logger


class _CurrentStderrHandler(logging.StreamHandler):
    """Writes to whatever `sys.stderr` is now: ipykernel and pytest replace it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self):  # type: ignore[no-untyped-def]
        return sys.stderr
