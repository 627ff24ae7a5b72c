"""What differs between any two runs and means nothing: moments, addresses, ids, paths, orders.

`RULES` is the table of what is left out; a project adds patterns of its own by the setting
`diff_ignore`. Text is cleaned line by line, and compared as it is then. What is shown is the text
as it was.

A moment counts as noise only if it lies within the run whose output names it: a date of the data
that changed is what a reader looks for.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from dataflow.runs.record import SHORT, Run

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_HERE = "…"  # stands where noise was
_UNIT = r"(?:ns|µs|μs|us|ms|s|secs?|seconds?|min|mins|minutes?|hours?)\b"
_NUMBER = r"\d[\d.,]*"
_SLACK = datetime.timedelta(minutes=1)  # a kernel starts before its step, clocks differ a little
_BY_HAND = datetime.timedelta(days=1)  # cells are run by hand since then: no notebook says when


@dataclass(frozen=True)
class Rule:
    """Something that is left out.

    Args:
        name: what it is, as people read it in "left out: 3 addresses".
        pattern: what is replaced.
        by: the replacement, as `re.sub` takes it.
    """

    name: str
    pattern: re.Pattern[str]
    by: str | Callable[[re.Match[str]], str] = _HERE


def _rule(name: str, pattern: str, by: str = _HERE) -> Rule:
    return Rule(name, re.compile(pattern, re.IGNORECASE), by)


# The rules that are the same for every run; `Noise` adds those that know the run.
RULES = (
    _rule(
        "progress bars",
        r"(?<!\d)\d{1,3}%\|[^|]{0,300}\|(\s*\d[\d.,kMG]*/\d[\d.,kMG]*)?\s*\[[^\]]{0,100}\]",
        r"\1",
    ),
    _rule("progress bars", r"[━╸╺─▏▎▍▌▋▊▉█░▒▓]{3,}(\s*\d{1,3}%)?(\s+\d+:\d\d:\d\d)?", r"\1"),
    _rule("progress bars", rf"\b{_NUMBER}\s?(?:it/s|s/it)\b"),
    _rule("elapsed times", r"\b(CPU times: |Wall time: ).*", rf"\1{_HERE}"),
    _rule("elapsed times", rf"\b{_NUMBER}\s?{_UNIT}\s±.*\bper loop\b.*"),
    _rule(
        "elapsed times",
        rf"\b(in|took|takes|elapsed|runtime|time)\b(\s{{0,3}}[:=]?\s{{0,3}}){_NUMBER}\s?{_UNIT}",
        rf"\1 {_HERE}",
    ),
    _rule("elapsed times", r"\b(elapsed|took|runtime)\b[\s:=]+\d[\d.:]*", rf"\1 {_HERE}"),
    _rule("elapsed times", rf"[(\[]{_NUMBER}\s?{_UNIT}[)\]]"),
    _rule("addresses", r"\bat 0x[0-9a-f]{6,16}\b", f"at {_HERE}"),
    _rule("addresses", r"\b0x(?:0000)?[57][0-9a-f]{11}\b"),
    _rule("ids", r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"),
    _rule("ids", r"\bIPY_MODEL_[0-9a-f]{32}\b"),
    _rule("ids", r"\bpid[\s=:]+\d+", f"pid {_HERE}"),
    _rule("paths", r"\bipykernel_\d+(?:[/\\]\d+\.py)?"),
    _rule("paths", r"<ipython-input-\d+-[0-9a-f]+>"),
    _rule("paths", r"/(?:private/)?(?:tmp|var/tmp|var/folders|dev/shm)/[^\s'\"<>:,;)\]}]+"),
    _rule("paths", r"/(?:home|Users)/[^/\s'\"<>:,;)\]}]+", "~"),
    _rule("ports", r"\b(?:127\.0\.0\.1|localhost):\d{2,5}\b"),
)

_DATED = re.compile(
    r"(?<![\d.-])(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:[.,]\d{1,9})?"
    r"(?: ?(Z|UTC|[+-]\d\d:?\d\d))?(?![\d:])"
)
_CLOCK = re.compile(r"(?<![\d:.-])(?<!\d{4}-\d\d-\d\d[T ])\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?![\d:])")
_EPOCH = re.compile(r"(?<![\d.])(1\d{9})(?:\.\d+|\d{3}|\d{6}|\d{9})?(?![\d.])")
_SUSPECT = re.compile(r"[\d{/━╸╺─▏▎▍▌▋▊▉█░▒▓]")  # without one of these no rule of ours applies
_LONG = 20_000  # characters: a longer line is no text that people read, and is compared as it is
_BRACES = re.compile(r"\{[^{}\n]{1,2000}\}")


class Noise:
    """Cleans the text of one run, or of a notebook that was run by hand.

    Args:
        run: the run; None by hand.
        zone: the project's time zone, in which its kernels write.
        more: further patterns to leave out.
        rules: the rules that know no run; none compares everything but moments and the run's own
            id, with which no two runs could be the same.
    """

    def __init__(
        self,
        run: Run | None,
        *,
        zone: str = "UTC",
        more: Iterable[str] = (),
        rules: Iterable[Rule] = RULES,
    ) -> None:
        self._zones = (datetime.UTC, ZoneInfo(zone))
        self._first, self._last = _span(run) if run is not None else _lately()
        self._more = tuple(Rule("what diff_ignore names", re.compile(one)) for one in more)
        self._rules = (
            *([_names(run)] if run is not None else []),
            Rule("moments of the run", _DATED, self._dated),
            Rule("moments of the run", _CLOCK, self._clock),
            Rule("moments of the run", _EPOCH, self._epoch),
            *rules,
        )
        # The cells of a table repeat.
        self.clean = lru_cache(maxsize=20_000)(self._clean)

    def _clean(self, line: str) -> tuple[str, frozenset[str]]:
        """One line without noise, and the names of the rules that left something out."""
        used = set()
        if len(line) > _LONG:
            return line, frozenset()
        for rule in (*self._more, *(self._rules if _SUSPECT.search(line) else ())):
            cleaned = rule.pattern.sub(rule.by, line)
            if cleaned != line:
                used.add(rule.name)
                line = cleaned
        if "{" in line:
            ordered = _in_order(line)
            if ordered != line:
                used.add("orders of dict and set")
                line = ordered
        return line, frozenset(used)

    def _within(self, moment: datetime.datetime) -> bool:
        return self._first <= moment <= self._last

    def _dated(self, match: re.Match[str]) -> str:
        zone = {None: "", "Z": "+00:00", "UTC": "+00:00"}.get(match[3], match[3])
        try:
            moment = datetime.datetime.fromisoformat(f"{match[1]}T{match[2]}{zone}")
        except ValueError:
            return match[0]
        zones = self._zones if moment.tzinfo is None else (moment.tzinfo,)
        # Without seconds a moment is up to a minute earlier than what it stands for.
        known = (moment.replace(tzinfo=one) for one in zones)
        return _HERE if any(map(self._within, known)) else match[0]

    def _clock(self, match: re.Match[str]) -> str:
        try:
            clock = datetime.time.fromisoformat(match[0][:8])
        except ValueError:
            return match[0]
        for zone in self._zones:
            for edge in (self._first, self._last):
                day = edge.astimezone(zone).date()
                if self._within(datetime.datetime.combine(day, clock, zone)):
                    return _HERE
        return match[0]

    def _epoch(self, match: re.Match[str]) -> str:
        moment = datetime.datetime.fromtimestamp(int(match[1]), datetime.UTC)
        return _HERE if self._within(moment) else match[0]


def steps_of(run: Run) -> dict[str, dict[str, Any]]:
    """The run's steps, as far as its record has them in the form of steps."""
    try:
        return {str(name): step for name, step in run.steps.items() if isinstance(step, dict)}
    except (TypeError, ValueError, AttributeError):  # somebody wrote something else
        return {}


