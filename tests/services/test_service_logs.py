"""Logs: their end, what is added, and their size."""

from __future__ import annotations

from pathlib import Path

from dataflow.services.logs import Follower, last_lines, limit_log, new_log, without_colours


def test_a_follower_hands_out_whole_lines_once(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    follower = Follower(log)
    assert follower.lines() == []
    log.write_text("one\ntw")
    assert follower.lines() == ["one"]
    with log.open("a") as file:
        file.write("o\nthree\n")
    assert follower.lines() == ["two", "three"]
    assert follower.lines() == []
    assert last_lines(log, 2) == ["two", "three"]


def test_a_log_that_grew_too_large_starts_over_in_place(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    new_log(log)
    with log.open("a") as program:
        program.write("first " * 50 + "\n")
        program.flush()
        follower = Follower(log, at_end=True)
        limit_log(log, limit=1000)
        assert log.stat().st_size == 301
        limit_log(log, limit=100)
        assert log.stat().st_size == 0
        program.write("second\n")
        program.flush()
    assert log.read_text() == "second\n"
    assert (tmp_path / "a.log.1").stat().st_size == 301
    assert follower.lines() == ["second"]


def test_colours_are_taken_out() -> None:
    assert without_colours("\x1b[32mgreen\x1b[0m line") == "green line"
