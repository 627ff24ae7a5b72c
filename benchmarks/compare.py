"""The same notebooks under plain papermill, plain dagstermill and DATAFLOW: what is left of each.

    python benchmarks/compare.py [--write] [--only CASE]

Every case is run for real, in a temporary folder, as a command of its own; what the table says
is what was found afterwards: exit code, stored notebooks, the state of the cell, processes.
`--write` puts the table into docs/stages.md. Takes about seven minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
import psutil
import report
import ways

LONGEST = 120  # seconds for one command
PATIENCE = 30  # seconds for a command to end after it was interrupted
GRACE = 5  # seconds after a command's end until what still runs counts as left behind
MARK = "COMPARE_MARK"  # in the environment of every process of one case
STARTED = "COMPARE_STARTED"  # the file by which a cell says that it runs
SECRET = "canary-7fQ2xW9kLm4Z"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass
class Command:
    """One command that was run to its end, and what it left.

    Args:
        returncode: its exit code; None when it had to be killed.
        seconds: how long it took; for an interrupted one, from the signal on.
        output: what it printed.
        left: how many of its processes were still there five seconds after its end.
    """

    returncode: int | None
    seconds: float
    output: str
    left: int


@dataclass(frozen=True)
class Case:
    """One thing that happens to a notebook.

    Args:
        name: the case, as the table has it.
        cells: the notebook.
        look: says in words what a way left; see `ended`, `kept_defaults` and so on.
        values: parameters of the run.
        interrupt: whether the command gets SIGINT, as by Ctrl-C, once the cell runs.
        runs: how often the notebook is run.
        cause: what must stand in the terminal for it to have named the reason.
    """

    name: str
    cells: Sequence[Any]
    look: Callable[[Case, Found], list[str]]
    values: dict[str, Any] = field(default_factory=dict)
    interrupt: bool = False
    runs: int = 1
    cause: str = ""


@dataclass
class Found:
    """What there is after a case: the last command, and the folder it worked in."""

    command: Command
    folder: Path
    notebooks: list[Path]  # stored by the runs, oldest first

    def stored(self) -> Any:
        """The notebook stored last."""
        return nbformat.read(self.notebooks[-1], as_version=4)

    def place(self) -> str:
        """Where it is, ids left out."""
        return UUID.sub("<id>", str(self.notebooks[-1].relative_to(self.folder)))


# -- what is looked at --------------------------------------------------------------------


def ended(case: Case, found: Found) -> list[str]:
    """How the command ended, what the cell says, what is left running."""
    command = found.command
    if command.returncode is None:
        lines = [f"**still running** {PATIENCE if case.interrupt else LONGEST} s later"]
    else:
        lines = [f"exit code {command.returncode} after {command.seconds:.0f} s"]
    lines += _cell(case, found)
    if case.cause:
        named = "names" if re.search(case.cause, command.output) else "**does not name**"
        lines.append(f"the terminal {named} the cause")
    lines.append("no process left" if not command.left else f"**{command.left} processes left**")
    return lines


def _cell(case: Case, found: Found) -> list[str]:
    if not found.notebooks:
        return ["**no notebook** stored"]
    notebook = found.stored()
    cell = next(c for c in notebook.cells if c.source == case.cells[-2])
    status = cell.metadata.get("papermill", {}).get("status")
    errors = [out for out in cell.get("outputs", []) if out.output_type == "error"]
    said = f"`{errors[0].ename}: {_short(errors[0].evalue)}`" if errors else "**no error** in it"
    return [f"`{found.place()}`", f"the cell is `{status}`, {said}"]


def kept_defaults(case: Case, found: Found) -> list[str]:
    """Whether the stored notebook still shows the defaults, and the run's values in words."""
    sources = [cell.source for cell in found.stored().cells]
    kept = any(case.cells[0].source in source for source in sources)
    shown = any(re.search(r"^minimum = 4\.5", source, re.MULTILINE) for source in sources)
    return [
        f"exit code {found.command.returncode}",
        "default and comment kept" if kept else "**default and comment gone**",
        "the run's value in a cell" if shown else "the run's value **in no cell** as such",
    ]


def kept_secret(case: Case, found: Found) -> list[str]:
    """Where on disk the secret can be read after the run."""
    holding = [
        path
        for path in found.folder.rglob("*")
        if path.is_file() and SECRET.encode() in path.read_bytes()
    ]
    notebooks = sum(path in found.notebooks for path in holding)
    others = len(holding) - notebooks
    if not holding:
        return [f"exit code {found.command.returncode}", "in no file"]
    return [
        f"exit code {found.command.returncode}",
        "**in the notebook**" if notebooks else "not in the notebook",
        f"**in {others} other file{'s' * (others > 1)}**" if others else "in no other file",
    ]


def kept_first(case: Case, found: Found) -> list[str]:
    """Whether the notebook of the first run is there after the second."""
    kept = len(found.notebooks) >= case.runs
    return [
        f"exit code {found.command.returncode}",
        f"{len(found.notebooks)} notebook{'s' if len(found.notebooks) > 1 else ''} after two runs",
        "the first is kept" if kept else "the first is **overwritten**",
    ]


def chatty(case: Case, found: Found) -> list[str]:
    """Whether a run survives much output, and how much of it is stored."""
    if not found.notebooks:
        return [f"exit code {found.command.returncode}", "**no notebook** stored"]
    cell = next(c for c in found.stored().cells if c.source == case.cells[-1])
    text = "".join(out.get("text", "") for out in cell.outputs)
    lines = len(re.findall(r"^line \d+$", text, re.MULTILINE))
    size = found.notebooks[-1].stat().st_size / 1e6
    return [
        f"exit code {found.command.returncode} after {found.command.seconds:.0f} s",
        f"{lines:,} lines stored in {len(cell.outputs):,} outputs, {size:.1f} MB",
        *(["a note says what is missing"] if "not kept" in text else []),
    ]


