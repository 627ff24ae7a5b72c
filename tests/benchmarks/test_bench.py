"""`make bench`: what is written is what was measured, and what fails says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from xml.etree import ElementTree

import pytest
from projects import REPOSITORY

sys.path.append(str(REPOSITORY / "benchmarks"))
import bench
import harness
import report
from harness import Case, Failed, Place, Ratio, Ways

ENVIRONMENT = dict(os.environ)
# Each sample is two quartiles' worth apart, so that every figure is known.
OURS = [{"wall": wall, "cpu": 1.0} for wall in (1.0, 2.0, 3.0, 4.0, 5.0)]
THEIRS = [{"wall": wall, "cpu": 4.0} for wall in (8.0, 9.0, 10.0, 11.0, 12.0)]


def one_case(ways: Ways, *ratios: Ratio, name: str = "one") -> Case:
    """A case of these ways."""

    def prepare(place: Place) -> Iterator[Ways]:
        yield ways

    return Case(name, "A chapter", "what it is", ratios, prepare, pairs=5)


def given(samples: list[dict[str, float]]) -> harness.Measure:
    """A way that costs these, one after the other, after one time to warm up."""
    left = [{"wall": 1000.0, "cpu": 1000.0}, *samples]
    return lambda: left.pop(0)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    text = "# Page\n\n<!-- bench:begin -->\nold\n<!-- bench:end -->\n\nThe end.\n"
    (folder / "benchmarks.md").write_text(text, "utf-8")
    return folder


ABOUT = {"machine": "2 CPUs", "versions": "Python 3", "date": "2026-11-28"}
MET = Ratio("quick thing", "ours", "theirs", 0.5)
MISSED = Ratio("slow thing", "ours", "theirs", 0.2)


def test_the_table_the_json_and_the_plot_say_what_was_measured(docs: Path) -> None:
    chosen = one_case({"ours": given(OURS), "theirs": given(THEIRS)}, MET, MISSED)
    said: list[str] = []

    report.write(docs, ABOUT, [harness.measure(chosen, 5, say=said.append)])

    (case,) = json.loads((docs / "benchmarks.json").read_text("utf-8"))["cases"]
    assert case["samples"] == {"ours": OURS, "theirs": THEIRS}
    assert case["ratios"][0] == {
        "title": "quick thing", "what": "ours", "against": "theirs", "of": "wall", "goal": 0.5,
        "error": None, "ratio": 0.3, "quartiles": [0.2, 0.4], "quartiles_against": [0.9, 1.1],
        "cpu": 0.25,
    }  # fmt: skip
    text = (docs / "benchmarks.md").read_text("utf-8")
    assert "| quick thing | theirs | 0.3 | 0.2 – 0.4 | 0.25 | ≤ 0.5 |" in text
    assert "| slow thing | theirs | **0.3** | 0.2 – 0.4 | 0.25 | ≤ 0.2 |" in text
    assert "Measured 2026-11-28 on 2 CPUs, with Python 3." in text.replace("\n", " ")
    assert text.startswith("# Page\n")
    assert text.endswith("\n\nThe end.\n")
    assert "old" not in text
    picture = docs / "images" / "bench-a-chapter.svg"
    assert f"(images/{picture.name})" in text
    drawn = "".join(ElementTree.parse(picture).getroot().itertext())
    assert "quick thing" in drawn
    assert "slow thing" in drawn
    assert "  → quick thing against theirs: 0.3 (0.2 to 0.4), goal 0.5" in said


def test_ways_take_turns_and_the_first_time_does_not_count() -> None:
    order: list[str] = []

    def way(name: str) -> harness.Measure:
        return lambda: order.append(name) or {"wall": float(len(order))}  # type: ignore[func-returns-value]

    found = harness.measure(
        one_case({"a": way("a"), "b": way("b")}, Ratio("x", "a", "b")), 3, say=lambda line: None
    )

    assert [set(order[turn : turn + 2]) for turn in range(0, 8, 2)] == [{"a", "b"}] * 4
    counted = {name: [place + 1.0 for place, one in enumerate(order) if one == name][1:]
               for name in "ab"}  # fmt: skip
    assert found["samples"] == {n: [{"wall": w} for w in walls] for n, walls in counted.items()}
    assert found["ratios"][0]["ratio"] == median(counted["a"]) / median(counted["b"])


def test_a_way_that_fails_says_so_in_its_row_and_the_others_go_on(docs: Path) -> None:
    broken = harness.command(
        [sys.executable, "-c", "raise SystemExit('no such | table')"], docs, ENVIRONMENT
    )
    ways = {"ours": given(OURS), "theirs": given(THEIRS), "broken": broken}
    found = harness.measure(
        one_case(ways, MET, Ratio("odd thing", "ours", "broken")), 5, say=lambda line: None
    )

    report.write(docs, ABOUT, [found])

    text = (docs / "benchmarks.md").read_text("utf-8")
    assert "| quick thing | theirs | 0.3 |" in text
    (row,) = [line for line in text.splitlines() if "odd thing" in line]
    assert row.startswith("| odd thing | broken | **failed** |")
    assert row.count("|") == 7
    assert "exit code 1: no such / table" in row


@pytest.mark.parametrize(("fails", "code"), [(True, 1), (False, 0)])
def test_the_command_ends_with_1_when_something_could_not_be_measured(
    fails: bool, code: int, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(place: Place) -> Iterator[Ways]:
        if fails:
            raise Failed("no such table")
        yield {"ours": given(OURS), "theirs": given(THEIRS)}

    cases = {"one": Case("one", "A chapter", "what it is", [MISSED], prepare, 5)}
    monkeypatch.setattr(bench, "CASES", cases)
    monkeypatch.setattr(report, "DOCS", docs)
    monkeypatch.setattr(sys, "argv", ["bench.py"])

    assert bench.main() == code

    row = json.loads((docs / "benchmarks.json").read_text("utf-8"))["cases"][0]["ratios"][0]
    assert (row["error"] is not None) == fails
    assert row.get("ratio") == (None if fails else 0.3)


def test_what_was_measured_before_stays_beside_new_rows_of_the_same_machine_only(
    docs: Path,
) -> None:
    def measured(name: str) -> dict[str, object]:
        ways = {"ours": given(OURS), "theirs": given(THEIRS)}
        return harness.measure(one_case(ways, MET, name=name), 5, say=lambda line: None)

    def names() -> list[str]:
        return [c["name"] for c in json.loads((docs / "benchmarks.json").read_text())["cases"]]

    report.write(docs, ABOUT, [measured("first")])
    report.write(docs, ABOUT, [measured("second")])
    assert names() == ["first", "second"]

    report.write(docs, ABOUT | {"machine": "8 CPUs"}, [measured("third")])
    assert names() == ["third"]


def test_nothing_written_names_this_machine(docs: Path) -> None:
    def fails() -> harness.Cost:
        raise Failed(f"{REPOSITORY}/x.py: no file /tmp/bench-1/y, {Path.home()}/z")

    ways = {"ours": fails, "theirs": given(THEIRS)}
    report.write(docs, ABOUT, [harness.measure(one_case(ways, MET), 1, say=lambda line: None)])

    for path in (docs / "benchmarks.json", docs / "benchmarks.md"):
        text = path.read_text("utf-8")
        assert "no file" in text
        assert not [p for p in (str(REPOSITORY), "/tmp/", f"{Path.home()}/z") if p in text]


WORK = "import time; kept = bytearray(60_000_000)\nwhile time.process_time() < 0.5: pass"
ORPHAN = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {WORK!r}])"


def in_another(folder: Path) -> Ways:
    """Ways of a process that is not the test's, whose orphans it adopts."""

    def broken() -> harness.Cost:
        raise ValueError("not that")

    return {
        "orphan": harness.command([sys.executable, "-c", ORPHAN], folder, ENVIRONMENT),
        "peak": harness.peak_memory(
            harness.command([sys.executable, "-c", WORK], folder, ENVIRONMENT)
        ),
        "broken": broken,
    }


def test_a_command_costs_what_its_orphans_do_and_its_memory_is_that_of_all(tmp_path: Path) -> None:
    with harness.inside(tmp_path, ENVIRONMENT, in_another, tmp_path) as ways:
        assert ways["orphan"]()["cpu"] > 0.5
        with pytest.raises(Failed, match="ValueError: not that"):
            ways["broken"]()
        assert ways["peak"]()["memory"] > 60_000_000


def test_the_cases_are_named_and_each_is_in_a_chapter() -> None:
    listed = subprocess.run(
        [sys.executable, REPOSITORY / "benchmarks" / "bench.py", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**ENVIRONMENT, "COLUMNS": "2000"},
    ).stdout
    known = listed.partition("may be repeated: ")[2].partition("\n")[0].split(", ")

    assert known == list(bench.CASES)
    assert {"whole-run", "one-stage", "further-stage", "under-service"} <= set(known)
    for chosen in bench.CASES.values():
        assert chosen.ratios, chosen.name
        assert chosen.pairs >= 2, chosen.name
