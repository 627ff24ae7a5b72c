"""Deciding in the browser about a run that awaits review, and previewing its dashboard.

Whoever may decide has the project's token: opening the address that `dataflow runs show` prints
leaves a cookie, and forms carry a code made of the token and the run. Another user of the machine
has neither, another site's page is refused by its origin, and an executed notebook has no origin.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from dataflow.addresses import service_url
from dataflow.base.files import whole_file
from dataflow.base.sharing import is_shared
from dataflow.dashboard.paths import has_dashboard, preview_folder
from dataflow.project import ROOT_VARIABLE, Project
from dataflow.runs.record import AWAITING, SHORT, Run, user
from dataflow.services.pages import page_response, run_address
from dataflow.workflows.ids import slug_of

VERBS = {"approve": "approved", "reject": "rejected"}
SOON = 3.0  # seconds in which a decision is refused, if it is; building pages takes longer
LONGEST = 20_000  # characters of a form


def decide_url(project: Project, run: Run) -> str:
    """Where somebody may decide about a run; with the token, so it is for them only."""
    return f"{service_url(project, 'evidence')}{run_address(run)}decide?token={token(project)}"


def preview_url(project: Project, run: Run) -> str | None:
    """Where the dashboard is as a run that awaits review would make it; None without one."""
    if not can_preview(project, run):
        return None
    return f"{service_url(project, 'evidence')}{run_address(run)}preview"


def can_preview(project: Project, run: Run) -> bool:
    """Whether there is a dashboard to preview."""
    folder = preview_folder(project, run.workflow_id, run.run_id)
    return run.status == AWAITING and folder.is_dir() and has_dashboard(project, run.workflow_id)


def token(project: Project) -> str:
    """The project's token, made when it is first asked for; only its users can read the file."""
    path = project.state / "review-token"
    with suppress(FileNotFoundError):
        return path.read_text("ascii")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as draft:
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(24), "ascii")
        if is_shared(project.root):
            draft.chmod(0o640)
    return path.read_text("ascii")


def decision_section(project: Project, run: Run) -> Mapping[str, Any] | None:
    """What `decision.html` shows of a run on its page; None for one without a review."""
    review = run.data.get("review")
    if not review:
        return None
    awaiting = run.status == AWAITING
    return {"review": review, "awaiting": awaiting, "preview": can_preview(project, run)}


def decide(project: Project, run: Run, request: Request, body: bytes = b"") -> Response:
    """The page on which somebody decides about a run, and what its form sends."""
    given = request.query_params.get("token")
    address = f"{run_address(run)}decide"
    if given is not None:
        if not hmac.compare_digest(given.encode(), token(project).encode()):
            return _refused(
                run,
                "The token in this address is not, or no longer, the project's.\n"
                f"`dataflow runs show {run.run_id[:SHORT]}` in a terminal prints the address.",
            )
        response: Response = RedirectResponse(address, status_code=303)
        response.set_cookie(
            _cookie(request), _signed(project, "cookie"), httponly=True, samesite="strict"
        )
        return response
    known = _is_known(project, request)
    if request.method == "POST":
        return _carry_out(project, run, request, body, known)
    return page_response(
        "decide.html",
        title=f"Review {run.workflow_id} {run.run_id[:SHORT]}",
        crumbs=[(f"{run.workflow_id} {run.run_id[:SHORT]}", run_address(run))],
        run=run,
        address=run_address(run),
        code=_signed(project, run.run_id) if known else None,
        user=user(),
        error=None,
        **(decision_section(project, run) or {"review": {}, "awaiting": False, "preview": False}),
    )


def preview(project: Project, run: Run, request: Request) -> Response:
    """Send this tab of the browser to the dashboard as the run would make it."""
    if not can_preview(project, run):
        return _refused(run, "There is no preview of this run: it does not await review.", 404)
    return page_response(
        "preview.html",
        title="Preview",
        run=run,
        data=f"/data/_preview/{quote(run.workflow_id)}/{quote(run.run_id)}",
        page=f"/{slug_of(run.workflow_id)}",
        address=run_address(run),
    )


def _carry_out(project: Project, run: Run, request: Request, body: bytes, known: bool) -> Response:
    """Have a decision carried out, in a process of its own: it may build pages for a minute."""
    if not known or not _is_own(request):
        return _refused(run, "To decide here, open the address that `dataflow runs show` prints.")
    fields = parse_qs(body.decode("utf-8", "replace")[:LONGEST])
    form = {name: values[0].strip() for name, values in fields.items()}
    code = form.get("code", "").encode()
    if not hmac.compare_digest(code, _signed(project, run.run_id).encode()):
        return _refused(run, "This form was not made by this page. Open the page again.")
    verb = form.get("decision")
    if verb not in VERBS:
        return _refused(run, "The form has no decision.", 400)
    review = run.data.get("review") or {}
    if run.status != AWAITING:
        return _refused(run, f"This run no longer awaits review: it {run.status}.", 409)
    if verb == "approve" and form.get("seen") != review.get("hash"):
        return _refused(run, "This is not what you reviewed. Open the page again.", 409)
    arguments = [f"--comment={form.get('comment', '')}", f"--by={form.get('by') or user()}"]
    if verb == "approve":
        arguments.append(f"--seen={form['seen']}")
    # Into a file: a pipe would break when this answers, and end what is still being carried out.
    with tempfile.TemporaryFile() as said:
        done = subprocess.Popen(
            [sys.executable, "-m", "dataflow", "runs", verb, run.run_id, "--via=page", *arguments],
            cwd=project.root,
            env={**os.environ, ROOT_VARIABLE: str(project.root), "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        with suppress(subprocess.TimeoutExpired):
            done.wait(SOON)
        if done.returncode:
            said.seek(0)
            return _refused(run, said.read().decode("utf-8", "replace").strip(), 409)
    return RedirectResponse(run_address(run), status_code=303)


def _refused(run: Run, text: str, status: int = 403) -> HTMLResponse:
    return page_response(
        "refused.html",
        status=status,
        title="Nothing was decided",
        crumbs=[(f"{run.workflow_id} {run.run_id[:SHORT]}", run_address(run))],
        text=text,
        run=run,
        address=run_address(run),
    )


def _is_known(project: Project, request: Request) -> bool:
    """Whether the browser has the cookie of somebody who has the token."""
    try:
        cookies = SimpleCookie(request.headers.get("cookie", ""))
    except CookieError:
        return False
    found = cookies.get(_cookie(request))
    return found is not None and hmac.compare_digest(
        found.value.encode(), _signed(project, "cookie").encode()
    )


def _is_own(request: Request) -> bool:
    """Whether a form was sent by a page of this server: browsers say where a form comes from."""
    origin = request.headers.get("origin", "")
    return urlsplit(origin).netloc == request.headers.get("host") and origin != ""


def _cookie(request: Request) -> str:
    # Browsers do not tell ports apart: each server needs a name of its own.
    host = request.headers.get("host", "")
    return f"dataflow_review_{urlsplit(f'//{host}').port or 80}"


def _signed(project: Project, what: str) -> str:
    """A code that only somebody with the token can make."""
    return hmac.new(token(project).encode(), what.encode(), hashlib.sha256).hexdigest()
