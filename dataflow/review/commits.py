"""What git knows between the commits of two runs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dataflow.orchestration.code_state import git
from dataflow.project import Project
from dataflow.runs.record import DIFFERENCE, Run

MOST = 50  # commits shown
MOST_FILES = 100
MOST_CHARACTERS = 5_000_000  # of a run's uncommitted changes
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_PATCH = re.compile(r"^--- ([^\n]*)\n\+\+\+ ([^\n]*)\n", re.MULTILINE)
_FORMAT = "%H%x1f%an%x1f%aI%x1f%s"


@dataclass(frozen=True)
class Commit:
    """One commit.

    Args:
        id: its hash.
        author: whose it is.
        date: when it was written, with its time zone.
        subject: the first line of its message.
    """

    id: str
    author: str
    date: str
    subject: str


@dataclass(frozen=True)
class FileChange:
    """A file whose committed or uncommitted content differs; lines that only one run's file has.

    Args:
        path: the file, from the project's root.
        added: lines that came; None where nobody counted them.
        removed: lines that went.
    """

    path: str
    added: int | None = None
    removed: int | None = None


@dataclass(frozen=True)
class CommitsBetween:
    """The code of two runs in git.

    Args:
        before: the commit of the earlier run; None without git.
        after: the commit of the later one.
        dirty_before: whether files differed from the commit.
        dirty_after: the same of the later run.
        gained: commits that only the later run has, of this workflow's files, the newest first.
        lost: commits that only the earlier run has: another branch, or history made anew.
        more: how many commits are not among these.
        files: the workflow's files that differ; at one commit those with other uncommitted changes.
        note: why nothing is known about them.
    """

    before: str | None
    after: str | None
    dirty_before: bool = False
    dirty_after: bool = False
    gained: tuple[Commit, ...] = ()
    lost: tuple[Commit, ...] = ()
    more: int = 0
    files: tuple[FileChange, ...] = ()
    note: str = ""

    @property
    def differs(self) -> bool:
        """Whether the two ran at different commits."""
        return self.before != self.after


def commits_between(project: Project, before: Run, after: Run) -> CommitsBetween:
    """The commits between two runs that concern their workflow."""
    (old, old_dirty), (new, new_dirty) = _state(before), _state(after)
    known = CommitsBetween(old, new, old_dirty, new_dirty)
    if old == new:
        return replace(known, files=tuple(_uncommitted(before, after)))
    if old is None or new is None:
        which = "earlier" if old is None else "later"
        return replace(known, note=f"the {which} run knows no commit")
    paths = (f"notebooks/{after.workflow_id}", "dbt", "evidence", "dataflow")
    try:
        for commit in (old, new):
            if _git(project, "cat-file", "-e", f"{commit}^{{commit}}") is None:
                return replace(known, note=f"commit {commit[:8]} is not in this repository")
        gained = _log(project, f"{old}..{new}", paths)
        lost = _log(project, f"{new}..{old}", paths)
        files = _files(project, old, new, paths)
    except (OSError, subprocess.SubprocessError):
        return replace(known, note="git does not answer")
    more = max(0, len(gained) - MOST) + max(0, len(lost) - MOST)
    note = "" if gained or lost else f"none of them changed files of {after.workflow_id}"
    return replace(
        known,
        gained=tuple(gained[:MOST]),
        lost=tuple(lost[:MOST]),
        more=more,
        files=files,
        note=note,
    )


def _state(run: Run) -> tuple[str | None, bool]:
    """A run's commit and whether files differed; a record that says something else has none."""
    git = run.data.get("git")
    commit = git.get("commit") if isinstance(git, dict) else None
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        return None, False
    return commit, bool(git.get("dirty")) if isinstance(git, dict) else False


def _files(project: Project, old: str, new: str, paths: tuple[str, ...]) -> tuple[FileChange, ...]:
    """The files that differ between two commits."""
    command = ("diff", "--numstat", "--no-renames", "--no-ext-diff", "--relative", "-z", old, new)
    text = _git(project, *command, "--", *paths) or ""
    found = []
    for entry in filter(None, text.split("\0")):
        added, removed, path = entry.split("\t", 2)
        counts = (None if count == "-" else int(count) for count in (added, removed))
        found.append(FileChange(path, *counts))
    return tuple(found[:MOST_FILES])


def _uncommitted(before: Run, after: Run) -> Iterator[FileChange]:
    """The files of which two runs at one commit had other changes."""
    old, new = _patches(before), _patches(after)
    for path in sorted({*old, *new})[:MOST_FILES]:
        if old.get(path) != new.get(path):
            yield FileChange(path)


def _patches(run: Run) -> dict[str, str]:
    """The uncommitted changes that a run kept, by file."""
    try:
        with (run.folder / DIFFERENCE).open(encoding="utf-8", errors="replace") as file:
            text = file.read(MOST_CHARACTERS)
    except OSError:
        return {}
    _, *parts = _PATCH.split(text)
    found = {}
    for old, new, lines in zip(*(iter(parts),) * 3, strict=True):
        name = old if new == "/dev/null" else new
        found[name.removeprefix("a/").removeprefix("b/")] = lines
    return found


def _log(project: Project, commits: str, paths: tuple[str, ...]) -> list[Commit]:
    text = _git(
        project, "log", f"--format={_FORMAT}", f"--max-count={10 * MOST}", commits, "--", *paths
    )
    found = []
    for line in (text or "").splitlines():
        parts = line.split("\x1f")
        if len(parts) == 4:
            found.append(Commit(*parts))
    return found


def _git(project: Project, *arguments: str) -> str | None:
    """What git prints; None when it fails."""
    try:
        return git(project.root, *arguments).decode("utf-8", "replace")
    except subprocess.CalledProcessError:
        return None
