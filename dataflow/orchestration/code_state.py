"""The state of the project's code when a run begins: its commit, and the difference from it."""

from __future__ import annotations

import difflib
import fnmatch
import io
import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataflow.base.files import write_whole
from dataflow.engine.secrets import Scrubber
from dataflow.project import Project
from dataflow.runs.record import DIFFERENCE

MOST_BYTES = 1_000_000  # of the difference that is kept
MOST_BYTES_OF_A_FILE = 200_000
MOST_BYTES_OF_A_NOTEBOOK = 10_000_000  # most of it are outputs
MOST_FILES = 500
SECONDS = 10  # for git to answer
# What is no code, or whose content nobody wants to find in a folder of runs.
_LEFT_OUT = (".env", ".env.*", "*.pem", "*.key", "*.p12", ".netrc", ".pgpass", "id_*", "*.lock")
# What running makes, where a project's .gitignore does not say so.
_NOT_CODE = ("runs", ".duckdb", ".dataflow", ".dagster", "evidence/build", "evidence/node_modules")
_OF_ANOTHER = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


@dataclass(frozen=True)
class CodeState:
    """The commit that the project's files are at, and those that differ from it.

    Args:
        root: the project's root.
        commit: its hash; empty when there is none yet.
        changed: tracked files that differ, below the root.
        new: files and folders that git does not know.
    """

    root: Path
    commit: str
    changed: tuple[str, ...] = ()
    new: tuple[str, ...] = ()

    @property
    def dirty(self) -> bool:
        """Whether files differ from the commit."""
        return bool(self.changed or self.new)

    def facts(self) -> dict[str, Any]:
        """It as `run.json` has it."""
        return {"commit": self.commit, "dirty": self.dirty}


def code_state(project: Project) -> CodeState | None:
    """The commit the project is at and the files that differ from it; None without git.

    What lies beside the project in a bigger repository does not count.
    """
    root = project.root.resolve()
    top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), None)
    if top is None:
        return None
    try:
        status = git(
            root, "status", "--porcelain=v2", "--branch", "-z", "--no-renames",
            "--ignore-submodules=dirty", "--", ".", *(f":(exclude){name}" for name in _NOT_CODE),
        ).decode("utf-8", "surrogateescape")  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    prefix = "" if top == root else f"{root.relative_to(top).as_posix()}/"
    commit, changed, new = "", [], []
    for entry in filter(None, status.split("\0")):
        if entry.startswith("# branch.oid "):
            commit = entry.split(" ")[2]
        elif entry[0] == "1":
            changed.append(entry.split(" ", 8)[8].removeprefix(prefix))
        elif entry[0] == "u":
            changed.append(entry.split(" ", 10)[10].removeprefix(prefix))
        elif entry[0] == "?":
            new.append(entry[2:].removeprefix(prefix))
    if commit.startswith("("):  # "(initial)"
        return CodeState(project.root, "", (), (*changed, *new))
    return CodeState(project.root, commit, tuple(changed), tuple(new))


def keep_difference(state: CodeState, folder: Path, first: str, scrubber: Scrubber) -> bool:
    """Keep in a run's folder how the code differs from its commit, as a patch.

    Outputs of notebooks are left out, and what is too much; the file's first lines say so.

    Args:
        state: the state of the code.
        folder: the run's folder.
        first: the name of the workflow, whose files come first.
        scrubber: takes secrets out.

    Returns:
        Whether there was anything to keep.
    """
    try:
        text = _difference(state, first)
        if text:
            write_whole(folder / DIFFERENCE, scrubber.text(text))
    except (OSError, subprocess.SubprocessError):
        return False  # a run does not fail for its record's sake
    return bool(text)


def _difference(state: CodeState, workflow_id: str) -> str:
    """The patch, with a head that says what it is; empty when only saved outputs differ."""
    found = list(itertools.islice(_files(state), MOST_FILES + 1))
    left = [name for name, _ in found if _is_left_out(state.root / name)]
    files = sorted(
        (file for file in found[:MOST_FILES] if file[0] not in left),
        key=lambda file: (workflow_id not in Path(file[0]).parts, file),
    )
    before = _committed(state, [name for name, is_new in files if not is_new])
    parts: list[str] = []
    size = 0
    for name, _ in files:
        patch = _patch(state.root / name, name, before.get(name))
        if patch is None or size + len(patch) > MOST_BYTES:
            left.append(name)
            continue
        parts.append(patch)
        size += len(patch)
    if not any(parts) and not left:
        return ""
    since = f"commit {state.commit}" if state.commit else "nothing: there was no commit yet"
    head = [f"The project's files in this run beside {since}; notebooks without saved outputs."]
    if left:
        listed = ", ".join(left[:50]) + (f" and {len(left) - 50} more" if len(left) > 50 else "")
        head.append(f"Not kept, since too big, no text, or possibly secret: {listed}")
    if len(found) > MOST_FILES:
        head.append(
            f"Only {MOST_FILES} files were looked at; there are more that git does not know."
        )
    return "\n".join([*head, "", "".join(parts)])


