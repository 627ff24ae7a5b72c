"""The one way of measuring: several ways to do the same, in turns, and the ratios of their medians.

A case is a function that prepares a folder and yields its ways, each a function that does the thing
once and returns what that cost. It says which ratios are wanted:

    @case("A run", "A workflow of one stage", Ratio("whole", "DATAFLOW", "papermill", goal=1.0))
    def one_stage(place: Place) -> Iterator[Ways]:
        yield {"DATAFLOW": command(...), "papermill": command(...)}
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

LONGEST = 900  # seconds for one command
LINGER = 30  # seconds for what a command left running to end, so that its CPU time counts
SAMPLED = 0.05  # seconds from one look at the memory to the next
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

Cost = dict[str, float]  # "wall" and "cpu" in seconds, "memory" in bytes, seconds of a part by name
Measure = Callable[[], Cost]
Ways = Mapping[str, Measure]


@dataclass(frozen=True)
class Ratio:
    """A row of the table: what one way costs, divided by what another one does.

    Args:
        title: what the row is about.
        what: the way that is measured.
        against: the way that it is measured against.
        goal: what the ratio should be at most; None where there is no goal.
        of: what is compared: a key of `Cost`.
    """

    title: str
    what: str
    against: str
    goal: float | None = None
    of: str = "wall"


@dataclass(frozen=True)
class Place:
    """Where a case is prepared.

    Args:
        folder: an empty temporary folder.
        quick: whether small sizes will do.
    """

    folder: Path
    quick: bool

    def size(self, usual: int, quick: int) -> int:
        """A size: the usual one, or a small one where it has to be quick."""
        return quick if self.quick else usual


Prepare = Callable[[Place], Iterator[Ways]]


@dataclass(frozen=True)
class Case:
    """Something that is measured.

    Args:
        name: by which `--only` chooses it.
        chapter: the heading in the page.
        title: what it is, in words.
        ratios: what of it is shown.
        prepare: yields its ways, and cleans up.
        pairs: how often each way is measured.
        warm: whether each way is done once before, which does not count.
    """

    name: str
    chapter: str
    title: str
    ratios: Sequence[Ratio]
    prepare: Prepare
    pairs: int
    warm: bool = True


CASES: dict[str, Case] = {}


def case(
    chapter: str, title: str, *ratios: Ratio, pairs: int = 5, warm: bool = True, name: str = ""
) -> Callable[[Prepare], Prepare]:
    """Make a case of a function; arguments are those of `Case`, the name is the function's."""

    def register(prepare: Prepare) -> Prepare:
        known = name or prepare.__name__.replace("_", "-")
        CASES[known] = Case(known, chapter, title, ratios, prepare, pairs, warm)
        return prepare

    return register


# -- measuring a case ---------------------------------------------------------------------


