"""The result of a check, and how to fix it: what the doctor and `db check` print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Args:
        subject: what was checked, in a few words.
        status: `warning`: works, but not as it should; `broken`: something will not work.
        detail: what was found.
        hint: how to fix it; None when it is `ok`.
    """

    subject: str
    status: Literal["ok", "warning", "broken"]
    detail: str
    hint: str | None = None


def ok(subject: str, detail: str) -> Finding:
    """A finding of something that is as it should be."""
    return Finding(subject, "ok", detail)


def warning(subject: str, detail: str, hint: str) -> Finding:
    """A finding of something that works, but not as it should."""
    return Finding(subject, "warning", detail, hint)


def broken(subject: str, detail: str, hint: str | None) -> Finding:
    """A finding of something that will not work."""
    return Finding(subject, "broken", detail, hint)
