"""Interactive plots: what is to be drawn, as JSON, and the library that draws it.

The library is the one installed here, never the notebook's: of what a notebook put out only the
data of a plot gets into its frame, and the frame's policy has no `eval`. So no script of an output
runs to show a plot.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

_PLOTLY = "application/vnd.plotly.v1+json"
_BOKEH = "application/vnd.bokehjs_exec.v0+json"
_BOKEH_LOADS = "application/vnd.bokehjs_load.v0+json"
_VEGA = re.compile(r"application/vnd\.vega(?:lite)?\.v\d+(?:\.json|\+json)")
_NEW_PLOT = re.compile(r"Plotly\.newPlot\(\s*")
_VEGA_HTML = re.compile(r"vegaEmbed.*\}\)\((?=\{)", re.DOTALL)
_BOKEH_FILES = ("", "-gl", "-widgets", "-tables", "-mathjax")
# Which versions of Vega-Lite there are is asked of the converter; of Vega the schema has the name.
_SCHEMA = re.compile(r"/vega-lite/v(\d+)")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Plot:
    """An interactive plot.

    Args:
        library: what draws it: plotly, vega-5 (for Vega-Lite 5), bokeh.
        data: what `page.js` hands to the library.
    """

    library: str
    data: Any

    @property
    def name(self) -> str:
        """The library by the name that people know."""
        return "altair" if self.library.startswith("vega") else self.library


def plot_of(data: Mapping[str, Any]) -> Plot | None:
    """The plot in an output's bundle of types; None when there is none, or none that is whole."""
    try:
        if _PLOTLY in data:
            return _plotly(data[_PLOTLY])
        for kind in data:
            if _VEGA.fullmatch(kind):
                return _vega(data[kind])
        if _BOKEH in data:
            return _bokeh(str(data.get("application/javascript") or data.get("text/html")))
        html = str(data.get("text/html", ""))
        # The library has the same words, where it comes with the plot: the plot is last.
        for place in reversed(list(_NEW_PLOT.finditer(html))):
            with suppress(ValueError):
                _, traces, layout, *more = _arguments(html, place.end())
                return _plotly({"data": traces, "layout": layout, "config": (more or [{}])[0]})
        if "vegaEmbed" in html and (call := _VEGA_HTML.search(html)):
            return _vega(_arguments(html, call.end())[0])
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        pass
    return None


def only_loads(data: Mapping[str, Any]) -> bool:
    """Whether an output only loads a library, for the plots that follow it."""
    html = str(data.get("text/html", ""))
    return (
        _BOKEH_LOADS in data
        or ("bk-notebook-logo" in html and len(html) < 2000)
        or ("window.PlotlyConfig" in html[:500] and html.lstrip().startswith("<script"))
    )


def _arguments(text: str, start: int) -> list[Any]:
    """The arguments of a call in JavaScript, as far as they are JSON."""
    found = []
    while True:
        value, end = _DECODER.raw_decode(text, start)
        found.append(value)
        rest = re.compile(r"\s*,\s*").match(text, end)
        if rest is None:
            return found
        start = rest.end()


def _plotly(figure: Any) -> Plot:
    # WebGL's traces compile code as they draw, for which the frame has no leave; as SVG they are the same.
    traces = [
        {**trace, "type": trace["type"].removesuffix("gl")}
        if str(trace.get("type")).startswith("scatter") else trace
        for trace in figure["data"]
    ]  # fmt: skip
    config = {**(figure.get("config") or {}), "responsive": True, "displaylogo": False}
    return Plot("plotly", {"data": traces, "layout": figure.get("layout") or {}, "config": config})


def _vega(spec: Any) -> Plot:
    schema = _SCHEMA.search(str(spec.get("$schema", "")))
    # How it is embedded is not the notebook's to say: that could load other things.
    return Plot(
        f"vega-{schema[1] if schema else ''}",
        {key: value for key, value in spec.items() if key != "usermeta"},
    )


def _bokeh(script: str) -> Plot:
    parts = {}
    for name in ("docs_json", "render_items"):
        place = re.search(rf"{name} = (['\"]?)", script)
        if place is None or place[1]:
            raise ValueError(f"no {name}")
        parts[name] = _DECODER.raw_decode(script, place.end())[0]
    return Plot("bokeh", parts)


@cache
def library(name: str) -> str | None:
    """The script of a library, from the Python package installed here; None when there is none."""
    try:
        if name == "plotly":
            return _file("plotly", "package_data/plotly.min.js")
        if name == "bokeh":
            return "\n".join(
                _file("bokeh", f"server/static/js/bokeh{part}.min.js") for part in _BOKEH_FILES
            )
        return _vega_bundle(name.partition("-")[2])
    except (ImportError, OSError, ValueError, AttributeError):
        return None


def _file(package: str, path: str) -> str:
    """A package's file, without importing it."""
    from importlib.util import find_spec

    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ImportError(package)
    return (Path(spec.origin).parent / path).read_text("utf-8")


def _vega_bundle(major: str) -> str:
    # The project's, where it uses altair.
    vl_convert = import_module("vl_convert")

    versions = [v for v in vl_convert.get_vegalite_versions() if v.split(".")[0] == major]
    version = max(versions, key=lambda v: [int(n) for n in v.split(".")]) if versions else None
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version))
