"""Runs of the service share the processes from which they fork; a run without one has its own."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from projects import REPOSITORY, wait_until
from test_forked import gone, surroundings

from dataflow.base import fork_servers
from dataflow.base.fork_servers import VARIABLE, Keeper, Wanted, fork_server, merged
from dataflow.base.forked import fork

MINE = "DATAFLOW_OF_THIS_TEST"


@pytest.fixture
def state() -> list[str]:
    """What has to be the same for a server to be given again."""
    return ["installed"]


@pytest.fixture
def keeper(state: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeper]:
    monkeypatch.setattr(fork_servers, "LOOK_EVERY", 0.1)
    with tempfile.TemporaryDirectory(prefix="dataflow-") as folder:
        keeper = Keeper(Path(folder, "servers"), lambda: list(state))
        monkeypatch.setenv(VARIABLE, str(Path(folder, "servers")))
        yield keeper
        wait_until(lambda: not [kept for kept in keeper._all if kept.users], 30, every=0.02)
        for kept in keeper._all:
            kept.server.close()


def wanted(*modules: str, **more: str) -> Wanted:
    return Wanted(modules, surroundings(**more), may_differ=("DATAFLOW_",))


@contextlib.contextmanager
def given(*modules: str, **more: str) -> Iterator[str]:
    """The address of the server that a run gets."""
    with fork_server(MINE, wanted(*modules, **more)):
        yield os.environ[MINE]
    assert MINE not in os.environ


def servers(keeper: Keeper) -> int:
    return len([kept for kept in keeper._all if kept.server.is_running()])


def test_runs_share_a_server_and_the_next_one_finds_it(keeper):
    with given("json") as first, given("json", DATAFLOW_RUN_ID="another") as second:
        assert first == second
    with given("json") as third:
        assert third == first
    assert servers(keeper) == 1


def test_one_server_has_what_all_of_them_import_and_a_run_keeps_its_own(keeper, tmp_path):
    with given("json", "decimal") as first:
        with given("json", "csv") as both, given("decimal") as same:
            assert same == both != first
            (tmp_path / "a").mkdir()
            for address in (first, both):
                asked(address, tmp_path / "a")
        assert servers(keeper) == 2
    wait_until(lambda: servers(keeper) == 1, 30, every=0.02)
    assert set(keeper._all[0].wanted.modules) == {"json", "decimal", "csv"}


def asked(address: str, folder: Path) -> None:
    """Have a server fork a child that ends at once."""
    with Path(os.devnull).open("r+b", buffering=0) as nothing:
        files = (nothing.fileno(),) * 3
        options = {"environment": surroundings(), "folder": folder, "files": files, "title": ["x"]}
        assert fork(address, "operator:neg", [-5], **options).wait(30) == 5


def test_another_environment_and_other_packages_take_another_server(keeper, state):
    with given("json", CITY="Lima") as lima, given("json", CITY="Oslo") as oslo:
        assert lima != oslo
    state.append("another package")
    with given("json", CITY="Lima") as new:
        assert new not in (lima, oslo)


@pytest.mark.parametrize("limit", ["IDLE", "OLDEST"])
def test_a_server_that_nobody_uses_ends_in_time(keeper, monkeypatch, limit):
    with given("json"):
        monkeypatch.setattr(fork_servers, limit, 0.5)
        [kept] = keeper._all
        wait_until(lambda: kept.is_old(kept.began + 0.6) or limit == "IDLE", 30, every=0.02)
        assert servers(keeper) == 1, "it is in use"
    wait_until(lambda: servers(keeper) == 0, 30, every=0.02)
    wait_until(lambda: not kept.server.folder.exists(), 30, every=0.02)


def test_of_those_that_nobody_uses_two_are_kept(keeper):
    for city in ("Lima", "Oslo", "Quito"):
        with given("json", CITY=city) as last:
            pass
    wait_until(lambda: servers(keeper) == 2, 30, every=0.02)
    with given("json", CITY="Quito") as again:
        assert again == last


RUN = """
import os, sys, time
from pathlib import Path
sys.path[:0] = {path!r}
from types import SimpleNamespace
from test_fork_servers import given
from test_forked import lingering
with given("json") as address:
    kept = lingering(SimpleNamespace(address=address), Path({folder!r}))
    print("forked", flush=True)
    time.sleep(600)
"""


def start_run(folder: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A process that has asked for a server and forked a child: both, and what that started."""
    path = [str(Path(__file__).parent), str(REPOSITORY / "tests" / "helpers"), str(REPOSITORY)]
    script = RUN.format(path=path, folder=str(folder))
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "forked\n"
    return run, [psutil.Process(int(one)) for one in (folder / "ids").read_text().split()]


def test_what_a_killed_run_has_forked_ends_and_the_server_goes_on(keeper, tmp_path):
    with given("json") as address:
        run, processes = start_run(tmp_path)
        run.kill()
        run.wait()
        wait_until(lambda: gone(processes), 30, every=0.02)
        wait_until(lambda: [kept.users for kept in keeper._all] == [1], 30, every=0.02)
        with given("json") as again:
            assert again == address


def test_a_run_goes_on_when_the_service_that_gave_it_a_server_was_killed(tmp_path, monkeypatch):
    with tempfile.TemporaryDirectory(prefix="dataflow-") as folder:
        monkeypatch.setenv(VARIABLE, str(Path(folder, "servers")))
        keeps = (
            "import sys, time; from pathlib import Path; "
            "from dataflow.base.fork_servers import Keeper; "
            "Keeper(Path(sys.argv[1]), list); print('there', flush=True); time.sleep(600)"
        )
        service = subprocess.Popen(
            [sys.executable, "-c", keeps, os.environ[VARIABLE]], stdout=subprocess.PIPE, text=True
        )
        assert service.stdout is not None
        assert service.stdout.readline() == "there\n"
        run, processes = start_run(tmp_path)
        [server] = psutil.Process(service.pid).children()

        service.kill()
        service.wait()

        with pytest.raises(psutil.TimeoutExpired):
            server.wait(3)  # longer than it takes to notice
        assert all(process.is_running() for process in processes)
        run.send_signal(signal.SIGTERM)
        run.wait()
        wait_until(lambda: gone([server, *processes]), 30, every=0.02)


@pytest.mark.parametrize("gives", [lambda path: None, lambda path: path.write_text("no socket")])
def test_a_run_has_its_own_where_the_service_gives_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    gives: Callable[[Path], object],
):
    gives(tmp_path / "servers")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "servers"))
    (tmp_path / "work").mkdir()
    before = psutil.Process().children()
    with caplog.at_level(logging.INFO, logger="dataflow"), given("json") as address:
        asked(address, tmp_path / "work")
        [server] = [child for child in psutil.Process().children() if child not in before]
    assert "the service gives no process to fork from, this run has its own" in caplog.text
    assert not server.is_running()


def test_both_orders_are_kept_where_two_are_merged():
    first, second = ["begin", "a", "b", "b:x", "d", "end"], ["begin", "b", "b:x", "c", "e", "end"]
    both = merged(first, second)
    assert sorted(both) == sorted({*first, *second})
    for one in (first, second):
        assert [name for name in both if name in one] == one
