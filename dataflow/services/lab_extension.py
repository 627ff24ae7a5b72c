"""Jupyter's server leads on to the other services, and starts them when asked.

Jupyter loads this module by its name (see `dataflow.services.launcher`).
"""

from __future__ import annotations

import html
from typing import Any

from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.ioloop import IOLoop

from dataflow.base.addresses import OWN_NAMES, public_url, service_url
from dataflow.errors import DataflowError
from dataflow.project import Project
from dataflow.services import control
from dataflow.services.catalog import SERVICES
from dataflow.services.launcher import DOORS, EXTENSION, Door

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
{refresh}
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 18vh auto; padding: 0 1rem; }}
  button {{ font: inherit; padding: .4rem 1rem; border: 0; border-radius: 6px; color: white;
            background: #1d4ed8; cursor: pointer; }}
  code, pre {{ background: #f1f5f9; padding: .1rem .3rem; border-radius: 4px; }}
  pre {{ padding: .6rem; white-space: pre-wrap; }}
</style>
<h1>{title}</h1>
{body}
</html>
"""
STOPPED = """<p>The dashboards and Dagster are services of their own, and this one is stopped.</p>
<form method="post">{xsrf}<button>Start {service}</button></form>
<p>In a terminal: <code>dataflow service start {name} -d</code></p>
"""
ELSEWHERE = """<p>JupyterLab is reached through a proxy. Where that proxy has this service is to be
said in the project's <code>.env</code>: <code>{}=https://…</code></p>
"""
STARTING = "<p>This page leads on as soon as it answers.</p>"
_FORWARDED = {"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded"}


class DoorHandler(JupyterHandler):
    """`/dataflow/<door>`: on to the service, or a page that can start it."""

    @web.authenticated
    async def get(self, name: str) -> None:
        """Lead on to the service when it runs."""
        door = self._door(name)
        project = Project.find()
        status = await IOLoop.current().run_in_executor(
            None, control.status, project, SERVICES[door.service]
        )
        if status.status == "running" and status.state is not None:
            self._lead_on(project, door)
        elif status.status == "starting":
            self._page(f"{SERVICES[door.service].title} is starting", STARTING, refresh=True)
        else:
            self._stopped(door)

    @web.authenticated
    async def post(self, name: str) -> None:
        """Start the service, then lead on to it."""
        door = self._door(name)
        try:
            await IOLoop.current().run_in_executor(
                None, control.launch, Project.find(), SERVICES[door.service]
            )
        except DataflowError as error:
            self.set_status(409)
            self._stopped(door, f"<pre>{html.escape(str(error))}</pre>")
            return
        self.redirect(self.request.path, status=303)

    def _door(self, name: str) -> Door:
        if name not in DOORS:
            raise web.HTTPError(404)
        return DOORS[name]

    def _lead_on(self, project: Project, door: Door) -> None:
        local = self.request.host_name in OWN_NAMES and not _FORWARDED & self.request.headers.keys()
        if local or public_url(project, door.service):
            self.redirect(service_url(project, door.service) + door.path)
            return
        # Where the proxy has the service, if anywhere, only its owner knows.
        variable = f"DATAFLOW_{door.service.upper()}_URL"
        self._page(
            f"{SERVICES[door.service].title} has no address here", ELSEWHERE.format(variable)
        )

    def _stopped(self, door: Door, error: str = "") -> None:
        service = SERVICES[door.service]
        body = STOPPED.format(
            xsrf=self.xsrf_form_html(), service=html.escape(service.title), name=service.name
        )
        self._page(f"{service.title} does not run", error + body)

    def _page(self, title: str, body: str, *, refresh: bool = False) -> None:
        self.set_header("Cache-Control", "no-store")
        mark = '<meta http-equiv="refresh" content="1">' if refresh else ""
        self.finish(PAGE.format(title=html.escape(title), refresh=mark, body=body))


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": EXTENSION}]


def _load_jupyter_server_extension(server: Any) -> None:
    pattern = url_path_join(server.web_app.settings["base_url"], r"/dataflow/(\w+)")
    server.web_app.add_handlers(".*$", [(pattern, DoorHandler)])
