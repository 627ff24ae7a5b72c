"""A cell's outputs as the page shows them."""

from __future__ import annotations

import base64
import gzip
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from markupsafe import Markup

from dataflow.base.words import counted
from dataflow.engine.output import RESULT
from dataflow.runs.notebook_page import sanitize
from dataflow.runs.notebook_page.markdown import to_html
from dataflow.runs.notebook_page.plots import library, only_loads, plot_of
from dataflow.stages.execute import ANSI, AUTHORS, numbered
from dataflow.stages.result import Result, figure_text

LONG = 200_000  # characters from which on an output is read only when it is opened
TALL = 60  # lines from which on a text scrolls in a box of its own
_WIDGET = "application/vnd.jupyter.widget-view+json"
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_SVG_START = re.compile(r"<svg\b(?![^>]*\sxmlns=)", re.IGNORECASE)
# pandas brings a style for its tables along; the page has its own.
_PANDAS_STYLE = re.compile(r"<style scoped>.*?</style>", re.DOTALL)
_MARKUP = re.compile(r"<[^>]*>")
_SEEN = {"img", "svg", "table", "video", "audio", "hr", "progress", "meter"}
_ACTS = {"script", "iframe", "object", "embed", "form", "input", "button", "canvas"}
_ROW = re.compile(r"<tr[\s>]", re.IGNORECASE)
_SCRIPT = re.compile(r"<script\b", re.IGNORECASE)


NOTHING = Markup()


@dataclass(frozen=True)
class Frame:
    """What is shown in a frame of its own, drawn when it comes into view or is asked for.

    Args:
        id: which it is on the page.
        kind: html, script, or the library that draws it.
        packed: its content, compressed.
        is_asked_for: whether it waits to be asked for.
    """

    id: str
    kind: str
    packed: str
    is_asked_for: bool = False


@dataclass(frozen=True)
class Output:
    """One output.

    Args:
        kind: html, text, stderr, picture, frame, error, result.
        html: what stands in the page.
        summary: what it is in a few words, where it is folded.
        is_open: whether it is to be read without being opened.
        is_tall: whether it scrolls in a box of its own.
        src: a picture's address.
        size: its width and height, where they are known.
        alt: what it shows, in words.
        frame: a frame that takes the place of `html`.
        note: what is not shown, and why.
        frames: a traceback's frames: each with `own`, `html` and `count`.
        result: a record, check or skip of `dataflow.stage`.
    """

    kind: str
    html: Markup = NOTHING
    summary: str = ""
    is_open: bool = True
    is_tall: bool = False
    src: str = ""
    size: tuple[int, int] | None = None
    alt: str = ""
    frame: Frame | None = None
    note: str = ""
    frames: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)


def shown(
    output: Mapping[str, Any], frame_id: str, numbers: Mapping[int, int] | None = None
) -> Output | None:
    """One output of a notebook as the page shows it; None for one that shows nothing.

    Args:
        output: as the notebook has it.
        frame_id: the id for its frame, if it gets one.
        numbers: the cells' numbers by the counts that tracebacks have.
    """
    kind = output.get("output_type")
    if kind == "stream":
        text = _text(output.get("text"))
        return _as_text(text, "stderr" if output.get("name") == "stderr" else "text")
    if kind == "error":
        return _error(output, numbers or {})
    data = {key: _joined(value) for key, value in (output.get("data") or {}).items()}
    return _display(data, frame_id) if data else None


def pack(text: str) -> str:
    """A text as the page's script reads it: compressed, and without any sign HTML knows."""
    data = text.encode("utf-8", errors="backslashreplace")
    return base64.b64encode(gzip.compress(data, 1, mtime=0)).decode("ascii")


def _display(data: dict[str, Any], frame_id: str) -> Output | None:
    if RESULT in data and isinstance(data[RESULT], Mapping):
        return _result(data[RESULT])
    plain = _text(data.get("text/plain"))
    if _WIDGET in data:
        return _as_text(plain or "A widget", note="A widget: only its text is shown.")
    picture = _picture(data)
    plot = plot_of(data)
    if plot is not None:
        if library(plot.library) is not None:
            frame = Frame(frame_id, plot.library, pack(json.dumps(plot.data)))
            return Output(
                "frame", frame=frame, summary=f"{plot.name} plot", src=picture.src if picture else "",
                html=Markup("<pre>{}</pre>").format(plain) if plain and not picture else Markup(),
            )  # fmt: skip
        note = (
            f"This plot is interactive where {plot.name} is installed (for altair: vl-convert-python); "
            "it was not where this page was written."
        )
        return _with_note(picture or _as_text(plain), note)
    if only_loads(data):
        return None
    if data.get("text/html"):
        return _html(_text(data["text/html"]), picture, frame_id)
    if picture is not None:
        return picture
    if "text/markdown" in data:
        return Output("html", html=to_html(_text(data["text/markdown"])))
    if "application/json" in data:
        text = json.dumps(data["application/json"], indent=2, ensure_ascii=False)
        return _as_text(text, summary="JSON")
    if plain or "text/latex" in data:
        return _as_text(plain or _text(data["text/latex"]), note=_cannot(data))
    return Output(
        "text", note=_cannot(data) or f"An output of type {', '.join(sorted(data))[:200]}."
    )


def _cannot(data: dict[str, Any]) -> str:
    if "application/javascript" in data:
        return "A script that acts on JupyterLab: open the notebook there to see what it does."
    return ""


def _with_note(output: Output | None, note: str) -> Output:
    return replace(output or Output("text"), note=note)