def measure(
    chosen: Case, pairs: int, *, quick: bool = False, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Measure a case: each way once to warm up, then in turns, in an order that changes.

    A way that fails is not tried again; the others go on.

    Args:
        chosen: the case.
        pairs: how often each way is measured.
        quick: whether small sizes will do.
        say: told what is measured as it is.

    Returns:
        Its part of the JSON: the samples or the error of each way, and the ratios.
    """
    say(f"{chosen.name}: {chosen.title}")
    begin = time.monotonic()
    samples: dict[str, list[Cost]] = {}
    errors: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        place = Place(Path(name).resolve(), quick)
        try:
            with contextlib.contextmanager(chosen.prepare)(place) as ways:
                samples = {way: [] for way in ways}
                order = list(ways)
                for turn in range(0 if chosen.warm else 1, 1 + pairs):
                    for way in order:
                        if way not in errors:
                            _measure_once(way, ways[way], turn, samples[way], errors, say)
                    # Who comes after a heavy one finds the machine's caches full of that one's.
                    random.shuffle(order)
        except Exception as error:
            errors[""] = _described(error)
            say(f"  failed: {errors['']}")
    ratios = [compare(ratio, samples, errors) for ratio in chosen.ratios]
    for row in ratios:
        say(f"  → {in_words(row)}")
    say(f"  ({time.monotonic() - begin:.0f} s)\n")
    return {
        "name": chosen.name,
        "chapter": chosen.chapter,
        "title": chosen.title,
        "pairs": pairs,
        "samples": samples,
        "errors": errors,
        "ratios": ratios,
    }


def _measure_once(
    way: str,
    once: Measure,
    turn: int,
    samples: list[Cost],
    errors: dict[str, str],
    say: Callable[[str], None],
) -> None:
    try:
        cost = once()
    except Exception as error:
        errors[way] = _described(error)
        say(f"  {way} failed: {errors[way]}")
        return
    if turn:
        samples.append(cost)
    say(f"  {way:48} {_amounts(cost)}{'' if turn else '  (to warm up, not counted)'}")


def compare(
    ratio: Ratio, samples: Mapping[str, Sequence[Cost]], errors: Mapping[str, str]
) -> dict[str, Any]:
    """The ratio of two ways' medians, with both ways' quartiles, all divided by the same median.

    Args:
        ratio: which ways, and what of them.
        samples: what each way cost, each time.
        errors: by way why it failed; by "" why the case did.
    """
    row: dict[str, Any] = {
        "title": ratio.title, "what": ratio.what, "against": ratio.against,
        "of": ratio.of, "goal": ratio.goal, "error": None,
    }  # fmt: skip
    for way in ("", ratio.what, ratio.against):
        if way in errors:
            return row | {"error": f"{way}: {errors[way]}" if way else errors[way]}
    ours, theirs = samples.get(ratio.what), samples.get(ratio.against)
    if not ours or not theirs:
        return row | {"error": "nothing was measured"}
    base = statistics.median(cost[ratio.of] for cost in theirs)
    row |= {
        "ratio": statistics.median(cost[ratio.of] for cost in ours) / base,
        "quartiles": quartiles([cost[ratio.of] / base for cost in ours]),
        "quartiles_against": quartiles([cost[ratio.of] / base for cost in theirs]),
    }
    if ratio.of == "wall" and all("cpu" in cost for cost in (*ours, *theirs)):
        cpu = [statistics.median(cost["cpu"] for cost in way) for way in (ours, theirs)]
        if cpu[1] > 0:
            row["cpu"] = cpu[0] / cpu[1]
    return row


def quartiles(values: Sequence[float]) -> list[float]:
    """The first and the third quartile; of a single value it is that one."""
    if len(values) == 1:
        return [values[0], values[0]]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return [first, third]


def in_words(row: Mapping[str, Any]) -> str:
    """A row in one line, as it is printed."""
    said = f"{row['title']} against {row['against']}"
    if row["error"]:
        return f"{said}: FAILED: {row['error']}"
    low, high = row["quartiles"]
    goal = "" if row["goal"] is None else f", goal {row['goal']:g}"
    return f"{said}: {row['ratio']:.3g} ({low:.3g} to {high:.3g}){goal}"


def _amounts(cost: Cost) -> str:
    return "  ".join(
        f"{name} {value / 1e6:.0f} MB" if name == "memory" else f"{name} {value:.3f} s"
        for name, value in cost.items()
    )


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


# -- ways ---------------------------------------------------------------------------------


class Failed(Exception):
    """A command that did not succeed, with the end of what it printed."""


def command(words: Sequence[str | Path], folder: Path, environment: Mapping[str, str]) -> Measure:
    """A way that runs a command to its end; its CPU includes that of all its descendants."""

    def once() -> Cost:
        _adopt_orphans()
        there = {child.pid for child in psutil.Process().children()}
        before, begin = _cpu_of_children(), time.monotonic()
        run(words, folder, environment)
        wall = time.monotonic() - begin
        _reap(there)
        return {"wall": wall, "cpu": _cpu_of_children() - before}

    return once


def run(words: Sequence[str | Path], folder: Path, environment: Mapping[str, str]) -> str:
    """Run a command to its end; returns what it printed.

    Raises:
        Failed: its exit code is not 0, or it took too long.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as printed:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        try:
            code = process.wait(LONGEST)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        printed.seek(0)
        text = printed.read()
    if code:
        last = " / ".join(text.strip().splitlines()[-3:])
        named = " ".join(Path(word).name for word in map(str, words[:6]))
        raise Failed(f"{named} ended with exit code {code}: {last}")
    return text


def in_a_row(parts: Ways) -> Measure:
    """A way that does several things one after the other; each one's seconds go by its name."""

    def once() -> Cost:
        costs = {name: part() for name, part in parts.items()}
        whole = {key: sum(cost[key] for cost in costs.values()) for key in ("wall", "cpu")}
        return whole | {name: cost["wall"] for name, cost in costs.items()}

    return once


def each_more(few: Measure, many: Measure, more: int) -> Measure:
    """A way that does one of the things of which `many` does so many more than `few`."""

    def once() -> Cost:
        lower, upper = few(), many()
        return {key: (upper[key] - lower[key]) / more for key in lower}

    return once


def timed(function: Callable[[], object], before: Callable[[], object] = lambda: None) -> Measure:
    """A way that calls a function in this process; `before` is called first, and not counted."""

    def once() -> Cost:
        before()
        cpu, begin = _cpu_of_all(), time.monotonic()
        function()
        return {"wall": time.monotonic() - begin, "cpu": _cpu_of_all() - cpu}

    return once


@contextlib.contextmanager
def inside(
    folder: Path, environment: Mapping[str, str], make: Callable[..., Ways], *arguments: Any
) -> Iterator[Ways]:
    """Ways in a process of their own, which stays: what they import, they import once.

    Args:
        folder: the process's current folder.
        environment: its environment.
        make: makes the ways, in that process: a function of a module.
        arguments: of `make`.
    """
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    target = (theirs, folder, dict(environment), make, arguments)
    process = spawn.Process(target=_serve, args=target)
    process.start()
    theirs.close()

    def answer() -> Any:
        try:
            error, found = ours.recv()
        except EOFError:
            process.join()
            raise Failed(f"the process ended with exit code {process.exitcode}") from None
        if error:
            raise Failed(error)
        return found

    def asked(way: str) -> Measure:
        def once() -> Cost:
            ours.send(way)
            return answer()

        return once

    try:
        yield {way: asked(way) for way in answer()}
    finally:
        ours.close()
        process.join(30)
        if process.is_alive():
            process.kill()


def _serve(
    connection: Any,
    folder: Path,
    environment: Mapping[str, str],
    make: Callable[..., Ways],
    arguments: Sequence[Any],
) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, str(folder))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    try:
        ways = make(*arguments)
        connection.send((None, list(ways)))
    except Exception as error:
        connection.send((_described(error), None))
        return
    while True:
        try:
            way = connection.recv()
        except EOFError:
            return
        try:
            connection.send((None, ways[way]()))
        except Exception as error:
            connection.send((_described(error), None))