def _files(state: CodeState) -> Iterator[tuple[str, bool]]:
    """The files that differ, each with whether git does not know it."""
    yield from ((name, False) for name in state.changed)
    folders = [name for name in state.new if name.endswith("/")]
    yield from ((name, True) for name in state.new if name not in folders)
    if folders:
        # As they come: somebody's data may lie there, a hundred thousand files of it.
        listing = subprocess.Popen(
            [*_COMMAND, "ls-files", "-z", "--others", "--exclude-standard", "--", *folders],
            cwd=state.root, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            assert listing.stdout is not None
            listed = listing.stdout.read(MOST_FILES * 200).decode("utf-8", "replace")
        finally:
            listing.kill()
            listing.communicate()
        yield from ((name, True) for name in listed.split("\0")[:-1])


def _is_left_out(path: Path) -> bool:
    """Whether a file's content is not kept, whatever it is."""
    if any(fnmatch.fnmatch(path.name, pattern) for pattern in _LEFT_OUT) or path.is_symlink():
        return True
    most = MOST_BYTES_OF_A_NOTEBOOK if path.suffix == ".ipynb" else MOST_BYTES_OF_A_FILE
    return path.is_file() and path.stat().st_size > most


def _committed(state: CodeState, names: list[str]) -> dict[str, bytes]:
    """The content of files in the commit; without those that it does not have."""
    wanted = [name for name in names if "\n" not in name]
    if not wanted:
        return {}
    asked = "".join(f"HEAD:./{name}\n" for name in wanted).encode("utf-8", "surrogateescape")
    answer = git(state.root, "cat-file", "--batch", asked=asked)
    found = {}
    for name in wanted:
        head, _, answer = answer.partition(b"\n")
        if not head.endswith(b" missing"):
            size = int(head.rsplit(b" ", 1)[1])
            found[name] = answer[:size]
            answer = answer[size + 1 :]
    return found


def _patch(path: Path, name: str, committed: bytes | None) -> str | None:
    """How a file differs; None where that is no text."""
    now = _text(path.read_bytes()) if path.is_file() else ""
    before = _text(committed or b"")
    if now is None or before is None or len(before) > MOST_BYTES_OF_A_NOTEBOOK:
        return None
    if path.suffix == ".ipynb":
        now, before = _without_outputs(now), _without_outputs(before)
    end = "\t" if " " in name else ""  # as git has it
    lines = difflib.unified_diff(
        list(io.StringIO(before, newline="\n")),
        list(io.StringIO(now, newline="\n")),
        "/dev/null" if committed is None else f"a/{name}{end}",
        f"b/{name}{end}" if path.exists() else "/dev/null",
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _text(content: bytes) -> str | None:
    return None if b"\0" in content else content.decode("utf-8", "replace")


def _without_outputs(text: str) -> str:
    """A notebook without what running it left; the text as it is when it is no notebook."""
    try:
        notebook = json.loads(text)
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell.update(outputs=[], execution_count=None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return text
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


_COMMAND = ("git", "-c", "core.quotepath=off")


def _environment() -> dict[str, str]:
    # A hook of another repository may have started this process.
    kept = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER}
    return {**kept, "GIT_OPTIONAL_LOCKS": "0"}


def git(folder: Path, *arguments: str, asked: bytes = b"") -> bytes:
    """What git prints in a folder, whatever repository this process was started for.

    Args:
        folder: the folder.
        arguments: those of the command.
        asked: what it reads from its standard input.

    Raises:
        OSError: there is no git.
        subprocess.SubprocessError: it fails, or takes too long.
    """
    return subprocess.run(
        [*_COMMAND, *arguments],
        input=asked,
        cwd=folder,
        capture_output=True,
        check=True,
        timeout=SECONDS,
        env=_environment(),
    ).stdout
