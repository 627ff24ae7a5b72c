"""Executed notebooks as pages: complete in one file, which makes no requests.

A notebook's output may come from anywhere: a page runs no script, loads nothing, and sends nothing. Its policy says so to the browser, in the page itself, which may be opened from disk.
"""

from __future__ import annotations

import re
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from dataflow.base.files import whole_file

POLICY = (
    "default-src 'none'; img-src data:; media-src data:; font-src data:; "
    "style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'"
)
_META = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>'
_REFERRER = '<meta name="referrer" content="no-referrer"/>'

# lab's template without its parts for scripts, since none runs.
_TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""
_NOTE = "This output is interactive, but this page runs no scripts: open the notebook to see it."
_IMAGES = ("image/svg+xml", "image/png", "image/jpeg")
_SCRIPTS = re.compile(r"<script\b.*?(?:</script[^>]*>|\Z)", re.IGNORECASE | re.DOTALL)
_STYLES = re.compile(r"<style\b.*?(?:</style[^>]*>|\Z)", re.IGNORECASE | re.DOTALL)
_FOREIGN = re.compile(r"<(?:iframe|object|embed)\b", re.IGNORECASE)
_TAGS = re.compile(r"<[^>]*>")
# These send the reader elsewhere or make connections ahead, whatever the policy.
_HARMFUL = re.compile(
    r"<(/?)(?=(?:meta|link|base|form|iframe|frame|frameset|object|embed)\b)", re.IGNORECASE
)

# One at a time: a page is ready moments after its stage, and never costs the next stage much.
_pages: ThreadPoolExecutor | None = None
_converting = threading.Lock()  # the exporter's filters are those of the notebook under way


@lru_cache(maxsize=1)
def _exporter() -> Any:
    """nbconvert's exporter: made once, since making it takes five times as long as a page."""
    from nbconvert import HTMLExporter

    return HTMLExporter(raw_template=_TEMPLATE, embed_images=False)


def write_page(notebook: Path) -> Path:
    """Write `notebook` as HTML beside it; returns the page."""
    import nbformat

    nb = nbformat.read(notebook, as_version=4)
    nb.metadata.pop("widgets", None)
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            if "data" in output:
                _make_static(output["data"])
    title = f"{notebook.parent.parent.name} · {notebook.stem}"
    with _converting:
        text, _ = _exporter().from_notebook_node(nb, resources={"metadata": {"name": title}})
    head, start, body = text.partition("<body")
    head = head.replace("<head>", f"<head>{_META}{_REFERRER}", 1)
    page = notebook.with_suffix(".html")
    with whole_file(page) as draft:
        draft.write_text(head + start + _HARMFUL.sub(r"<\1x-", body), encoding="utf-8")
    return page


def _make_static(data: Any) -> None:
    """Reduce an output to what shows without scripts: its image, its text, or a note."""
    # nbconvert takes the richest type it knows; ours is for machines.
    data.pop("application/vnd.dataflow.result+json", None)
    live = [
        kind
        for kind in data
        if kind.startswith("application/") and kind not in ("application/pdf", "application/json")
    ]
    for kind in live:
        del data[kind]
    html = data.get("text/html")
    if html is not None and (_SCRIPTS.search(html) or _FOREIGN.search(html)):
        live.append("text/html")
        rest = _SCRIPTS.sub("", html)
        shown = _TAGS.sub("", _STYLES.sub("", rest)).strip()
        data["text/html"] = f"{rest if shown else ''}<p><em>{_NOTE}</em></p>"
    if not live:
        return
    if any(kind in data for kind in _IMAGES):
        data.pop("text/html", None)
    elif "text/html" not in data:
        data["text/plain"] = f"{data.get('text/plain', '')}\n{_NOTE}".lstrip()


def write_page_soon(notebook: Path) -> Future[Path]:
    """Write the page in the background; the process does not end before it is written."""
    global _pages
    if _pages is None:
        _pages = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pages")
    return _pages.submit(write_page, notebook)


def page_of(notebook: Path) -> Path:
    """The page of `notebook`, written now if it is missing, older, or without its policy."""
    page = notebook.with_suffix(".html")
    if not page.exists() or page.stat().st_mtime < notebook.stat().st_mtime or not _is_safe(page):
        return write_page(notebook)
    return page


def _is_safe(page: Path) -> bool:
    with page.open("rb") as file:
        return _META.encode() in file.read(2000)