def _html(html: str, picture: Output | None, frame_id: str) -> Output:
    html = _PANDAS_STYLE.sub("", html)
    if len(html) <= LONG and sanitize.is_plain(html):
        rows = len(_ROW.findall(html))
        kind = "table" if rows else "html"
        return Output(
            kind, html=Markup(sanitize.plain(html)), is_tall=rows > 12,
            summary=counted(max(0, rows - 1), "row") if rows else "",
        )  # fmt: skip
    tags = sanitize.tags_of(html)
    acts = tags & _ACTS
    still = sanitize.drawn(html)
    is_seen = bool(_MARKUP.sub("", still.partition("</style>")[2] or still).strip()) or bool(
        sanitize.tags_of(still) & _SEEN
    )
    note = ""
    if acts - {"script"}:
        note = f"Left out here: {', '.join(sorted(acts - {'script'}))}."
    script = None
    if "script" in acts:
        script = Frame(f"{frame_id}s", "script", pack(html), is_asked_for=True)
        note = (
            "This output brings a script of its own, which has not run. It can run in a frame that "
            "reaches neither this page nor the network."
        )
    if picture is not None or not is_seen:
        if script is not None and picture is None:
            return Output("frame", frame=script, note=note, summary="output with a script")
        return _with_note(picture, note)
    rows = len(_ROW.findall(still))
    what = counted(max(0, rows - 1), "row") if rows else "output"
    size = f"{len(html) / 1e6:.1f} MB" if len(html) > LONG else ""
    return Output(
        "frame",
        frame=Frame(frame_id, "html", pack(still)),
        summary=", ".join(filter(None, [what, size])),
        is_open=len(html) <= LONG,
        note=note,
        alt="table" if rows else "",
        result={"script": script} if script is not None else {},
    )


def _picture(data: dict[str, Any]) -> Output | None:
    alt = _text(data.get("text/plain"))
    alt = "" if alt.startswith("<") else alt[:200]
    if svg := _text(data.get("image/svg+xml")):
        # As a picture it cannot run or load anything.
        whole = _SVG_START.sub('<svg xmlns="http://www.w3.org/2000/svg"', svg, count=1)
        code = base64.b64encode(whole.encode("utf-8", errors="replace")).decode("ascii")
        return Output("picture", src=f"data:image/svg+xml;base64,{code}", alt=alt)
    for kind in _PICTURES:
        if code := "".join(_text(data.get(kind)).split()):
            return Output("picture", src=f"data:{kind};base64,{code}", size=_size(code), alt=alt)
    return None


def _size(code: str) -> tuple[int, int] | None:
    """A PNG's width and height, so that the page does not move when it is there."""
    try:
        head = base64.b64decode(code[:64])
        if head[:8] == b"\x89PNG\r\n\x1a\n":
            width, height = struct.unpack(">II", head[16:24])
            return (width, height) if 0 < width < 50_000 and 0 < height < 50_000 else None
    except (ValueError, struct.error):
        pass
    return None


def _as_text(text: str, kind: str = "text", *, note: str = "", summary: str = "") -> Output:
    lines = text.count("\n") + 1
    is_long = len(text) > LONG
    what = f"{counted(lines, 'line')}{', ' + f'{len(text) / 1e6:.1f} MB' if is_long else ''}"
    return Output(
        kind, html=_coloured(text), summary=summary or what, is_open=not is_long and not summary,
        is_tall=lines > TALL, note=note,
    )  # fmt: skip


def _coloured(text: str) -> Markup:
    if "\x1b" not in text:
        return Markup.escape(text)
    from nbconvert.filters import ansi2html

    return Markup(ansi2html(text))


def _error(output: Mapping[str, Any], numbers: Mapping[int, int]) -> Output:
    name, value = _text(output.get("ename")), _text(output.get("evalue"))
    frames: list[dict[str, Any]] = []
    # The first part is a line and the name, the last one the message, which stands above.
    parts = [str(part) for part in output.get("traceback") or []]
    for part in parts:
        text = ANSI.sub("", part).strip("\n")
        if not text.startswith(("File ", "Cell In", "Input In")):
            continue
        own = text.startswith(AUTHORS)
        html = _coloured(numbered(part.strip("\n"), numbers))
        if not own and frames and not frames[-1]["own"]:
            frames[-1]["html"] += Markup("\n\n") + html
            frames[-1]["count"] += 1
        else:
            frames.append({"own": own, "html": html, "count": 1})
    if not frames and (text := "\n".join(parts).strip()) and text != f"{name}: {value}":
        frames = [{"own": True, "html": _coloured(text), "count": 1}]
    return Output("error", html=Markup.escape(f"{name}: {value}" if value else name), frames=frames)


def _result(data: Mapping[str, Any]) -> Output:
    return Output("result", result=result_of(data))


def result_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """A record, check or skip with its state in a word, its headline and its figures as text."""
    figures = data.get("metadata")
    figures = figures if isinstance(figures, Mapping) else {}
    kind: Any = data.get("kind") if data.get("kind") in ("record", "check", "skip") else "record"
    passed = bool(data.get("passed"))
    result = Result(
        kind, name=_text(data.get("name")), table=_text(data.get("table")) or None, passed=passed,
        severity=_text(data.get("severity")) or "error",
    )  # fmt: skip
    state = {"record": "recorded", "skip": "skipped"}.get(kind) or (
        "passed" if passed else "failed" if result.severity == "error" else "warning"
    )
    return {
        "kind": kind, "state": state, "name": result.name, "table": result.table,
        "headline": result.headline,
        "figures": {str(key): figure_text(value, 200) for key, value in figures.items()},
    }  # fmt: skip


def _joined(value: Any) -> Any:
    """A value of a bundle; text may be kept as a list of lines."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    return value


def _text(value: Any) -> str:
    value = _joined(value)
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
