"""Bring a project's files, and what it keeps, to the version of DATAFLOW that is installed."""

from __future__ import annotations

import difflib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from dataflow.base.files import whole_file, write_whole
from dataflow.base.version import DISTRIBUTION, installed
from dataflow.errors import ConfigurationError
from dataflow.orchestration.instance import open_instance
from dataflow.project import Project
from dataflow.scaffold.project import (
    PIN,
    RECORD,
    WHEELS,
    digest,
    installed_wheel,
    owned_files,
    record_of,
)
from dataflow.scaffold.workflow import unwritable

DIFFERENCE = ".upgrade.diff"  # what is appended to a file's name for the difference beside it


@dataclass(frozen=True)
class Change:
    """What an upgrade does to one file.

    Args:
        path: the file, from the project's root.
        what: in a few words, for people.
        content: its new content; None leaves the file as it is.
        difference: how it differs from this version's, where both sides changed it.
        removes: whether the file goes.
    """

    path: str
    what: str
    content: bytes | None = None
    difference: str = ""
    removes: bool = False


@dataclass(frozen=True)
class Upgrade:
    """Everything an upgrade is going to do.

    Args:
        project: the project.
        name: what it is called, whatever the folder it was cloned to.
        version: the version of DATAFLOW that wrote its files.
        changes: what happens to files.
        wheel: DATAFLOW's own file, to be kept in `wheels/`; None when it is there, or not needed.
    """

    project: Project
    name: str
    version: str
    changes: list[Change]
    wheel: Path | None


def plan_upgrade(project: Project) -> Upgrade:
    """Compare the project's files with those of the installed version; nothing is written.

    Raises:
        ConfigurationError: `dataflow init` did not make the project, or a newer version did.
    """
    path = project.root / RECORD
    try:
        record = json.loads(path.read_text("utf-8"))
        name, version = str(record["name"]), str(record["version"])
        recorded = dict(record["files"])
    except FileNotFoundError:
        raise ConfigurationError(
            "this project was not made by `dataflow init`, so its files are its owner's",
            where=RECORD,
            hint="For a clone of DATAFLOW's repository: git pull, then make setup.",
        ) from None
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(
            "the record of what `dataflow init` wrote cannot be read",
            where=RECORD,
            hint="Restore it from git.",
        ) from None
    if Version(version) > Version(installed()):
        raise ConfigurationError(
            f"the project's files are of version {version}; installed is {installed()}, an older one",
            where=RECORD,
            hint=f"Install what the project asks for: pip install {DISTRIBUTION}=={version}, "
            "or make setup.",
        )
    wanted = owned_files(name)
    changes = [
        *_changes(project.root, recorded, wanted),
        *_removals(project.root, recorded, wanted),
    ]
    wheel = installed_wheel()
    if wheel is not None and (project.root / WHEELS / wheel.name).is_file():
        wheel = None
    return Upgrade(project, name, version, changes, wheel)


def upgrade(plan: Upgrade) -> None:
    """Write what `plan` says, then migrate what the project keeps; the record comes last.

    Killed in between, the next call does the rest.

    Raises:
        ConfigurationError: a file cannot be written.
    """
    root = plan.project.root
    try:
        for change in plan.changes:
            _carry_out(root, change)
        if plan.wheel is not None:
            _keep_wheel(root / WHEELS, plan.wheel)
        migrate(plan.project)
        write_whole(root / RECORD, record_of(plan.name))
    except OSError as error:
        then = "call it again when that is fixed, it does the rest"
        raise unwritable("the new files", root, error, then) from None


def _carry_out(root: Path, change: Change) -> None:
    path = root / change.path
    if change.removes:
        path.unlink(missing_ok=True)
    if change.content is not None:
        mode = path.stat().st_mode if path.exists() else None
        with whole_file(path) as draft:
            draft.write_bytes(change.content)
            if mode is not None:
                draft.chmod(mode)
    if change.difference:
        write_whole(path.with_name(path.name + DIFFERENCE), change.difference)


def _keep_wheel(folder: Path, wheel: Path) -> None:
    """Put a copy of DATAFLOW's package in the place of those of other versions."""
    with whole_file(folder / wheel.name) as draft:
        shutil.copyfile(wheel, draft)
    for old in folder.glob("dataflow_notebooks-*.whl"):
        if old.name != wheel.name:
            old.unlink()


def migrate(project: Project) -> None:
    """Bring to this version's format what the project keeps.

    Dagster's database has versions of its own. Runs and warehouse are read as every version
    before wrote them, so that there is nothing to do for those.
    """
    if project.dagster_home.is_dir():
        with open_instance(project) as instance:
            instance.upgrade()


def _changes(root: Path, recorded: dict[str, str], wanted: dict[str, bytes]) -> Iterator[Change]:
    for name, new in wanted.items():
        path = root / name
        if not path.is_file():
            if name in recorded:
                yield Change(name, "missing: you removed it, and it stays so")
            else:
                yield Change(name, "new", new)
            continue
        now = path.read_bytes()
        pinned = PIN.sub(rb"\g<1>" + installed().encode(), now)
        repinned = pinned if pinned != now else None
        if digest(now) == digest(new) or recorded.get(name) == digest(new):
            # Either nothing differs, or only what the owner changed.
            if repinned is not None:
                yield Change(name, f"asks for {DISTRIBUTION} {installed()}", repinned)
        elif recorded.get(name) == digest(now):
            yield Change(name, "updated", new, _difference(name, now, new))
        else:
            difference = _difference(name, pinned, new)
            what = f"changed by you and by this version: see {name}{DIFFERENCE}"
            yield Change(name, what, repinned, difference)


def _removals(root: Path, recorded: dict[str, str], wanted: dict[str, bytes]) -> Iterator[Change]:
    for name in sorted(recorded.keys() - wanted.keys()):
        path = root / name
        if path.is_file():
            if digest(path.read_bytes()) == recorded[name]:
                yield Change(name, "removed: this version has no such file", removes=True)
            else:
                yield Change(name, "no longer used; it stays, since you changed it")


def _difference(name: str, now: bytes, new: bytes) -> str:
    old, wanted = (text.decode("utf-8", "replace").splitlines(keepends=True) for text in (now, new))
    return "".join(difflib.unified_diff(old, wanted, f"a/{name}", f"b/{name}"))
