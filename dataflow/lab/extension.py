"""What Jupyter's server loads: the panel's requests, and what belongs to JupyterLab as a service.

In whatever JupyterLab the package is installed; where there is no project they answer so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jupyter_server.utils import url_path_join

from dataflow.lab.archive import ArchiveHandler, CheckpointsHandler
from dataflow.lab.handler import PLACES
from dataflow.lab.notebook import NotebookHandler, PlanHandler, StaleHandler
from dataflow.lab.pages import AgainHandler, ComparisonHandler, TablesHandler
from dataflow.lab.place import Places
from dataflow.lab.problems import ProblemsHandler
from dataflow.lab.running import PrepareHandler, RunHandler, RunningHandler
from dataflow.lab.tiles import TileHandler
from dataflow.lab.watch import WATCH, Watch
from dataflow.lab.wire import NewStageHandler, NewWorkflowHandler, SettingsHandler, UndoHandler

# Below `/dataflow/api/`; the panel's side of them is lab/src/api.ts.
REQUESTS = [
    (r"notebook", NotebookHandler),
    (r"stale", StaleHandler),
    (r"plan", PlanHandler),
    (r"problems", ProblemsHandler),
    (r"wire/settings", SettingsHandler),
    (r"wire/undo", UndoHandler),
    (r"wire/workflow", NewWorkflowHandler),
    (r"wire/stage", NewStageHandler),
    (r"compare", ComparisonHandler),
    (r"tables", TablesHandler),
    (r"again", AgainHandler),
    (r"running", RunningHandler),
    (r"running/prepare", PrepareHandler),
    (r"running/(.+)", RunHandler),
    (r"archive/(.+)/checkpoints", CheckpointsHandler),
    (r"archive/(.+)", ArchiveHandler),
]


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    application = server.web_app
    root = getattr(server.contents_manager, "root_dir", None) or server.root_dir
    application.settings[PLACES] = Places(Path(root).expanduser().resolve())
    application.settings[WATCH] = Watch(server.event_logger)
    base = application.settings["base_url"]
    application.add_handlers(
        ".*$",
        [
            *((url_path_join(base, "dataflow/api", path), handler) for path, handler in REQUESTS),
            (url_path_join(base, r"/dataflow/(\w+)"), TileHandler),
        ],
    )
