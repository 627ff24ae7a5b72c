"""The dashboards for readers, and Evidence's own development server for their authors."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path

from dataflow.addresses import HOST, local_url
from dataflow.dashboard.paths import build_folder, data_folder
from dataflow.project import Project
from dataflow.services.model import Command, Plan

HEALTH = "/_dataflow/health"
NOT_BUILT = (
    "There is no dashboard yet: a run builds it at its end. Run `dataflow workflow run NAME`, "
    "then reload the page."
)


def prepare(project: Project, port: int, dev: bool) -> Plan:
    """Prepare the start of the dashboards' server.

    Args:
        project: the project.
        port: where it is to listen.
        dev: Evidence's own server, which reloads a page whenever it changes.

    Raises:
        ConfigurationError: `dev`, and Node cannot be had.
        DashboardError: `dev`, and Evidence's packages cannot be installed.
    """
    if dev:
        return Plan([_development_server(project, port)], local_url(port), "/")
    argv = [sys.executable, "-m", "dataflow.services.evidence_web", str(port)]
    is_built = (build_folder(project) / "index.html").is_file()
    return Plan(
        [Command("web server", argv, str(project.root))],
        local_url(port),
        HEALTH,
        note=None if is_built else NOT_BUILT,
    )


def _development_server(project: Project, port: int) -> Command:
    """Prepare `evidence dev`.

    It shows the tables that the built dashboard shows, so that authors see what readers see
    and need not run Evidence's own (slow) `evidence sources`.
    """
    from dataflow.dashboard.install import ensure_node, install

    install(project)
    _show_exported_tables(project)
    node = ensure_node(project)
    environment = node.variables() | {"BROWSER": "none"}
    if node.npm[-1].endswith("npm-cli.js"):
        # Evidence's command starts `npx`, and PyPI's Node has a broken one.
        folder = project.state / "dashboard" / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        script = Path(node.npm[-1]).with_name("npx-cli.js")
        npx = folder / "npx"
        npx.write_text(f'#!/bin/sh\nexec {shlex.join([str(node.path), str(script)])} "$@"\n')
        npx.chmod(0o755)
        environment["PATH"] = f"{folder}{os.pathsep}{environment['PATH']}"
    command = project.evidence / "node_modules" / "@evidence-dev" / "evidence" / "cli.js"
    options = ["--host", HOST, "--port", str(port), "--strictPort"]
    argv = [str(node.path), str(command), "dev", *options]
    return Command("development server", argv, str(project.evidence), environment)


def _show_exported_tables(project: Project) -> None:
    """Put the exported tables where the development server looks for data."""
    from dataflow.services.provenance import FILE, provenance
    from dataflow.services.run_list import RunLists

    data = data_folder(project)
    data.mkdir(parents=True, exist_ok=True)
    link = project.evidence / ".evidence" / "template" / "static" / "data"
    if link.is_symlink():
        link.unlink()
    elif link.is_dir():
        shutil.rmtree(link)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(data, target_is_directory=True)
    # As it is now: that server only serves files.
    text = json.dumps(provenance(RunLists(project)))
    (data / FILE).write_text(text, encoding="utf-8")
