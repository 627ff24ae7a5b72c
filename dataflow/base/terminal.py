"""Where progress, hints and errors go on a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def messages() -> Console:
    """Standard error; in a file or a pipe lines are not cut to the terminal's width."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
