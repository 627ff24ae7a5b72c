"""The web server of the dashboards: pages, their data, and the executed notebooks.

`python -m dataflow.services.evidence_web PORT` serves the project that the environment names.

`/` the built pages, `/data` the exported tables, `/runs` the runs, `/docs` the documentation. Nothing else
on the machine can be read through it, and it answers only to names of this machine.
"""

from __future__ import annotations

import contextlib
import mimetypes
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from threading import Thread
from urllib.parse import quote, urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dataflow.addresses import HOST, OWN_NAMES, public_url
from dataflow.dashboard.catalog import workflows_for_pages
from dataflow.dashboard.export import export_sources, preview_manifest
from dataflow.dashboard.paths import MANIFEST, build_folder, data_folder
from dataflow.errors import DataflowError
from dataflow.project import Project
from dataflow.runs.html import INLINE_ONLY, POLICY, is_current, page_of
from dataflow.runs.record import Run, folder_of, read_run
from dataflow.services.comparison_page import comparison_view
from dataflow.services.decision import LONGEST, decide, decision_section, preview
from dataflow.services.documentation import DocumentationPages
from dataflow.services.evidence import HEALTH
from dataflow.services.pages import (
    SECTIONS,
    missing_page,
    page_policy,
    page_response,
    render,
    run_page,
)
from dataflow.services.provenance import FILE, provenance
from dataflow.services.run_list import RunLists

# For a tab that previews a run.
_PREVIEW = (Path(__file__).parent / "templates" / "preview.js").read_text("utf-8")
_DEFINED_BY = ("config.yaml", "*.ipynb", "dagster_job.py")
_FOREVER = "public, max-age=31536000, immutable"
_ASK_FIRST = "no-cache"
# DuckDB in the browser needs 'unsafe-eval' and blob:; nothing may come from another machine.
_PAGE_POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "worker-src 'self' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "frame-ancestors 'self'",
    ]
)
# Whatever a run's file is, it has an origin of its own: it reads and calls nothing of the reader's.
_SANDBOX = (
    "frame-ancestors 'self'; sandbox allow-downloads allow-popups "
    "allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation"
)
_RUN_FILE_POLICY = f"{POLICY}; {_SANDBOX}"
# The page itself says, by a nonce, which script of it runs.
_NOTEBOOK_POLICY = f"{INLINE_ONLY}; {_SANDBOX} allow-scripts"
# Without an origin a page cannot remember anything: whether it shows code is kept in a cookie.
_CODE = "dataflow_code"
_CODE_STATES = ("folded", "shown")
_REMEMBER = "/_dataflow/code/"
_HTML = b'<html lang="en">'
SECTIONS.insert(0, ("decision.html", decision_section))  # what needs doing comes first
_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?(?:,|$))")
_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"x-frame-options": b"SAMEORIGIN",
    b"cross-origin-resource-policy": b"same-origin",
}

mimetypes.add_type("application/wasm", ".wasm")
mimetypes.add_type("application/vnd.apache.parquet", ".parquet")
mimetypes.add_type("application/x-ipynb+json", ".ipynb")
mimetypes.add_type("text/plain", ".diff")


