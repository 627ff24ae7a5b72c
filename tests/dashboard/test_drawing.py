"""Small drawings: their lines meet, and stay within their width."""

from __future__ import annotations

import itertools
import re

import pytest

from dataflow.services.drawing import WIDEST, graph, trend

GRAPHS = {
    "chain": {"a": None, "b": None, "c": None},
    "diamond": {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]},
    "skip": {"a": [], "b": ["a"], "c": ["b"], "d": ["c", "a"]},
    "apart": {"a": [], "b": [], "c": ["a"], "d": ["b"], "e": []},
    "unknown": {"a": ["gone"], "b": ["a", "later"], "later": ["b", "b"]},
    "wide": {
        "a": [],
        **{f"s{n}": ["a"] for n in range(70)},
        "z": [f"s{n}" for n in range(70)],
    },
}


def ends(path: str) -> tuple[float, float]:
    """Where a line begins at the top, and ends at the bottom."""
    numbers = [float(text) for text in re.findall(r"[\d.]+", path)]
    return numbers[0], numbers[0] if "V" in path else numbers[-2]


@pytest.mark.parametrize("name", GRAPHS)
def test_the_lines_of_a_graph_go_on_from_row_to_row_and_end_in_dots(name):
    """Every line that leaves a row enters the next, and none ends between dots."""
    after = GRAPHS[name]
    rows = list(graph(after).values())

    assert [len(rows), rows[0].above, rows[-1].below] == [len(after), (), ()]
    for row, following in itertools.pairwise(rows):
        left = sorted(ends(path)[1] for path in row.below)
        assert left == sorted(ends(path)[0] for path in following.above)
    for row in rows:
        passing = sorted(ends(path)[1] for path in row.above if ends(path)[1] != row.node)
        leaving = sorted(ends(path)[0] for path in row.below if ends(path)[0] != row.node)
        assert passing == leaving
        assert 0 < row.node < row.width <= WIDEST + 14
        assert len({ends(path)[1] for path in row.below}) == len(row.below), "no two on one line"


def test_each_step_is_joined_to_those_it_waits_for():
    """As many lines arrive at a dot as steps are waited for, and leave as wait for it."""
    rows = graph(GRAPHS["skip"])

    arriving = {n: sum(ends(p)[1] == row.node for p in row.above) for n, row in rows.items()}
    leaving = {n: sum(ends(p)[0] == row.node for p in row.below) for n, row in rows.items()}

    assert arriving == {"a": 0, "b": 1, "c": 1, "d": 2}
    assert leaving == {"a": 2, "b": 1, "c": 1, "d": 0}


@pytest.mark.parametrize("values", [[0, 0], [5], [1, 2, 1e12], list(range(50))])
def test_a_trend_stays_within_its_box(values):
    """Whatever the numbers, the newest is at the right, and zero at the bottom."""
    line = trend(values)

    corners = [tuple(map(float, corner.split(","))) for corner in line.points.split()]
    assert len(corners) == len(values)
    assert all(0 <= x <= 100 and 0 <= y <= 28 for x, y in corners)
    assert corners[-1] == line.end
    assert line.end[0] == 100


def test_without_numbers_there_is_no_trend():
    """A workflow that never ran well has no line."""
    assert trend([]) is None
