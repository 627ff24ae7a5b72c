"""`data.json` in a run's folder: what came of the data, against what was published before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dataflow.base.files import write_whole
from dataflow.warehouse.store import DataComparison

DATA_FILE = "data.json"


def write_data(folder: Path, data: dict[str, Any]) -> None:
    """Write a comparison, as JSON and without secrets, into a run's folder."""
    write_whole(folder / DATA_FILE, f"{json.dumps(data, indent=1, ensure_ascii=False)}\n")


def read_data(folder: Path) -> DataComparison | None:
    """The comparison in a run's folder; None when there is none that can be read."""
    try:
        return DataComparison.from_json(json.loads((folder / DATA_FILE).read_text("utf-8")))
    except (OSError, ValueError, RecursionError):
        return None