def create_app(
    project: Project, *, hosts: Sequence[str] = (), lists: RunLists | None = None
) -> Starlette:
    """The application that serves a project's dashboards.

    The folders are read on each request, so that a later build or run shows up.

    Args:
        hosts: further names it answers to, such as a proxy's.
        lists: of the runs, if something else knows them, too.
    """

    def health(request: Request) -> JSONResponse:
        is_built = (build_folder(project) / "index.html").is_file()
        return JSONResponse(
            {"service": "evidence", "project": str(project.root), "built": is_built}
        )

    def remember_code(request: Request) -> Response:
        """Note what the reader chose; the page stays, since there is no content to go to."""
        state = request.path_params["state"]
        if state not in _CODE_STATES:
            raise HTTPException(404)
        response = Response(status_code=204)
        response.set_cookie(
            _CODE, state, max_age=31_536_000, path="/runs", httponly=True, samesite="lax"
        )
        return response

    async def decision(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LONGEST:
                raise HTTPException(413)
        view = run_view(project, lambda project, run, asked: decide(project, run, asked, body))
        return await run_in_threadpool(view, request)

    lists = lists or RunLists(project)
    return Starlette(
        routes=[
            Route(HEALTH, health),
            Route(f"{_REMEMBER}{{state}}", remember_code),
            Mount("/data", ExportedData(project, lists)),
            Route("/runs", lambda request: RedirectResponse("/runs/")),
            Route("/runs/{workflow}/{run}/compare", run_view(project, comparison_view)),
            Route("/runs/{workflow}/{run}/decide", decision, methods=["GET", "POST"]),
            Route("/runs/{workflow}/{run}/preview", run_view(project, preview)),
            # Pages below a run's: Route("/runs/{workflow}/{run}/NAME", run_view(project, view)).
            Mount("/runs", RunFiles(project, lists)),
            *documentation_routes(project),
            Mount("/", Pages(build_folder(project))),
        ],
        middleware=[
            Middleware(_SafeHeaders),
            # A page of another site must not read the data by pointing its own name at this machine.
            Middleware(TrustedHostMiddleware, allowed_hosts=[*OWN_NAMES, *hosts]),
        ],
    )


def documentation_routes(project: Project) -> list[Route]:
    """The pages about the workflows; `?q=` of the first searches them."""
    pages = DocumentationPages(project)

    def home(request: Request) -> Response:
        return _own_page(pages.home(request.query_params.get("q", "")))

    def workflow(request: Request) -> Response:
        name = request.path_params["workflow"]
        text = pages.workflow(name)
        if text is None:
            return _own_page(pages.home(missing=name[:100]), status=404)
        return _own_page(text)

    return [
        Route("/docs", lambda request: RedirectResponse("/docs/")),
        Route("/docs/", home),
        Route("/docs/{workflow}/", workflow),
        # Relative links start from the folder.
        Route(
            "/docs/{workflow}",
            lambda request: RedirectResponse(quote(f"/docs/{request.path_params['workflow']}/")),
        ),
    ]


def _own_page(text: str, status: int = 200) -> HTMLResponse:
    headers = {"content-security-policy": page_policy(), "cache-control": _ASK_FIRST}
    return HTMLResponse(text, status_code=status, headers=headers)


def run_view(
    project: Project, view: Callable[[Project, Run, Request], Response]
) -> Callable[[Request], Response]:
    """An endpoint for an address below a run's, `/runs/{workflow}/{run}/...`.

    Args:
        project: the project.
        view: answers for the run; a run that is not there, or cannot be read, has its own page.
    """

    def endpoint(request: Request) -> Response:
        parts = (request.path_params["workflow"], request.path_params["run"])
        home = project.runs / parts[0]
        if any(part.startswith(".") or "\0" in part for part in parts):
            raise HTTPException(404)
        folder = folder_of(home, parts[1]) or home / parts[1]
        if not folder.resolve().is_relative_to(project.runs.resolve()):
            raise HTTPException(404)
        run = read_run(folder)
        if run is None:
            return _own_page(missing_page(project, parts), status=404)
        return view(project, run, request)

    return endpoint


class _Folder(StaticFiles):
    """A folder that may not exist yet, or be missing for a moment while it is replaced."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory, check_dir=False)

    async def check_config(self) -> None:
        """Missing is fine; requests are answered with 404 then."""


class Pages(_Folder):
    """The built pages; an address without a file is a page that the browser assembles."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, or the single page for everything that looks like a page's address."""
        if _is_hidden(path):
            raise HTTPException(404)
        try:
            response = await self._file(path, scope)
        except HTTPException as error:
            if error.status_code != 404 or PurePosixPath(path).suffix or path.startswith("_app"):
                raise
            response = await self._index(scope)
        immutable = path.startswith("_app/immutable/")
        response.headers["cache-control"] = _FOREVER if immutable else _ASK_FIRST
        response.headers["content-security-policy"] = _PAGE_POLICY
        return response

    async def _file(self, path: str, scope: Scope) -> Response:
        """The file, or the compressed copy that the build put beside it."""
        headers = Headers(scope=scope)
        packed, stat = self.lookup_path(f"{path}.gz")
        if stat is None or path.endswith(".gz"):
            return await super().get_response(path, scope)
        if not _GZIP.search(headers.get("accept-encoding", "")) or "range" in headers:
            response = await super().get_response(path, scope)
        else:
            kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
            response = self.file_response(packed, stat, scope)
            response.headers["content-type"] = kind
            response.headers["content-encoding"] = "gzip"
        response.headers["vary"] = "Accept-Encoding"
        return response

    async def _index(self, scope: Scope) -> Response:
        index, stat = self.lookup_path("index.html")
        if stat is None:
            return HTMLResponse(
                render("not_built.html"), status_code=503, headers={"retry-after": "10"}
            )
        text = await run_in_threadpool(Path(index).read_text, "utf-8")
        return HTMLResponse(text.replace("<head>", f"<head><script>{_PREVIEW}</script>", 1))


class ExportedData(_Folder):
    """The exported tables: the manifest is never cached, the files it names never change."""

    def __init__(self, project: Project, lists: RunLists) -> None:
        super().__init__(data_folder(project))
        self._project = project
        self._lists = lists
        self._listed: dict[str, int] | None = None

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, with how long a browser may keep it."""
        if _is_hidden(path):
            raise HTTPException(404)
        parts = PurePosixPath(path).parts
        if len(parts) == 4 and (parts[0], parts[3]) == ("_preview", MANIFEST):
            found = await run_in_threadpool(preview_manifest, self._project, parts[1], parts[2])
            return JSONResponse(
                found, status_code=200 if found else 404, headers={"cache-control": _ASK_FIRST}
            )
        if path == MANIFEST:
            await run_in_threadpool(self._list_workflows)
        if path == FILE:
            response: Response = JSONResponse(await run_in_threadpool(provenance, self._lists))
        elif path == MANIFEST and not (Path(str(self.directory)) / MANIFEST).is_file():
            # Pages request it before anything was exported; an error would break them.
            response = JSONResponse({"renderedFiles": {}})
        else:
            response = await super().get_response(path, scope)
        versioned = path.endswith(".parquet")
        response.headers["cache-control"] = _FOREVER if versioned else _ASK_FIRST
        return response

    def _list_workflows(self) -> None:
        """List the workflows as they are now: one may have been broken since the last export."""
        files = (p for name in _DEFINED_BY for p in self._project.notebooks.glob(f"*/{name}"))
        try:
            now = {str(path): path.stat().st_mtime_ns for path in files}
            if now != self._listed and (Path(str(self.directory)) / MANIFEST).is_file():
                export_sources(self._project, [], workflows=workflows_for_pages(self._project))
                self._listed = now
        except (DataflowError, OSError):
            return  # what was exported last is shown


class RunFiles(_Folder):
    """The executed notebooks of runs; `.ipynb` files are offered for download."""

    def __init__(self, project: Project, lists: RunLists) -> None:
        super().__init__(project.runs)
        self._project = project
        self._lists = lists

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, or a page about the runs or the run whose folder it is."""
        if _is_hidden(path):
            raise HTTPException(404)
        full, stat = self.lookup_path(path)
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405)
        parts = PurePosixPath(path).parts
        if stat is None and len(parts) > 1 and (moved := self._folder_of(*parts[:2])):
            return RedirectResponse(quote("/".join(("/runs", parts[0], moved, *parts[2:]))))
        is_file = stat is not None and not Path(full).is_dir()
        if not is_file and (len(parts) <= 1 or stat is not None):
            if not scope["path"].endswith("/"):
                return RedirectResponse(f"{scope['path']}/")
            query = QueryParams(scope["query_string"]).multi_items()
            response: Response = await run_in_threadpool(self._page, parts, query)
        else:
            page = (
                await run_in_threadpool(self._refreshed, path) if path.endswith(".html") else None
            )
            try:
                if page is not None:
                    response = _notebook_page(page, Request(scope))
                else:
                    response = await super().get_response(path, scope)
                    response.headers["content-security-policy"] = _RUN_FILE_POLICY
            except HTTPException as error:
                if error.status_code != 404:
                    raise
                response = await run_in_threadpool(self._missing, parts)
        response.headers["cache-control"] = _ASK_FIRST
        if path.endswith(".ipynb"):
            name = PurePosixPath(path).name.replace('"', "")
            response.headers["content-disposition"] = f'attachment; filename="{name}"'
        return response

    def _folder_of(self, workflow_id: str, run_id: str) -> str | None:
        """The name of a run's folder, of which an address has the id."""
        folder = folder_of(self._project.runs / workflow_id, run_id)
        return folder.name if folder is not None and folder.name != run_id else None

    def _page(self, parts: tuple[str, ...], query: list[tuple[str, str]]) -> Response:
        if len(parts) > 1:
            folder = self._project.runs.joinpath(*parts)
            return run_page(self._project, folder, self._lists.index) or self._missing(parts)
        workflow_id = parts[0] if parts else None
        if to := self._lists.canonical(workflow_id, query):
            return RedirectResponse(to)
        values = self._lists.values(workflow_id, query)
        return page_response("runs.html", status=400 if values["problem"] else 200, **values)

    def _missing(self, parts: tuple[str, ...]) -> Response:
        return _own_page(missing_page(self._project, parts), status=404)

    def _refreshed(self, path: str) -> Path | None:
        """The page of an executed notebook, written if it is missing or old; None for another file."""
        full, _ = self.lookup_path(path.removesuffix(".html") + ".ipynb")
        if not full or not Path(full).is_file():
            return None
        # An unreadable notebook is no reason to withhold its earlier page.
        with contextlib.suppress(Exception):
            page_of(Path(full))
        page = Path(full).with_suffix(".html")
        return page if is_current(page) else None


