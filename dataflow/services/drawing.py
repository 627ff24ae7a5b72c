"""Small drawings on server-rendered pages: where their lines go; templates draw them as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HEIGHT = 28.0  # of a trend, its width is 100
LANE = 14.0  # between two lines of a graph
WIDEST = 84.0  # of a graph, however many lines run side by side


@dataclass(frozen=True)
class Trend:
    """A line from the oldest to the newest of some numbers, above zero.

    Args:
        points: the line's corners, as SVG has them.
        end: the last corner, as `x,y`.
        values: the numbers.
    """

    points: str
    end: tuple[float, float]
    values: tuple[float, ...]


def trend(values: Sequence[float]) -> Trend | None:
    """The line through `values`; None without any."""
    if not values:
        return None
    top = max(*values, 0.0) or 1.0
    step = 100 / max(1, len(values) - 1)
    corners = [
        (round(100 - (len(values) - 1 - i) * step, 1), round(HEIGHT - 2 - v / top * 24, 1))
        for i, v in enumerate(values)
    ]
    return Trend(" ".join(f"{x},{y}" for x, y in corners), corners[-1], tuple(values))


@dataclass(frozen=True)
class GraphRow:
    """One step in a graph drawn from top to bottom, a row for each step.

    Args:
        width: of the graph, in pixels.
        node: where the step's dot is, in pixels from the left.
        above: lines from the row's top down to the height of the dot, as SVG paths 50 high.
        below: the same from there to the row's bottom.
    """

    width: float
    node: float
    above: tuple[str, ...]
    below: tuple[str, ...]


def graph(after: Mapping[str, Sequence[str] | None]) -> dict[str, GraphRow]:
    """The rows of a graph of steps, as `git log --graph` draws commits.

    Args:
        after: the steps in order, each with those it waits for; None is the one before.
    """
    edges = _edges(after)
    lanes: list[str | None] = []  # where lines run: to which step
    drawn: dict[str, tuple[int, list[tuple[int, int, bool]]]] = {}
    for step in after:
        arriving = [lane for lane, to in enumerate(lanes) if to == step]
        node = arriving[0] if arriving else _free(lanes)
        parts = [(lane, node if to == step else lane, True) for lane, to in enumerate(lanes) if to]
        lanes = [None if to == step else to for to in lanes]
        parts += [(lane, lane, False) for lane, to in enumerate(lanes) if to]
        for number, child in enumerate(edges[step]):
            lane = node if number == 0 else _free(lanes, node + 1)
            lanes += [None] * (lane + 1 - len(lanes))
            lanes[lane] = child
            parts.append((node, lane, False))
        drawn[step] = node, parts
    most = 1 + max(
        [lane for node, parts in drawn.values() for lane in (node, *_lanes(parts))] or [0]
    )
    gap = min(LANE, WIDEST / most)

    def x(lane: int) -> float:
        return round(LANE / 2 + lane * gap, 1)

    width = round(LANE + (most - 1) * gap, 1)
    return {
        step: GraphRow(
            width,
            x(node),
            tuple(_path(x(a), x(b)) for a, b, above in parts if above),
            tuple(_path(x(a), x(b)) for a, b, above in parts if not above),
        )
        for step, (node, parts) in drawn.items()
    }


def _edges(after: Mapping[str, Sequence[str] | None]) -> dict[str, list[str]]:
    """The steps that follow each step directly."""
    edges: dict[str, list[str]] = {step: [] for step in after}
    seen: list[str] = []
    for step, before in after.items():
        for parent in dict.fromkeys(seen[-1:] if before is None else before):
            if parent in seen:
                edges[parent].append(step)
        seen.append(step)
    return edges


def _free(lanes: Sequence[str | None], start: int = 0) -> int:
    return next(
        (i for i, to in enumerate(lanes) if i >= start and to is None), max(start, len(lanes))
    )


def _lanes(parts: Sequence[tuple[int, int, bool]]) -> list[int]:
    return [lane for a, b, _ in parts for lane in (a, b)]


def _path(a: float, b: float) -> str:
    return f"M{a} 0V50" if a == b else f"M{a} 0C{a} 25 {b} 25 {b} 50"
