"""Executed notebooks as files of JupyterLab: a drive from which it can only read.

Their outputs are not trusted: JupyterLab shows them without running their scripts.
"""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

from dataflow.errors import ConfigurationError
from dataflow.lab.handler import Handler, allowed
from dataflow.lab.place import Places
from dataflow.runs.record import SHORT, Run
from dataflow.stages.notebook import read_notebook

# `shop/runs/sales/20261126T154203Z_1a2b3c4d/ingest (1a2b3c4d).ipynb`: the run is part of the name,
# so that tabs can be told apart.
_PATH = re.compile(
    r"/?(?:(?P<home>.+)/)?runs/(?P<workflow>[^/]+)/(?P<run>[^/]+)"
    r"(?:/(?P<name>[^/.][^/]*?)(?: \([^()/]+\))?\.ipynb)?"
)


def archive_path(home: str, run: Run, notebook: str) -> str:
    """The path in the drive of a run's executed notebook.

    Args:
        home: the project's folder as JupyterLab names it.
        run: the run.
        notebook: the file's name.
    """
    folder = "/".join([*filter(None, [home]), "runs", *run.folder.parts[-2:]])
    return f"{folder}/{notebook.removesuffix('.ipynb')} ({run.run_id[:SHORT]}).ipynb"


def executed_notebook(places: Places, path: str) -> dict[str, Any]:
    """An executed notebook as Jupyter's contents API has files; a run's folder as an empty one.

    Raises:
        ConfigurationError: there is none of that path, or it is not a notebook.
    """
    missing = ConfigurationError(f"there is no executed notebook {path}")
    found = _PATH.fullmatch(path)
    project = places.project(found["home"] or "") if found else None
    if found is None or project is None or ".." in (found["workflow"], found["run"]):
        raise missing
    file = folder = project.runs / found["workflow"] / found["run"]
    if found["name"]:
        file = folder / f"{found['name']}.ipynb"
    if not file.resolve().is_relative_to(project.runs.resolve()) or not (
        file.is_file() if found["name"] else folder.is_dir()
    ):
        raise missing
    about = file.stat()
    changed = datetime.datetime.fromtimestamp(about.st_mtime, datetime.UTC).isoformat()
    return {
        "name": path.rpartition("/")[2],
        "path": path.strip("/"),
        "type": "notebook" if found["name"] else "directory",
        "format": "json",
        "mimetype": None,
        "writable": False,
        "created": changed,
        "last_modified": changed,
        "size": about.st_size,
        "hash": None,
        "hash_algorithm": None,
        "content": read_notebook(file) if found["name"] else [],
    }


class ArchiveHandler(Handler):
    """`archive/…`: an executed notebook; there is no request that changes one."""

    @allowed
    async def get(self, path: str) -> None:
        """The notebook."""
        await self.answer(executed_notebook, self.places, path)


class CheckpointsHandler(Handler):
    """JupyterLab asks for the checkpoints of each file that it opens; these have none."""

    @allowed
    async def get(self, path: str) -> None:
        """None."""
        self.finish(json.dumps([]))
