"""How a notebook may end badly: the right cell says so, the file is there, no kernel is left."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from engine_helpers import run_cells, start_cells
from projects import error_of, has_ended, statuses, text_of, wait_until

from dataflow.engine import KernelFailed, NoKernel


def test_a_cell_that_raises_is_marked_and_those_after_it_stay_pending(tmp_path: Path) -> None:
    ended = run_cells(tmp_path, ["print('one')", "print('two')\n{}['mag']", "print('three')"])
    assert ended.status == "failed"
    assert statuses(ended.notebook) == ["completed", "failed", "pending"]
    assert error_of(ended.notebook).ename == "KeyError"
    assert [text_of(cell) for cell in ended.code] == ["one\n", "two\n", ""]
    assert ended.notebook.cells[1].metadata.papermill.exception is True


def test_a_cell_tagged_as_expected_to_raise_does_not_end_the_notebook(tmp_path: Path) -> None:
    cell = nbformat.v4.new_code_cell("1 / 0", metadata={"tags": ["raises-exception"]})
    ended = run_cells(tmp_path, [cell, "print('on')"])
    assert ended.status == "completed"
    assert statuses(ended.notebook) == ["completed", "completed"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os._exit(7)", "ended itself with exit code 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by signal 9 (SIGKILL)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal 11 (SIGSEGV)"),
    ],
    ids=["os._exit", "SIGKILL", "SIGSEGV"],
)
def test_a_kernel_that_dies_is_told_with_its_reason(tmp_path: Path, code: str, reason: str) -> None:
    ended = run_cells(tmp_path, ["a = 1", f"print('before', flush=True)\n{code}", "b = 2"])
    assert ended.status == "failed"
    assert statuses(ended.notebook) == ["completed", "failed", "pending"]
    error = error_of(ended.notebook)
    assert error.ename == "KernelDied"
    assert reason in error.evalue
    assert ended.seconds < 100, "it was heard of, not waited for"


@pytest.mark.parametrize(
    "code",
    [
        "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(1) as pool:\n"
        "    pool.apply(stage.check, ('whole', False))",
        "import subprocess, sys\nscript = 'from dataflow import stage; stage.check(1, False)'\n"
        "done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)\n"
        "assert done.returncode == 0, done.stderr",
    ],
    ids=["fork", "subprocess"],
)
def test_a_check_that_the_engine_cannot_hear_is_an_error(tmp_path: Path, code: str) -> None:
    ended = run_cells(tmp_path, ["from dataflow import stage", code])
    assert statuses(ended.notebook) == ["completed", "failed"]
    shown = json.dumps(ended.notebook.cells[1].outputs)
    assert "work in the notebook's own process" in shown


@pytest.mark.parametrize("code", ["exit()", "print('before'); quit()"])
@pytest.mark.parametrize("after", [[], ["import time; time.sleep(3)"]])
def test_a_cell_that_ends_its_kernel_has_failed_wherever_it_stands(
    tmp_path: Path, code: str, after: list[str]
) -> None:
    ended = run_cells(tmp_path, ["a = 1", code, *after])
    assert statuses(ended.notebook) == ["completed", "failed", *["pending"] * len(after)]
    error = error_of(ended.notebook)
    assert error.ename == "KernelExit"
    assert "stage.skip(reason)" in error.evalue


def test_a_kernel_runs_alike_under_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "jupyter" / "kernels" / "analysis"
    named.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Analysis", "language": "python"}
    (named / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    ended = run_cells(tmp_path, ["print(here)"], kernel_name="analysis", first_line="here = 1")
    assert text_of(ended.code[0]) == "1\n"


def test_a_kernel_that_runs_out_of_memory_is_told(tmp_path: Path) -> None:
    hungry = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2_000_000_000, 2_000_000_000))\n"
        "x = bytearray(4_000_000_000)"
    )
    ended = run_cells(tmp_path, [hungry, "print('never')"])
    assert statuses(ended.notebook) == ["failed", "pending"]
    assert error_of(ended.notebook).ename == "MemoryError"


def test_a_cell_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    ended = run_cells(
        tmp_path,
        ["a = 1", "print('began', flush=True)\nimport time; time.sleep(60)", "b = 2"],
        execution_timeout=2,
    )
    assert statuses(ended.notebook) == ["completed", "failed", "pending"]
    error = error_of(ended.notebook)
    assert (error.ename, error.evalue) == ("Timeout", "the cell's time limit of 2 s ran out")
    assert text_of(ended.code[1]) == "began\n"
    assert ended.seconds < 50


def test_the_notebooks_time_limit_counts_all_cells_together(tmp_path: Path) -> None:
    nap = "import time; time.sleep(1.2)"
    ended = run_cells(tmp_path, [nap, nap, nap, nap], notebook_timeout=2)
    assert statuses(ended.notebook) == ["completed", "failed", "pending", "pending"]
    assert "the notebook's time limit of 2 s" in error_of(ended.notebook).evalue


def test_a_kernel_that_does_not_exist_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(NoKernel, match="no Jupyter kernel `no-such-kernel`") as raised:
        run_cells(tmp_path, ["a = 1"], kernel_name="no-such-kernel")
    assert "python3" in raised.value.known
    nb = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert nb.metadata.papermill.status == "failed"


def test_a_kernel_that_ends_at_once_is_tried_again_and_then_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "jupyter" / "kernels" / "broken"
    broken.mkdir(parents=True)
    log = tmp_path / "starts"
    argv = [
        sys.executable,
        "-c",
        f"open({str(log)!r}, 'a').write('x'); raise SystemExit('no luck')",
    ]
    spec = {"argv": argv, "display_name": "Broken", "language": "python"}
    (broken / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    with pytest.raises(KernelFailed, match=r"kernel broken does not start.*no luck"):
        run_cells(tmp_path, ["a = 1"], kernel_name="broken")
    assert log.read_text() == "xxx"
    nb = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert nb.metadata.papermill.status == "failed"


SLEEP = "began()\nimport time; time.sleep(120)"
QUERY = (
    "import duckdb\nbegan()\n"
    "duckdb.sql('select sum(a.i * b.i) from range(3_000_000) a(i), range(3_000_000) b(i)').show()"
)
STUBBORN = (
    "import signal, time\n"
    "for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)\n"
    "began()\n"
    "while True:\n"
    "    try: time.sleep(120)\n"
    "    except BaseException: pass"
)
# Keeps the process that listens busy: a signal comes while it handles a message.
CHATTY = "began()\nwhile True: print('on and on', flush=True)"


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        pytest.param(CHATTY, signal.SIGTERM, id="chatty-SIGTERM"),
        pytest.param(SLEEP, signal.SIGINT, id="sleep-SIGINT"),
        pytest.param(QUERY, signal.SIGTERM, id="query-SIGTERM"),
        pytest.param(STUBBORN, signal.SIGTERM, id="stubborn-SIGTERM"),
    ],
)
@pytest.mark.slow
def test_a_cancelled_notebook_says_so_and_its_kernel_is_gone_at_once(
    tmp_path: Path, cell: str, number: int
) -> None:
    execution = start_cells(tmp_path, ["print('first')", cell, "print('never')"])
    kernel = execution.wait_for_cell()
    start = time.monotonic()
    execution.process.send_signal(number)
    assert execution.end() != 0
    wait_until(lambda: has_ended(kernel))
    assert time.monotonic() - start < 60, "the cell takes two minutes, or for ever"
    nb = nbformat.read(execution.output, as_version=4)
    assert nb.metadata.papermill.status == "cancelled"
    assert statuses(nb) == ["completed", "completed", "cancelled", "pending"]
    assert error_of(nb).ename == "Cancelled"
    assert text_of(nb.cells[1]) == "first\n"


@pytest.mark.parametrize("cell", [QUERY, STUBBORN], ids=["query", "stubborn"])
@pytest.mark.slow
def test_the_kernel_dies_with_an_engine_that_is_killed(tmp_path: Path, cell: str) -> None:
    execution = start_cells(tmp_path, ["print('first')", cell])
    kernel = execution.wait_for_cell()

    def saved() -> list[str]:
        return statuses(nbformat.read(execution.output, as_version=4))

    wait_until(lambda: saved() == ["completed", "completed", "running"])  # by the clock
    execution.process.kill()
    wait_until(lambda: has_ended(kernel))
    nb = nbformat.read(execution.output, as_version=4)
    assert statuses(nb) == ["completed", "completed", "running"]
    assert text_of(nb.cells[1]) == "first\n"


@pytest.mark.slow
def test_a_kernel_killed_from_outside_is_told(tmp_path: Path) -> None:
    execution = start_cells(tmp_path, [SLEEP])
    kernel = execution.wait_for_cell()
    kernel.kill()
    assert execution.end() == 0
    nb = nbformat.read(execution.output, as_version=4)
    assert statuses(nb) == ["completed", "failed"]
    error = error_of(nb)
    assert error.ename == "KernelDied"
    assert "killed by signal 9 (SIGKILL)" in error.evalue
    assert "MB" in error.evalue


def test_a_stopped_kernel_is_ended_by_a_cancel_too(tmp_path: Path) -> None:
    execution = start_cells(tmp_path, [SLEEP])
    kernel = execution.wait_for_cell()
    kernel.suspend()
    execution.process.send_signal(signal.SIGINT)
    execution.end()
    wait_until(lambda: has_ended(kernel))


@pytest.mark.slow
def test_a_notebook_cancelled_while_its_kernel_starts_is_cancelled_not_completed(
    tmp_path: Path,
) -> None:
    execution = start_cells(tmp_path, ["print('never')"])

    def kernels() -> list[psutil.Process]:
        return psutil.Process(execution.process.pid).children(recursive=True)

    (kernel,) = wait_until(kernels, every=0.02)
    execution.process.send_signal(signal.SIGINT)
    execution.end()
    wait_until(lambda: has_ended(kernel))
    nb = nbformat.read(execution.output, as_version=4)
    assert nb.metadata.papermill.status == "cancelled"
    assert set(statuses(nb)) == {"pending"}


INTERRUPTED_SOCKET = """
import os, signal, zmq

