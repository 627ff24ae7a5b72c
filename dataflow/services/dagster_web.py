"""Dagster's own web server, with checks of Host and Origin in front of it.

`python -m dataflow.services.dagster_web` takes the options of `dagster-webserver`. Dagster lets
any page in a browser start, cancel and delete runs: it has no such checks, for HTTP or WebSocket.
Browsers let every page send requests to this machine, and a page can point its own name at it.
A request's headers say where it came from, and it is refused unless that is the server's own
address.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from dagster_webserver.cli import cli
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from dataflow.addresses import OWN_NAMES, public_url
from dataflow.orchestration.databases import make_databases_cheap
from dataflow.project import Project

_OWN_HOST = re.compile(rf"({'|'.join(map(re.escape, OWN_NAMES))})(:\d+)?", re.IGNORECASE)


class LocalOnly:
    """Answers only to names of this machine, and to no other site's pages.

    Args:
        app: the application that gets the accepted requests, HTTP and WebSocket.
        public_url: a further address of the server, that of a proxy in front of it.
        by_post: paths whose queries change things and so have to come by POST; by GET they
            could hide in a link or an image.
    """

    def __init__(
        self, app: ASGIApp, public_url: str | None = None, by_post: tuple[str, ...] = ()
    ) -> None:
        self._app = app
        self._public = urlsplit(public_url) if public_url else None
        self._by_post = by_post

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with 403 and the reason."""
        why = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if why is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": why})
        else:
            await PlainTextResponse(f"{why}\n", status_code=403)(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self._is_own_host(hosts[0]):
            return (
                f"{', '.join(hosts) or 'no Host'} is not an address of this server. Behind a "
                "proxy, DATAFLOW_DAGSTER_URL has to name its address."
            )
        if any(not self._is_own_origin(origin, hosts[0]) for origin in origins):
            return "Pages of other sites may not use this server."
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            if scope["path"] in self._by_post and scope["query_string"]:
                return "Queries have to come by POST."
            followed = headers.get("sec-fetch-mode") == "navigate"
            followed = followed and headers.get("sec-fetch-dest") == "document"
            if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not followed:
                return "Pages of other sites may link here, but not load anything from here."
        return None

    def _is_own_host(self, host: str) -> bool:
        if self._public is not None and host.lower() == self._public.netloc.lower():
            return True
        return _OWN_HOST.fullmatch(host) is not None

    def _is_own_origin(self, origin: str, host: str) -> bool:
        # The port, too: another user's page may come from another port of this machine.
        own = [f"http://{host}", f"https://{host}"]
        if self._public is not None:
            own.append(f"{self._public.scheme}://{self._public.netloc}")
        return origin.lower() in [address.lower() for address in own]


def main() -> None:
    """Run Dagster's command; what it serves is behind the checks."""
    serve = uvicorn.run
    address = public_url(Project.find(), "dagster")

    def guarded(app: Any, **options: Any) -> None:
        serve(LocalOnly(app, address, by_post=("/graphql",)), **options)

    uvicorn.run = guarded
    make_databases_cheap()
    cli.main(prog_name="dagster-webserver")


if __name__ == "__main__":
    main()
