"""Dagster's own web server, with checks of Host and Origin in front of it.

`python -m dataflow.services.dagster_web` takes the options of `dagster-webserver`. Dagster lets
any page in a browser start, cancel and delete runs: it has no such checks, for HTTP or WebSocket.
"""

from __future__ import annotations

from typing import Any

import uvicorn
from dagster_webserver.cli import cli

from dataflow.base.addresses import public_url
from dataflow.project import Project
from dataflow.services.local_only import LocalOnly


def main() -> None:
    """Run Dagster's command; what it serves is behind the checks."""
    serve = uvicorn.run
    address = public_url(Project.find(), "dagster")

    def guarded(app: Any, **options: Any) -> None:
        serve(LocalOnly(app, address, by_post=("/graphql",)), **options)

    uvicorn.run = guarded
    cli.main(prog_name="dagster-webserver")


if __name__ == "__main__":
    main()
