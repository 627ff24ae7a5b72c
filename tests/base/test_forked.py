"""Children that are forked from a process with modules imported are as new processes are."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from projects import REPOSITORY, wait_until

from dataflow.base import forked
from dataflow.base.forked import ForkServer, Refused, fork
from dataflow.base.process import carrying, started_at

HELPERS = REPOSITORY / "tests" / "helpers"


def surroundings(**more: str) -> dict[str, str]:
    path = os.pathsep.join([str(HELPERS), str(REPOSITORY)])
    foreign = (
        "PYTEST",
        "LC_CTYPE",
        "DATAFLOW_",
        "DAGSTER_",
        "LINES",
        "COLUMNS",
    )  # pytest's last two
    own = {n: v for n, v in os.environ.items() if not n.startswith(foreign)}
    return {**own, "PYTHONPATH": path, "TZ": "Asia/Tokyo", **more}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    folder = tmp_path_factory.mktemp("server")
    server = ForkServer(
        ["no_such", "numpy", "duckdb", "duckdb:close"], surroundings(), folder, ("DATAFLOW_",)
    )
    yield server
    server.close()
    assert not server.folder.exists()


def ask(server: ForkServer, function: str, *arguments: Any, folder: Path, **more: Any) -> Any:
    """Ask for a child without input, with its output in `out` and `err` of `folder`."""
    with (
        Path(os.devnull).open("rb") as given,
        (folder / "out").open("wb") as out,
        (folder / "err").open("wb") as err,
    ):
        files = (given.fileno(), out.fileno(), err.fileno())
        options = {"environment": surroundings(), "title": ["worker", "at", "work"], **more}
        function = f"forked_child:{function}"
        return fork(server.address, function, arguments, folder=folder, files=files, **options)


def test_a_forked_child_sees_what_a_new_process_sees(server, tmp_path):
    before = os.umask(0o027)
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    environment = surroundings(DATAFLOW_RUN_ID="r", DATAFLOW_EMPTY="")
    try:
        child = ask(server, "tell", "told", folder=tmp_path, environment=environment)
        assert child.wait(30) == 7, (tmp_path / "err").read_text()
        fresh = "import sys; del sys.path[0]\nfrom {} import {}; import numpy, duckdb\n".format(
            "forked_child", "tell"
        )
        code = subprocess.run(
            [sys.executable, "-c", f"{fresh}sys.exit(tell('fresh'))"],
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
            check=False,
        )
    finally:
        os.umask(before)
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))

    told, new = (json.loads((tmp_path / name).read_text()) for name in ("told", "fresh"))
    assert code.returncode == 7
    assert code.stdout == (tmp_path / "out").read_bytes() == b"said to stdout\n"
    assert told.pop("random") != new.pop("random")
    assert told.pop("numpy") != new.pop("numpy")
    told.pop("main")
    new.pop("main")
    assert told == new
    assert told["zone"] == ["JST", "JST"]


def test_two_children_draw_other_numbers_and_end_with_their_own_codes(server, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    children = [ask(server, "tell", "told", folder=tmp_path / name) for name in "ab"]

    assert [child.wait(30) for child in children] == [7, 7]
    a, b = (json.loads((tmp_path / name / "told").read_text()) for name in "ab")
    assert a["random"] != b["random"]
    assert a["numpy"] != b["numpy"]


def lingering(server: ForkServer, folder: Path, **more: Any) -> tuple[Any, list[psutil.Process]]:
    child = ask(server, "linger", str(folder / "ids"), folder=folder, **more)
    wait_until((folder / "ids").exists, 30, every=0.02)
    return child, [psutil.Process(int(one)) for one in (folder / "ids").read_text().split()]


def gone(processes: list[psutil.Process]) -> bool:
    """Whether they have ended, if nobody collected them, too."""
    return not any(started_at(process.pid) for process in processes)


def test_a_child_and_its_group_end_when_who_asked_lets_go(server, tmp_path):
    child, processes = lingering(server, tmp_path)
    assert child.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.01)

    child.close()

    wait_until(lambda: gone(processes), 30, every=0.02)


def test_a_signal_reaches_the_child_and_is_its_exit_code(server, tmp_path):
    child, processes = lingering(server, tmp_path)

    child.terminate()

    assert child.wait(30) == -signal.SIGTERM == child.poll()
    child.kill()  # nobody has its id now
    wait_until(lambda: gone(processes), 30, every=0.02)  # what it left in its group


def test_all_threads_that_ask_for_a_childs_end_are_told(server, tmp_path):
    """A time limit looks while another thread waits: whoever reads it first tells the others."""
    for turn in range(10):
        folder = tmp_path / str(turn)
        folder.mkdir()
        child, _ = lingering(server, folder)
        with ThreadPoolExecutor(3) as threads:
            told = [threads.submit(child.wait), threads.submit(child.wait, 30)]
            told += [threads.submit(polled, child)]
            child.terminate()
            assert [one.result(30) for one in told] == [-signal.SIGTERM] * 3


def polled(child: forked.Forked) -> int:
    while (code := child.poll()) is None:
        pass
    return code


def test_others_find_a_child_by_its_environment_and_see_its_title(server, tmp_path):
    environment = surroundings(DATAFLOW_STEP_PROCESSES="one-of-this-test")
    child, processes = lingering(server, tmp_path, environment=environment)

    found = carrying("DATAFLOW_STEP_PROCESSES", "one-of-this-test")

    assert sorted(found, key=lambda p: p.pid) == sorted(processes, key=lambda p: p.pid)
    assert " ".join(processes[0].cmdline()).strip() == "worker at work"
    child.close()


def test_a_child_ends_with_its_server_however_that_ends(tmp_path):
    server = ForkServer([], surroundings(), tmp_path)
    child, processes = lingering(server, tmp_path)
    os.kill(server._process.pid, signal.SIGKILL)

    assert child.wait(30) == -signal.SIGKILL
    wait_until(lambda: gone(processes[:1]), 30, every=0.02)
    with pytest.raises(Refused, match="does not answer"):
        ask(server, "tell", "told", folder=tmp_path)
    processes[1].kill()
    server.close()


STARTS = """
import sys, time
from pathlib import Path
sys.path[:0] = {path!r}
from test_forked import lingering, surroundings
from dataflow.base.forked import ForkServer
server = ForkServer(["json"], surroundings(), Path({folder!r}))
kept = lingering(server, Path({folder!r}))
print(server._process.pid, server.folder, flush=True)
time.sleep(600)
"""


def test_a_server_and_its_children_end_with_a_process_that_is_killed(tmp_path):
    path = [str(Path(__file__).parent), str(HELPERS), str(REPOSITORY)]
    starts = STARTS.format(path=path, folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", starts], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid, folder = process.stdout.readline().split()
    try:
        processes = [psutil.Process(int(n)) for n in [pid, *(tmp_path / "ids").read_text().split()]]
    finally:
        process.kill()
        process.wait()

    wait_until(lambda: gone(processes), 30, every=0.02)
    wait_until(lambda: not Path(folder).exists(), 30, every=0.02)


def test_the_socket_of_a_server_that_was_killed_with_its_parent_is_removed_by_the_next(tmp_path):
    first = ForkServer([], surroundings(), tmp_path)
    first._process.kill()
    first._process.wait()
    second = ForkServer([], surroundings(), tmp_path)

    assert not first.folder.exists()
    assert second.folder.stat().st_mode & 0o777 == 0o700
    second.close()


@pytest.mark.parametrize(
    ("modules", "why"),
    [
        (["broken"], "importing broken failed: ZeroDivisionError"),
        (["lacks"], "importing lacks failed: No module named 'no_such_module'"),
        (["warns"], "warns warns when it is imported: old"),
        (["threads"], "imported modules started threads: 1"),
    ],
)
def test_a_server_refuses_where_its_modules_would_make_a_difference(tmp_path, modules, why):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "lacks.py").write_text("import no_such_module\n")
    (tmp_path / "warns.py").write_text("import warnings\nwarnings.warn('old')\n")
    (tmp_path / "threads.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=[600], daemon=True).start()\n"
    )
    environment = surroundings()
    environment["PYTHONPATH"] += os.pathsep + str(tmp_path)
    server = ForkServer(modules, environment, tmp_path)
    folder = tmp_path / "work"
    folder.mkdir()

    with pytest.raises(Refused, match=why):
        ask(server, "tell", "told", folder=folder, environment=environment)
    server.close()


def test_a_server_refuses_another_environment_and_modules_named_like_its_own(server, tmp_path):
    environment = surroundings(LANG_OF_MINE="x", DATAFLOW_STAGE="s")
    with pytest.raises(Refused, match=r"the environment differs: LANG_OF_MINE$"):
        ask(server, "tell", "told", folder=tmp_path, environment=environment)
    (tmp_path / "numpy").mkdir()
    ask(server, "tell", "told", folder=tmp_path).close()  # data, no package
    (tmp_path / "numpy" / "__init__.py").touch()
    with pytest.raises(Refused, match="modules named like packages: numpy"):
        ask(server, "tell", "told", folder=tmp_path)


def test_where_there_can_be_no_server_it_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(forked.sys, "platform", "darwin")
    with pytest.raises(Refused, match="only Linux"):
        ForkServer([], surroundings(), tmp_path)
    monkeypatch.undo()
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(forked.tempfile, "tempdir", str(long))
    with pytest.raises(Refused, match="cannot be started"):
        ForkServer([], surroundings(), tmp_path)
    assert not list(long.iterdir())
    monkeypatch.setattr(forked.tempfile, "tempdir", str(tmp_path / "gone"))  # or full
    with pytest.raises(Refused, match="no folder for its socket"):
        ForkServer([], surroundings(), tmp_path)