def _short(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else ""
    line = line.split(";")[0].split(", which")[0]
    return line if len(line) <= 70 else line[:69] + "…"


# -- the cases ----------------------------------------------------------------------------

BEFORE, AFTER = "import os, signal, time", "print('never')"
CASES = {
    "raises": Case(
        "A cell raises `KeyError`",
        [BEFORE, "{'depth': 1}['mag']", AFTER],
        ended,
        cause="KeyError",
    ),
    "exits": Case(
        "The kernel ends itself: `os._exit(7)`",
        [BEFORE, "os._exit(7)", AFTER],
        ended,
        cause="exit code 7",
    ),
    "killed": Case(
        "The kernel is killed: SIGKILL, as when memory runs out",
        [BEFORE, "os.kill(os.getpid(), signal.SIGKILL)", AFTER],
        ended,
        cause="SIGKILL|signal 9",
    ),
    "cancelled": Case(
        "Ctrl-C while a cell is in `time.sleep`",
        [BEFORE, f"open(os.environ[{STARTED!r}], 'w').close(); time.sleep(600)", AFTER],
        ended,
        interrupt=True,
    ),
    "defaults": Case(
        "Defaults of the parameters, when a run changes one",
        [ways.parameters("minimum = 2.5  # drop weaker events"), "print('least:', minimum)"],
        kept_defaults,
        values={"minimum": 4.5},
    ),
    "secret": Case(
        "A secret given as a parameter",
        [ways.parameters("token = ''"), "headers = {'Authorization': 'Bearer ' + token}"],
        kept_secret,
        values={"token": ways.FromEnvironment("COMPARE_TOKEN")},
    ),
    "printed": Case(
        "The same, and a cell prints it",
        [ways.parameters("token = ''"), "print({'Authorization': 'Bearer ' + token})"],
        kept_secret,
        values={"token": ways.FromEnvironment("COMPARE_TOKEN")},
    ),
    "again": Case(
        "The notebook of the run before",
        ["import datetime", "print(datetime.datetime.now())"],
        kept_first,
        runs=2,
    ),
    "chatty": Case(
        "100,000 prints in one cell",
        [BEFORE, "for n in range(100_000):\n    print('line', n, flush=True)"],
        chatty,
    ),
}


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into docs/stages.md")
    parser.add_argument("--only", choices=CASES, action="append", help="this case and no other")
    options = parser.parse_args()
    if options.write and options.only:
        parser.error("--write takes all cases")
    table = make_table([CASES[name] for name in options.only or CASES])
    print(table)
    if options.write:
        report.put(report.DOCS / "stages.md", "compare", table)


def make_table(cases: Sequence[Case]) -> str:
    """What each way does in each case, as Markdown."""
    head = ["", *(way.title for way in ways.WAYS)]
    rows = [head, ["---"] * len(head)]
    for case in cases:
        row = [case.name]
        for way in ways.WAYS:
            print(f"{case.name}: {way.title}", file=sys.stderr, flush=True)
            row.append("<br>".join(observe(case, way)))
        rows.append(row)
    used = ", ".join(f"{name} {version(name)}" for name in ("papermill", "dagstermill", "dagster"))
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"{table}\n\nFound with {used}, Python {sys.version.split()[0]}."


def observe(case: Case, way: ways.Way) -> list[str]:
    """Run one case in one way, and say what is found."""
    folder = Path(tempfile.mkdtemp(prefix="compare-")).resolve()
    try:
        (folder / "tmp").mkdir()
        prepared = way.prepare(folder, case.cells, case.values)
        source = set(folder.rglob("*.ipynb"))
        for _ in range(case.runs):
            command = run(prepared.command, prepared.environment, folder, case.interrupt)
        stored = [
            path
            for path in set(folder.rglob("*.ipynb")) - source
            if ".ipynb_checkpoints" not in path.parts
        ]
        stored.sort(key=lambda path: path.stat().st_mtime)
        return case.look(case, Found(command, folder, stored))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(
    command: Sequence[str], environment: dict[str, str], folder: Path, interrupt: bool
) -> Command:
    """Run a command, interrupt it if so wished, and look for what outlives it."""
    mark = uuid.uuid4().hex
    started = folder / "tmp" / "started"
    own = {
        **environment,
        MARK: mark,
        STARTED: str(started),
        "COMPARE_TOKEN": SECRET,
        "TMPDIR": str(folder / "tmp"),  # what tools leave in temporary folders is found as well
    }
    # Its output goes to a file outside the folder, which is searched for the secret afterwards.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as printed:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=own,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # A shell that starts this in the background has SIGINT ignored.
            preexec_fn=_hear_interrupts,
        )
        begin = time.monotonic()
        try:
            if interrupt:
                while not started.exists() and time.monotonic() < begin + LONGEST:
                    time.sleep(0.1)
                time.sleep(1)
                begin = time.monotonic()
                os.killpg(process.pid, signal.SIGINT)
            returncode = process.wait(PATIENCE if interrupt else LONGEST)
        except subprocess.TimeoutExpired:
            returncode = None
        seconds = time.monotonic() - begin
        left = _outliving(mark)
        count = len(left) if returncode is not None else 0
        for survivor in left:
            _kill(survivor)
        process.wait()
        printed.seek(0)
        return Command(returncode, seconds, printed.read(), count)


def _hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _outliving(mark: str) -> list[psutil.Process]:
    """The processes of a case that are still there after a grace."""
    deadline = time.monotonic() + GRACE
    while (found := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.25)
    return found


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                found.append(process)
        except psutil.Error:
            continue
    return found


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.kill()


if __name__ == "__main__":
    main()