def _notebook_page(page: Path, request: Request) -> Response:
    """The page of an executed notebook, told whether its reader wants to see code."""
    kept = request.cookies.get(_CODE)
    state = kept if kept in _CODE_STATES else _CODE_STATES[0]
    stat = page.stat()
    tag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}-{state}"'
    headers = {"content-security-policy": _NOTEBOOK_POLICY, "etag": tag, "vary": "Cookie"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    told = f'<html lang="en" data-code="{state}" data-remember="{_REMEMBER}">'.encode()
    file = page.open("rb")  # the page as it is now, however often it is written meanwhile
    head = file.read(1000).replace(_HTML, told, 1)

    def parts() -> Iterator[bytes]:
        with file:
            yield head
            while part := file.read(1 << 20):
                yield part

    return StreamingResponse(parts(), media_type="text/html", headers=headers)


class _SafeHeaders:
    """Adds the headers that every response has."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS.items()]
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _is_hidden(path: str) -> bool:
    """Whether any part of the path is hidden: unfinished exports, stamps, private files."""
    return any(part.startswith(".") for part in PurePosixPath(path).parts if part != ".")


def main() -> None:
    """Serve until stopped (SIGINT, SIGTERM)."""
    import uvicorn

    project = Project.find()
    public = urlsplit(public_url(project, "evidence") or "").hostname
    lists = RunLists(project)
    # The first search finds the records read already.
    Thread(target=lists.index.warm, daemon=True).start()
    app = create_app(project, hosts=[public] if public else [], lists=lists)
    port = int(sys.argv[1])
    uvicorn.run(app, host=HOST, port=port, log_level="warning", timeout_graceful_shutdown=3)


if __name__ == "__main__":
    main()