def _names(run: Run) -> Rule:
    """The rule for the names of the run itself."""
    names = [re.escape(run.folder.name), re.escape(run.run_id)]
    if not run.run_id[:SHORT].isdigit():  # a plain number may be anything
        names.append(rf"\b{re.escape(run.run_id[:SHORT])}\b")
    return Rule("ids", re.compile("|".join(names)))


def _lately() -> tuple[datetime.datetime, datetime.datetime]:
    """When cells may have been run whose notebook is open now."""
    now = datetime.datetime.now(datetime.UTC)
    return now - _BY_HAND, now + _SLACK


def _span(run: Run) -> tuple[datetime.datetime, datetime.datetime]:
    """When the run began and ended, with some slack; of one without an end, its last sign of life."""
    times = [run.data.get("ended_at")]
    for step in steps_of(run).values():
        times += [step.get("ended_at"), step.get("started_at")]
    known = [run.started_at]
    for text in times:
        try:
            moment = datetime.datetime.fromisoformat(str(text))
        except ValueError:
            continue
        known.append(moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC))
    if not run.data.get("ended_at"):
        known.append(max(known) + datetime.timedelta(hours=1))
    try:
        return min(known) - _SLACK, max(known) + _SLACK
    except OverflowError:  # a year that somebody made up
        return run.started_at, run.started_at


def _in_order(line: str) -> str:
    """The line with what each pair of braces holds in alphabetical order, the inner ones first."""
    for _ in range(5):
        ordered = _BRACES.sub(lambda match: f"⦃{_sorted(match[0][1:-1])}⦄", line)
        if ordered == line:
            break
        line = ordered
    return line.replace("⦃", "{").replace("⦄", "}")


def _sorted(inside: str) -> str:
    """The parts between commas in order; commas within quotes and brackets separate nothing."""
    parts, start, depth, quote = [], 0, 0, ""
    for at, letter in enumerate(inside):
        if quote:
            if letter == quote and inside[at - 1] != "\\":
                quote = ""
        elif letter in "'\"":
            quote = letter
        elif letter in "([⦃":
            depth += 1
        elif letter in ")]⦄":
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(inside[start:at].strip())
            start = at + 1
    parts.append(inside[start:].strip())
    return ", ".join(sorted(parts))
