"""Logs: their end, what is added, and their size."""

from __future__ import annotations

from pathlib import Path

from dataflow.services.logs import (
    Follower,
    KeptLog,
    last_lines,
    limit_log,
    new_log,
    without_colours,
)


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


def test_a_log_that_was_removed_comes_back_with_what_is_printed_after(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    new_log(log)
    with log.open("a") as program:
        kept = KeptLog(log)
        print("first", file=program, flush=True)
        kept.tend()
        for lines in (["second"], ["third", "fourth"]):
            log.unlink(missing_ok=True)
            for line in lines:
                print(line, file=program, flush=True)
            kept.tend()
            assert log.read_text().split() == lines
            assert log.stat().st_mode & 0o077 == 0
        print("fifth", file=program, flush=True)
        kept.tend()
        assert log.read_text().split() == ["third", "fourth", "fifth"]
        log.unlink()
        log.mkdir()
        kept.tend()  # it cannot be written: nothing to end a service for


def test_colours_are_taken_out() -> None:
    assert without_colours("\x1b[32mgreen\x1b[0m line") == "green line"
