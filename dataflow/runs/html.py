"""Executed notebooks as pages: complete in one file, without a request to anywhere."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

# One at a time: a page is ready moments after its stage, and never costs the next stage much.
_pages: ThreadPoolExecutor | None = None
_converting = threading.Lock()  # the exporter's filters are those of the notebook under way


@lru_cache(maxsize=1)
def _exporter() -> Any:
    """nbconvert's exporter: made once, since making it takes five times as long as a page."""
    from nbconvert import HTMLExporter

    return HTMLExporter(
        # These come from other machines by default.
        require_js_url="",
        mathjax_url="",
        mermaid_js_url="",
        embed_images=False,
    )


def write_page(notebook: Path) -> Path:
    """Write `notebook` as HTML beside it; returns the page."""
    import nbformat

    nb = nbformat.read(notebook, as_version=4)
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            # nbconvert takes the richest type it knows; ours is for machines.
            output.get("data", {}).pop("application/vnd.dataflow.result+json", None)
    title = f"{notebook.parent.parent.name} · {notebook.stem}"
    with _converting:
        body, _ = _exporter().from_notebook_node(nb, resources={"metadata": {"name": title}})
    page = notebook.with_suffix(".html")
    temporary = page.with_name(f".{page.name}.tmp")
    temporary.write_text(body, encoding="utf-8")
    temporary.replace(page)
    return page


def write_page_soon(notebook: Path) -> Future[Path]:
    """Write the page in the background; the process does not end before it is written."""
    global _pages
    if _pages is None:
        _pages = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pages")
    return _pages.submit(write_page, notebook)


def page_of(notebook: Path) -> Path:
    """The page of `notebook`, written now if it is missing or older than the notebook."""
    page = notebook.with_suffix(".html")
    if not page.exists() or page.stat().st_mtime < notebook.stat().st_mtime:
        return write_page(notebook)
    return page
