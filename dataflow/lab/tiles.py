"""JupyterLab as a service of the project: the files it lists, and the tiles of its launcher."""

from __future__ import annotations

import re
from typing import Any

from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from tornado import web
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop

from dataflow.addresses import OWN_NAMES, public_url, service_url
from dataflow.errors import DataflowError
from dataflow.lab.handler import PLACES
from dataflow.project import Project
from dataflow.services import control
from dataflow.services.catalog import SERVICES
from dataflow.services.jupyter import TILES, Tile
from dataflow.services.pages import render

_FORWARDED = {"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded"}
_PAGE = re.compile(r"/([\w%~-][\w%~.-]*(/[\w%~-][\w%~.-]*)*/?)?")

# What is made by running; names that begin with a dot are not listed anyhow.
_MADE = {"runs", "dist", "evidence/build", "evidence/node_modules", "dbt/target", "dbt/logs"}


class ProjectFiles(AsyncLargeFileManager):
    """The files that JupyterLab lists: the project's, without what is made by running."""

    async def get(self, path: str, content: bool = True, *args: Any, **options: Any) -> Any:
        """Jupyter's question for a file, or for what is in a folder."""
        model = await super().get(path, content, *args, **options)
        if content and model["type"] == "directory":
            model["content"] = [one for one in model["content"] if one["path"] not in _MADE]
        return model


def is_local(request: HTTPServerRequest) -> bool:
    """Whether a browser on this machine asks, which reaches the other services, too."""
    return request.host_name in OWN_NAMES and not _FORWARDED & request.headers.keys()


class TileHandler(JupyterHandler):
    """`/dataflow/<tile>`: redirects to the service, or shows a page that can start it.

    `home` names another project than the server's own, and `page` a page of the service.
    """

    @web.authenticated
    async def get(self, name: str) -> None:
        """Redirect to the service if it is running."""
        tile = self._tile(name)
        project, service = self._project(), SERVICES[tile.service]
        status = await IOLoop.current().run_in_executor(None, control.status, project, service)
        if status.status == "running":
            self._lead_on(project, tile)
        else:
            self._page(tile, "starting" if status.status == "starting" else "stopped")

    @web.authenticated
    async def post(self, name: str) -> None:
        """Start the service, then redirect to it."""
        tile = self._tile(name)
        try:
            await IOLoop.current().run_in_executor(
                None, control.launch, self._project(), SERVICES[tile.service]
            )
        except DataflowError as error:
            self.set_status(409)
            self._page(tile, "stopped", error=str(error))
            return
        self.redirect(str(self.request.uri), status=303)

    def _tile(self, name: str) -> Tile:
        if name not in TILES:
            raise web.HTTPError(404)
        return TILES[name]

    def _project(self) -> Project:
        home = self.get_query_argument("home", None)
        try:
            found = Project.find() if home is None else self.settings[PLACES].project(home)
        except DataflowError:
            found = None
        if found is None:
            raise web.HTTPError(404, "There is no such DATAFLOW project")
        return found

    def _lead_on(self, project: Project, tile: Tile) -> None:
        if is_local(self.request) or public_url(project, tile.service):
            page = self.get_query_argument("page", tile.path)
            if not _PAGE.fullmatch(page):
                raise web.HTTPError(404)
            self.redirect(service_url(project, tile.service).rstrip("/") + page)
        else:  # where the proxy has the service, if anywhere, only its owner knows
            self._page(tile, "elsewhere")

    def _page(self, tile: Tile, status: str, error: str | None = None) -> None:
        self.set_header("Cache-Control", "no-store")
        service, xsrf = SERVICES[tile.service], self.xsrf_form_html()
        self.finish(render("service.html", service=service, status=status, error=error, xsrf=xsrf))