get = zmq.Socket.get

def interrupted(socket, option):
    if option == zmq.TYPE:  # asked for as a socket is made
        zmq.Socket.get = get
        os.kill(os.getpid(), signal.SIGINT)
    return get(socket, option)

zmq.Socket.get = interrupted
"""


def test_a_cancel_while_a_socket_is_made_is_not_waited_for_without_end(tmp_path: Path) -> None:
    execution = start_cells(tmp_path, ["print('never')"], before=INTERRUPTED_SOCKET)

    execution.end()

    nb = nbformat.read(execution.output, as_version=4)
    assert nb.metadata.papermill.status == "cancelled"
    assert set(statuses(nb)) == {"pending"}


def test_two_interrupts_in_a_row_leave_no_kernel_and_a_readable_file(tmp_path: Path) -> None:
    execution = start_cells(tmp_path, [SLEEP])
    kernel = execution.wait_for_cell()
    for _ in range(2):
        execution.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    execution.end()
    wait_until(lambda: has_ended(kernel))
    assert statuses(nbformat.read(execution.output, as_version=4))


def test_what_goes_wrong_in_the_engine_itself_is_a_failure_and_no_cancel(tmp_path):
    def full(name: str, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        run_cells(tmp_path, ["print('much')", "'never'"], on_output=full)

    nb = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert statuses(nb) == ["failed", "pending"]
    assert "No space left" in error_of(nb).evalue


# Every way that a notebook leaves something behind: in its group, in a session of its own, with
# a parent that is gone, and with nothing of its environment.
STARTS = """
import os, subprocess, time
def start(*words, **options):
    subprocess.Popen([*words, {marker!r}], **options)