def peak_memory(way: Measure, before: Collection[int] | None = None) -> Measure:
    """A way's peak of memory: of all processes that it starts, what they share counted once.

    Args:
        way: what is done.
        before: the processes that do not count; those that there are just before when None.
    """

    def once() -> Cost:
        there = set(descendants() if before is None else before)
        peak, ended = 0, threading.Event()

        def look() -> None:
            nonlocal peak
            while not ended.wait(SAMPLED):
                peak = max(peak, memory_of(set(descendants()) - there))

        looking = threading.Thread(target=look)
        looking.start()
        try:
            way()
        finally:
            ended.set()
            looking.join()
        return {"memory": peak}

    return once


def memory_of(pids: Iterable[int]) -> int:
    """The bytes of some processes' memory (PSS: a page that several share is divided)."""
    total = 0
    for pid in pids:
        # It may have ended.
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += 1024 * int(line.split()[1])
    return total


def descendants() -> list[int]:
    """The processes that this one started, and those that they did; orphans too."""
    _adopt_orphans()
    return [process.pid for process in psutil.Process().children(recursive=True)]


def _adopt_orphans() -> None:
    """Have descendants whose parent ends become children of this process: none gets lost."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _reap(there: set[int]) -> None:
    """Wait a moment for adopted processes to end, apart from those that were there before."""
    deadline = time.monotonic() + LINGER
    while time.monotonic() < deadline:
        children = [child for child in psutil.Process().children() if child.pid not in there]
        for child in children:
            with contextlib.suppress(ChildProcessError, psutil.NoSuchProcess):
                if child.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(child.pid, os.WNOHANG)
        if not children:
            return
        time.sleep(0.02)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cpu_of_all() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime + _cpu_of_children()
