"""Small things said to people: how long something took, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(wrong: str, right: Iterable[str]) -> str | None:
    """A hint that names what was probably meant by `wrong`, or lists what is allowed."""
    choices = sorted(right)
    close = difflib.get_close_matches(wrong, choices, n=1, cutoff=0.6)
    if close:
        return f"Did you mean `{close[0]}`?"
    if not choices:
        return None
    return "Use one of: " + ", ".join(f"`{choice}`" for choice in choices) + "."


def counted(number: int, thing: str) -> str:
    """`1 problem`, `3 problems`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def seconds_text(seconds: float | None) -> str:
    """A duration as people read it: `3.2 s`, `4 min 10 s`."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"
