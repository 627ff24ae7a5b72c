"""Measure what DATAFLOW costs, against the plain tools: `make bench`.

    make bench                              everything, written into docs/benchmarks.md
    make bench ARGS="--only whole-run --pairs 2"    only printed
    make bench ARGS=--quick                 small sizes, one pair: whether it works

Ratios carry over to other machines, seconds do not. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module

import report
from harness import CASES, measure

for subject in ("workflow_runs", "commands", "warehouse", "cells", "memory"):
    import_module(subject)  # registers its cases, in this order


def main() -> int:
    """Measure, print, write; the exit code is 1 when a case failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", action="append", choices=CASES, metavar="CASE",
        help=f"this case and no other, may be repeated: {', '.join(CASES)}",
    )  # fmt: skip
    parser.add_argument("--pairs", type=int, help="how often each way is measured")
    parser.add_argument("--quick", action="store_true", help="small sizes, and one pair")
    parser.add_argument(
        "--write", action="store_true",
        help="put what was measured into docs/benchmarks.md also with --only; "
        "the other rows stay, if they are of the same machine and versions",
    )  # fmt: skip
    options = parser.parse_args()
    if options.write and options.quick:
        parser.error("--quick measures small sizes, which the page does not show")
    chosen = [CASES[name] for name in options.only or CASES]
    about = report.about()
    say(f"{about['machine']}, load {os.getloadavg()[0]:.1f}\n{about['versions']}\n")
    writes = options.write or not (options.only or options.quick or options.pairs)
    measured = []
    for one in chosen:
        pairs = options.pairs or (1 if options.quick else one.pairs)
        measured.append(measure(one, pairs, quick=options.quick, say=say))
        if writes:  # each at once: it takes long, and something may come in between
            report.write(report.DOCS, about, measured)
    if writes:
        print(f"written: {report.DOCS.name}/benchmarks.md")
    rows = [row for one in measured for row in one["ratios"]]
    failed = sum(row["error"] is not None for row in rows)
    missed = sum(report.is_missed(row) for row in rows)
    print(f"{len(rows)} ratios, {failed} failed, {missed} above their goal")
    return 1 if failed else 0


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
