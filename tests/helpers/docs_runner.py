"""Try a page's snippets in a copy of the project, as its reader would."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import nbformat
import yaml
from docs_pages import Snippet, snippets
from projects import environment
from warm import server

from dataflow.project import Project
from dataflow.workflows.model import WorkflowConfig

SECONDS = 240  # for one snippet

# `dataflow` of the copy. Services start in the background on ports that are free: the usual
# ones may be in use on the machine that tests, and a service in the foreground never ends.
DATAFLOW = """\
#!{python} -IS
import socket
import sys

sys.path.insert(0, {helpers!r})
from warm import pass_on

arguments = sys.argv[1:]
if arguments[:2] == ["service", "start"]:
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    if "--port" in arguments:
        position = arguments.index("--port")
        del arguments[position : position + 2]
    arguments = [a for a in arguments if a not in ("-d", "--detach")]
    arguments += ["-d", "--port", str(free.getsockname()[1])]
    free.close()
sys.exit(pass_on({server!r}, arguments))
"""
# `make` says what it would do: targets are there, and nothing is installed anew.
MAKE = """\
#!/bin/sh
PATH="{path}"
exec make --dry-run "$@" >/dev/null
"""
PROGRAMS = ("python", "pytest", "dbt", "papermill", "jupyter", "pre-commit", "nbdime", "nbdiff")
ACTIVATE = 'export PATH="{bin}:$PATH"\n'


def try_page(page: Path, clone: Project, folder: Path) -> Project:
    """Try a page's snippets, in order, in a copy of `clone`; fails at the first that is wrong."""
    shutil.copytree(clone.root, folder, symlinks=True)
    project = Project(folder)
    runner = PageRunner(project)
    try:
        for snippet in snippets(page):
            if snippet.is_tried:
                runner.try_out(snippet)
    finally:
        runner.close()
    return project


class PageRunner:
    """Tries the snippets of one page, in order.

    Args:
        project: a copy of the project, which the page's commands may change.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self._bin = project.root / ".venv" / "bin"
        self._bin.mkdir(parents=True, exist_ok=True)
        given = {
            "python": sys.executable,
            "helpers": str(Path(__file__).parent),
            "server": server(),
        }
        _program(self._bin / "dataflow", DATAFLOW.format(**given))
        _program(self._bin / "make", MAKE.format(path=os.environ["PATH"]))
        (self._bin / "activate").write_text(ACTIVATE.format(bin=self._bin), "utf-8")
        for name in PROGRAMS:
            _program(
                self._bin / name,
                f'#!/bin/sh\nexec "{Path(sys.executable).parent / name}" "$@"\n',
            )

    def environment(self) -> dict[str, str]:
        """The environment of a person in the copy, its `.venv` active."""
        kept = environment()
        kept["PATH"] = os.pathsep.join([str(self._bin), os.environ["PATH"]])
        kept["PYTHONPATH"] = str(self.project.root)  # the copy's own code, not the original's
        return kept

    def try_out(self, snippet: Snippet) -> None:
        """Try one snippet; fails with the page and line when it is not right."""
        for name, value in snippet.directives:
            if name in _FILES:
                _FILES[name](self.project.root, snippet, value)
                return
        given = snippet.directive("given")
        code = f"{given}\n{snippet.text}" if given else snippet.text
        if snippet.language in ("bash", "console"):
            commands = code if snippet.language == "bash" else _typed(code)
            self._run(snippet, ["bash", "-euo", "pipefail", "-c", commands])
        elif snippet.language == "python":
            self._run(snippet, [sys.executable, "-c", code])
        elif snippet.language == "sql":
            self._run(snippet, [str(self._bin / "dataflow"), "db", "query", code])
        else:
            read = yaml.safe_load(code)
            if isinstance(read, dict) and "workflow" in read:
                WorkflowConfig.model_validate(read)

    def close(self) -> None:
        """End the services that the page started."""
        subprocess.run(
            [self._bin / "dataflow", "service", "stop", "all"],
            cwd=self.project.root,
            env=self.environment(),
            capture_output=True,
            timeout=SECONDS,
            check=True,
        )

    def _run(self, snippet: Snippet, command: list[str]) -> None:
        done = subprocess.run(
            command,
            cwd=self.project.root / (snippet.directive("in") or "."),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        wanted = int(snippet.directive("exit") or 0)
        assert done.returncode == wanted, (
            f"{snippet.where}: exit code {done.returncode}, not {wanted}\n"
            f"{textwrap.indent(snippet.text, '    ')}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
        if snippet.language == "console":
            printed = _words(done.stdout + done.stderr)
            for line in _shown(snippet.text):
                wanted_words = ".*".join(re.escape(_words(part)) for part in line.split("…"))
                assert re.search(wanted_words, printed), f"{snippet.where}: not printed: {line}"


def _program(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def _typed(text: str) -> str:
    """What a person types in a `console` block: the lines behind a `$`."""
    return "\n".join(line[2:] for line in text.split("\n") if line.startswith("$ "))


def _shown(text: str) -> list[str]:
    """What a `console` block shows as printed."""
    lines = [line for line in text.split("\n") if not line.startswith("$ ")]
    return [line for line in lines if line.strip()]


def _words(text: str) -> str:
    return " ".join(text.split())


def _write(root: Path, snippet: Snippet, value: str) -> None:
    path = root / value
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(snippet.text + "\n", "utf-8")


def _append(root: Path, snippet: Snippet, value: str) -> None:
    path = root / value
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(snippet.text + "\n")


def _cell(root: Path, snippet: Snippet, value: str) -> None:
    name, *tags = value.split()
    path = root / name
    if path.exists():
        nb = nbformat.read(path, as_version=4)
    else:
        nb = nbformat.v4.new_notebook()
        nb.metadata["kernelspec"] = {
            "name": "python3", "display_name": "Python 3", "language": "python",
        }  # fmt: skip
    make = (
        nbformat.v4.new_markdown_cell
        if snippet.language == "markdown"
        else nbformat.v4.new_code_cell
    )
    nb.cells.append(make(snippet.text, metadata={"tags": tags} if tags else {}))
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, path)


def _excerpt(root: Path, snippet: Snippet, value: str) -> None:
    there = (root / value).read_text("utf-8")
    assert snippet.text.strip("\n") in there, f"{snippet.where}: this does not stand in {value}"


_FILES = {"file": _write, "append": _append, "cell": _cell, "excerpt": _excerpt}
