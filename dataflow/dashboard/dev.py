"""Evidence's own development server: pages that change while their author writes them."""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from dataflow.dashboard.install import install
from dataflow.dashboard.node import Node, find_node
from dataflow.dashboard.paths import data_folder
from dataflow.project import Project


@dataclass(frozen=True)
class DevCommand:
    """How to start Evidence's development server.

    Args:
        argv: the command.
        cwd: the folder to start it in.
        env: its environment.
    """

    argv: list[str]
    cwd: Path
    env: dict[str, str]


def dev_command(project: Project, port: int, host: str = "127.0.0.1") -> DevCommand:
    """Make `evidence dev` ready, and say how to start it.

    It shows the tables that the built dashboard shows, so that authors see what readers see
    and need not run Evidence's own (slow) `evidence sources`.

    Raises:
        ConfigurationError: no Node, or no package list.
        DashboardError: the packages cannot be installed.
    """
    install(project)
    _show_exported_tables(project)
    node = find_node(project)
    command = project.evidence / "node_modules" / "@evidence-dev" / "evidence" / "cli.js"
    options = ["--host", host, "--port", str(port), "--strictPort"]
    environment = node.environment(BROWSER="none")
    if node.npm[-1].endswith("npm-cli.js"):
        environment["PATH"] = os.pathsep.join(
            [str(_npx_folder(project, node)), environment["PATH"]]
        )
    return DevCommand(
        [str(node.path), str(command), "dev", *options], project.evidence, environment
    )


def _show_exported_tables(project: Project) -> None:
    """Put the exported tables where the development server looks for data."""
    data = data_folder(project)
    data.mkdir(parents=True, exist_ok=True)
    link = project.evidence / ".evidence" / "template" / "static" / "data"
    if link.is_symlink():
        link.unlink()
    elif link.is_dir():
        shutil.rmtree(link)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(data, target_is_directory=True)


def _npx_folder(project: Project, node: Node) -> Path:
    """A folder with a working `npx`, which Evidence's command starts: PyPI's Node has a broken one."""
    folder = project.state / "dashboard" / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    script = Path(node.npm[-1]).with_name("npx-cli.js")
    npx = folder / "npx"
    npx.write_text(f'#!/bin/sh\nexec {shlex.join([str(node.path), str(script)])} "$@"\n')
    npx.chmod(0o755)
    return folder