start("sleep", "300")
start("sleep", "300", start_new_session=True)
start("setsid", "-f", "sleep", "300")
get_ipython().system_raw("nohup sleep 300 {marker} > /dev/null 2>&1 &")
if {bare}:
    start("sleep", "300", start_new_session=True, env={{}})
if os.fork() == 0:
    os.setsid()
    os.execvp("sleep", ["sleep", "300", {marker!r}])
time.sleep(0.5)
"""


def carrying_marker(marker: str) -> list[psutil.Process]:
    found = [p for p in psutil.process_iter(["cmdline"]) if marker in (p.info["cmdline"] or [])]
    return [p for p in found if not has_ended(p)]


@pytest.mark.parametrize(
    "end",
    ["pass", "1 / 0", "time.sleep(60)", "os.kill(os.getpid(), 9)", "os._exit(0)", SLEEP],
    ids=["success", "failure", "timeout", "killed", "exit", "cancel"],
)
def test_what_a_notebook_started_ends_with_it_however_it_ends(tmp_path: Path, end: str) -> None:
    marker = f"{time.time_ns()}s"  # an argument of `sleep`, by which this test knows its own
    bare = "os." not in end  # a kernel that is gone cannot be asked what it started
    cells = [STARTS.format(marker=marker, bare=bare), end]
    another = subprocess.Popen(["sleep", "300", marker], start_new_session=True)
    try:
        if end == SLEEP:
            execution = start_cells(tmp_path, cells)
            execution.wait_for_cell()
            wait_until(lambda: len(carrying_marker(marker)) == 7)
            execution.process.send_signal(signal.SIGINT)
            execution.end()
        else:
            run_cells(tmp_path, cells, execution_timeout=4 if "60" in end else None)

        assert [process.pid for process in carrying_marker(marker)] == [another.pid]
    finally:
        for process in carrying_marker(marker):
            process.kill()
        another.wait()
