"""What all requests of the panel have in common: who may send them, and how errors are answered."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web
from tornado.ioloop import IOLoop

from dataflow.errors import ConfigurationError, DataflowError
from dataflow.lab.place import Place, Places
from dataflow.project import Project

PLACES = "dataflow_places"  # the key among the server's settings
REFUSED = 422
T = TypeVar("T")


def allowed(method: Callable[..., Any]) -> Callable[..., Any]:
    """Only for those whom Jupyter's server knows and lets in: by token, password or its hub."""
    return web.authenticated(authorized(method))


class Handler(APIHandler):
    """A request of the panel.

    What is wrong with it is answered as JSON, status 422: `message`, `hint` and `problems`, see
    `Problem.to_json`. Jupyter's server checks the token and, where a cookie is used, the XSRF code.
    """

    auth_resource = "dataflow"

    @property
    def places(self) -> Places:
        """The files that this JupyterLab reaches."""
        return self.settings[PLACES]

    @property
    def body(self) -> dict[str, Any]:
        """What was sent: a mapping, empty when nothing was."""
        body = self.get_json_body()
        if not isinstance(body, dict | None):
            raise web.HTTPError(400, "the request's body has to be a JSON object")
        return body or {}

    async def answer(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Answer with what `work` returns: JSON that it makes in a thread of its own."""
        self.finish(await self.in_thread(work, *arguments))

    async def in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do `work` in a thread; a `DataflowError` ends the request with its words."""
        try:
            return await IOLoop.current().run_in_executor(None, partial(work, *arguments))
        except DataflowError as error:
            self.set_status(REFUSED)
            self.finish(error_data(error))
            raise web.Finish() from error


def place_of(places: Places, path: Any) -> Place:
    """Where JupyterLab's `path` leads.

    Raises:
        ConfigurationError: to no project.
    """
    place = places.find(path) if isinstance(path, str) else None
    if place is None:
        raise ConfigurationError(
            f"`{path}` is in no DATAFLOW project", hint="dataflow init FOLDER makes one."
        )
    return place


def error_data(error: DataflowError, project: Project | None = None) -> dict[str, Any]:
    """An error as JSON: `message`, `where`, `hint`, and its `problems`."""
    problems = error.problems if isinstance(error, ConfigurationError) else []
    root = project.root if project else getattr(error, "root", None)
    return {
        "message": error.message,
        "where": error.where,
        "hint": error.hint,
        "problems": [problem.to_json(root) for problem in problems],
    }
