"""Measuring several ways to do the same: in turns, medians, and ratios to the plain tool."""

from __future__ import annotations

import random
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LONGEST = 180  # seconds for one command
Cost = tuple[float, float]  # seconds of CPU, seconds of wall time


def command(
    words: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Callable[[], Cost]:
    """A function that runs a command to its end and returns what that cost, children included."""

    def measure() -> Cost:
        before, begin = _of_children(), time.monotonic()
        subprocess.run(
            words,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=LONGEST,
            check=True,
        )
        return _of_children() - before, time.monotonic() - begin

    return measure


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def show(title: str, measures: dict[str, Callable[[], Cost]], repeats: int, *, base: str) -> None:
    """Measure in turns and print the medians, with the ratio to the way called `base`."""
    costs: dict[str, list[Cost]] = {name: [] for name in measures}
    order = list(measures)
    for _ in range(repeats):
        for name in order:
            costs[name].append(measures[name]())
        # Who comes after a heavy one finds the machine's caches full of that one's things.
        random.shuffle(order)
    median = {
        name: tuple(statistics.median(values) for values in zip(*found, strict=True))
        for name, found in costs.items()
    }
    plain = median[base]
    of = f"CPU of {base.removeprefix('plain ')}"
    print(f"{title}\n  {'':20}{'CPU s':>8}{'wall s':>8}{of:>19}{'wall':>7}")
    for name, (cpu, wall) in median.items():
        print(f"  {name:20}{cpu:8.2f}{wall:8.2f}{cpu / plain[0]:19.2f}{wall / plain[1]:7.2f}")
    print(flush=True)
