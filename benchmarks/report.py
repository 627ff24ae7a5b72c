"""What was measured, written down: docs/benchmarks.json, a table of ratios, a plot of each chapter."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
PACKAGES = (
    "dataflow-notebooks", "papermill", "dagster", "dagstermill", "dagster-dbt", "dbt-core", "duckdb",
    "pandas", "ipykernel",
)  # fmt: skip
GREY, BLUE, ORANGE = "#808890", "#3b8ed0", "#d98032"  # each readable on white and on black


def about() -> dict[str, str]:
    """The machine, the versions and the day; no name, no path."""
    memory = psutil.virtual_memory().total / 2**30
    machine = f"{os.cpu_count()} CPUs ({_processor()}), {memory:.0f} GB, {platform.system()}"
    versions = [f"Python {platform.python_version()}", *(f"{p} {version(p)}" for p in PACKAGES)]
    return {
        "machine": f"{machine} {platform.release().partition('-')[0]}",
        "versions": ", ".join(versions),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def write(docs: Path, about: Mapping[str, str], measured: Sequence[Mapping[str, Any]]) -> None:
    """Write the JSON, the plots and the page's table.

    Args:
        docs: the folder with `benchmarks.md`, between whose marks the table comes.
        about: of `about()`.
        measured: of `harness.measure`; cases of an earlier JSON that were not measured stay, if
            machine and versions are the same.
    """
    target = docs / "benchmarks.json"
    cases = {one["name"]: {**one, "date": about["date"]} for one in measured}
    if target.is_file():
        before = json.loads(target.read_text("utf-8"))
        if all(before[key] == about[key] for key in ("machine", "versions")):
            cases = {one["name"]: one for one in before["cases"]} | cases
    found = {**about, "cases": list(cases.values())}
    text = json.dumps(found, indent=1, ensure_ascii=False)
    target.write_text(_without_paths(text) + "\n", "utf-8")
    found = json.loads(target.read_text("utf-8"))
    (docs / "images").mkdir(exist_ok=True)
    for chapter, rows in _chapters(found["cases"]).items():
        plot(docs / "images" / _picture(chapter), rows)
    put(docs / "benchmarks.md", "bench", page(found))


def put(path: Path, name: str, text: str) -> None:
    """Put a text into a page, in place of what is between the marks of that name."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    whole = path.read_text("utf-8")
    before, _, rest = whole.partition(begin)
    path.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}", "utf-8")


def page(found: Mapping[str, Any]) -> str:
    """The tables and plots, as Markdown."""
    dates = sorted({one["date"] for one in found["cases"]})
    lines = [f"Measured {' to '.join({dates[0]: 0, dates[-1]: 0})} on {found['machine']}, with"]
    lines += [f"{found['versions']}.", ""]
    for chapter, rows in _chapters(found["cases"]).items():
        lines += [f"### {chapter}", ""]
        lines += [f"![Ratios with quartiles and goals](images/{_picture(chapter)})", ""]
        lines += [
            "| What | Against | Ratio | Quartiles | CPU | Goal |",
            "|---|---|---|---|---|---|",
        ]
        lines += [_table_row(row) for row in rows]
        lines.append("")
    return "\n".join(lines).rstrip()


def _table_row(row: Mapping[str, Any]) -> str:
    goal = "" if row["goal"] is None else f"≤ {row['goal']:g}"
    named = f"| {row['title']} | {row['against']} |"
    if row["error"]:
        return f"{named} **failed** | {_short(row['error'])} | | {goal} |"
    ratio = f"{row['ratio']:.2g}" if row["ratio"] < 10 else f"{row['ratio']:.0f}"
    quartiles = " – ".join(f"{value:.2g}" for value in row["quartiles"])
    cpu = f"{row['cpu']:.2g}" if "cpu" in row else ""
    return f"{named} {f'**{ratio}**' if is_missed(row) else ratio} | {quartiles} | {cpu} | {goal} |"


def is_missed(row: Mapping[str, Any]) -> bool:
    """Whether a ratio is above its goal."""
    return row["error"] is None and row["goal"] is not None and row["ratio"] > row["goal"]


def plot(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw ratios as an SVG: a point with its quartiles, and the goal as a mark.

    The background is transparent and the text grey, so that it can be read in light and dark.
    """
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    shown = [row for row in rows if not row["error"]]
    style: dict[Any, Any] = {
        "svg.fonttype": "none", "svg.hashsalt": path.stem, "font.size": 9,
        "font.family": "sans-serif", "text.color": GREY, "axes.labelcolor": GREY,
        "xtick.color": GREY, "ytick.color": GREY, "axes.edgecolor": GREY,
    }  # fmt: skip
    with mpl.rc_context(style):
        figure, axes = plt.subplots(figsize=(7.5, 0.6 + 0.3 * max(len(shown), 1)))
        for place, row in enumerate(shown):
            low, high = row["quartiles"]
            axes.plot([low, high], [place, place], color=BLUE, linewidth=3, alpha=0.5)
            axes.plot(row["ratio"], place, "o", color=BLUE, markersize=5)
            if row["goal"] is not None:
                axes.plot(row["goal"], place, "|", color=ORANGE, markersize=12, markeredgewidth=2)
        axes.axvline(1, color=GREY, linewidth=1, linestyle=":")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_yticks(range(len(shown)), [_label(row) for row in shown])
        axes.set_ylim(max(len(shown), 1) - 0.5, -0.5)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("ratio (left is cheaper); | is the goal")
        figure.savefig(path, transparent=True, bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)


def _label(row: Mapping[str, Any]) -> str:
    against = row["against"].replace("`", "")
    return f"{row['title'].replace('`', '')} / {against.partition(':')[0]}"


def _chapters(cases: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for one in cases:
        found.setdefault(one["chapter"], []).extend(one["ratios"])
    return found


def _picture(chapter: str) -> str:
    return f"bench-{chapter.lower().replace(' ', '-')}.svg"


def _short(text: str) -> str:
    text = " ".join(text.replace("|", "/").split())
    return text if len(text) <= 160 else text[:159] + "…"


def _without_paths(text: str) -> str:
    """An error may name folders of this machine, and the machine."""
    import re

    for path in (str(REPOSITORY), sys.prefix, str(Path.home())):
        text = text.replace(path, "…")
    text = text.replace(platform.node(), "…") if len(platform.node()) > 3 else text
    return re.sub(r"/tmp/[\w./-]+", "…", text)
