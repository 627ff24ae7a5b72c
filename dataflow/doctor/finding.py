"""One thing the doctor looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "broken"]


@dataclass(frozen=True)
class Finding:
    """One thing the doctor looked at.

    Args:
        subject: what was looked at, a few words.
        status: `ok`; `warning`: works, but not as it should; `broken`: something will not work.
        detail: what was found.
        mend: what to do; None when all is well.
    """

    subject: str
    status: Status
    detail: str
    mend: str | None = None


def ok(subject: str, detail: str) -> Finding:
    """All is well."""
    return Finding(subject, "ok", detail)


def warning(subject: str, detail: str, mend: str) -> Finding:
    """It works, but not as it should."""
    return Finding(subject, "warning", detail, mend)


def broken(subject: str, detail: str, mend: str) -> Finding:
    """Something will not work."""
    return Finding(subject, "broken", detail, mend)
