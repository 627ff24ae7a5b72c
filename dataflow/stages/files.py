"""Files written whole or not at all: a reader never sees half of one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_text(text: str, path: Path) -> None:
    """Write `text` to `path` in one step; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # A lone surrogate in some output is no reason to lose the rest of the notebook.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_notebook(nb: Any, path: Path) -> None:
    """Write the notebook `nb` to `path` in one step."""
    import nbformat

    write_text(nbformat.writes(nb) + "\n", path)


def write_json(data: Any, path: Path) -> None:
    """Write `data` as JSON to `path` in one step."""
    write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", path)
