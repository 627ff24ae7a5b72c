"""Changes of a workflow's `config.yaml` that keep its comments and its layout.

A change is planned first: what it makes of the file is read as a run would read it, and nothing
is written unless that is valid. It is written whole, and only over the file that was seen.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataflow.base.files import whole_file
from dataflow.base.words import nearest
from dataflow.errors import ConfigurationError, Problem
from dataflow.project import Project
from dataflow.workflows.load import load_workflow, stage_names, stage_notebooks
from dataflow.workflows.model import StageSection, Workflow, WorkflowSection
from dataflow.workflows.python_workflow import JOB_FILE
from dataflow.workflows.registry import table_conflicts
from dataflow.workflows.yaml_file import Location, read_yaml
from dataflow.workflows.yaml_text import CannotEdit, YamlText

CHANGED = "config.yaml is no longer the file that was shown: somebody has changed it"


@dataclass(frozen=True)
class Change:
    """A change of a `config.yaml` that is valid and not written yet.

    Args:
        project: the project.
        path: the file.
        before: what it holds.
        after: what it is going to hold.
        workflow: the workflow as it then is.
    """

    project: Project
    path: Path
    before: bytes
    after: bytes
    workflow: Workflow

    @property
    def seen(self) -> str:
        """The hash of the file once the change is written."""
        return content_hash(self.after)

    @property
    def diff(self) -> list[str]:
        """The lines that go and come, with two around them, as `diff -u` shows them."""
        before, after = (text.decode("utf-8").splitlines() for text in (self.before, self.after))
        return list(difflib.unified_diff(before, after, n=2, lineterm=""))[2:]

    def write(self) -> None:
        """Write the file, with the permissions that it has.

        Raises:
            ConfigurationError: the file is another than when the change was planned, or cannot
                be written; it is as it was.
        """
        if _read(self.project, self.path) != self.before:
            raise _changed(self.project, self.path)
        if self.after == self.before:
            return
        try:
            with whole_file(self.path) as draft:
                draft.write_bytes(self.after)
                shutil.copymode(self.path, draft)
        except OSError as error:
            raise ConfigurationError(
                f"config.yaml cannot be written: {error.strerror or error}; nothing was changed",
                where=self.project.relative(self.path),
            ) from None

    @property
    def undone(self) -> Change:
        """The change that takes this one back."""
        return Change(self.project, self.path, self.after, self.before, self.workflow)


class ConfigEditor:
    """Collects changes of one `config.yaml`; `change` plans them.

    Args:
        project: the project.
        folder: the workflow's folder.
        seen: the hash (`content_hash`) of the file whose content the author saw; None for any.

    Raises:
        ConfigurationError: the file is another than what was seen, is not valid YAML, is a link,
            or cannot be written.
    """

    def __init__(self, project: Project, folder: Path, seen: str | None = None) -> None:
        self._project = project
        self._folder = folder
        self._path = folder / "config.yaml"
        self._before = _read(project, self._path)
        if seen is not None and seen != content_hash(self._before):
            raise _changed(project, self._path)
        try:
            text = self._before.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._refused(f"is not UTF-8: {error.reason}", hint="Save it as UTF-8.") from None
        file = read_yaml(self._path, text)
        problems = file.problems
        if not problems and not isinstance(file.data, dict):
            problems = load_workflow(folder, text)[1]
        if problems:
            raise ConfigurationError(
                "config.yaml is not valid; nothing was changed",
                problems=problems,
                root=project.root,
            )
        self._yaml = YamlText(text)

    def set_schedule(self, schedule: str | None, timezone: str | None = None) -> None:
        """When the workflow runs: a cron line and its time zone, or None for by hand only."""
        section = self._section()
        if schedule is None:
            self._remove(("workflow", "schedule"))
            self._remove(("workflow", "timezone"))
            return
        self._set(("workflow", "schedule"), schedule, WorkflowSection)
        usual = WorkflowSection.model_fields["timezone"].default
        if timezone is not None and timezone != section.get("timezone", usual):
            self._set(("workflow", "timezone"), timezone, WorkflowSection)

    def set_writes(self, stage: str, tables: Sequence[str]) -> None:
        """The tables that a stage writes."""
        if not tables and not self._has_stages:
            return
        location = (*self._stage(stage), "writes")
        if tables:
            self._set(location, [*tables], StageSection)
        else:
            self._remove(location)

    def set_after(self, stage: str, after: Sequence[str] | None) -> None:
        """The stages that a stage waits for; None is the one above it in the file."""
        if after is None and not self._has_stages:
            return
        location = (*self._stage(stage), "after")
        if after is not None:
            self._set(location, [*after], StageSection)
        else:
            self._remove(location)

    def add_stage(
        self, notebook: str, writes: Sequence[str] = (), after: Sequence[str] | None = None
    ) -> None:
        """A stage at the end of `stages:`.

        Args:
            notebook: its file's name.
            writes: the tables it writes.
            after: the stages it waits for; None is the one above it.
        """
        self._write_out_stages(without=notebook)
        item: dict[str, Any] = {"notebook": notebook}
        if writes:
            item["writes"] = [*writes]
        if after is not None:
            item["after"] = [*after]
        if self._yaml.data.get("stages"):
            self._edit(lambda: self._yaml.append(("stages",), item))
        else:
            self._set(("stages",), [item], None)

    def change(self, planned: Collection[str] = ()) -> Change:
        """What was asked for, as a change that can be written.

        Args:
            planned: notebooks that are going to be there when it is.

        Raises:
            ConfigurationError: the file would not be valid; carries every problem.
        """
        text = self._yaml.text
        workflow, problems = load_workflow(self._folder, text, planned)
        if workflow is not None:
            problems = table_conflicts(self._project, workflow)
        if workflow is None or problems:
            raise ConfigurationError(
                "config.yaml would not be valid; nothing was changed",
                problems=problems,
                root=self._project.root,
            )
        return Change(self._project, self._path, self._before, text.encode("utf-8"), workflow)

    def _section(self) -> Mapping[str, Any]:
        section = self._yaml.data.get("workflow")
        if not isinstance(section, dict) or not section:
            problems = load_workflow(self._folder, self._yaml.text)[1]
            raise ConfigurationError(
                "config.yaml is not valid; nothing was changed",
                problems=problems,
                root=self._project.root,
            )
        return section

    @property
    def _has_stages(self) -> bool:
        return self._yaml.data.get("stages") is not None

    def _stage(self, name: str) -> Location:
        """Where the stage called `name` is configured."""
        self._write_out_stages()
        names = stage_names(self._yaml.data)
        if name not in names:
            raise ConfigurationError(
                f"workflow {self._folder.name} has no stage `{name}`", hint=nearest(name, names)
            )
        return ("stages", names.index(name))

    def _write_out_stages(self, without: str | None = None) -> None:
        """Where no `stages:` is given they are the notebooks; name these, to say more of one."""
        if (self._folder / JOB_FILE).is_file():
            raise self._refused(
                f"has no stages: the workflow is written in {JOB_FILE}", hint=f"Change {JOB_FILE}."
            )
        if not self._has_stages:
            names = [path.name for path in stage_notebooks(self._folder) if path.name != without]
            if names:
                self._set(("stages",), [{"notebook": name} for name in names], None)

    def _set(self, location: Location, value: Any, section: type[Any] | None) -> None:
        missing = object()
        now = _at(self._yaml.data, location, missing)
        if now is missing or now != value or type(now) is not type(value):
            order = [*section.model_fields] if section is not None else []
            self._edit(lambda: self._yaml.set(location, value, order))

    def _remove(self, location: Location) -> None:
        missing = object()
        if _at(self._yaml.data, location, missing) is not missing:
            self._edit(lambda: self._yaml.remove(location))

    def _edit(self, edit: Callable[[], None]) -> None:
        try:
            edit()
        except CannotEdit as error:
            raise self._refused(
                f"cannot be changed here without losing something: {error.reason}",
                line=error.line,
                hint="Change this place by hand.",
            ) from None

    def _refused(
        self, message: str, *, line: int | None = None, hint: str | None = None
    ) -> ConfigurationError:
        where = Problem("", self._path, line).where(self._project.root)
        return ConfigurationError(f"config.yaml {message}", where=where, hint=hint)


def content_hash(content: bytes) -> str:
    """By which a file is recognized as the one that was seen."""
    return hashlib.sha256(content).hexdigest()


def seen_hash(folder: Path) -> str | None:
    """The hash of a workflow's config.yaml as it is now; None when it cannot be read."""
    try:
        return content_hash((folder / "config.yaml").read_bytes())
    except OSError:
        return None


def _read(project: Project, path: Path) -> bytes:
    """The file's content, if it is one that may be changed."""
    where = project.relative(path)
    try:
        if path.is_symlink():
            raise ConfigurationError(
                f"config.yaml is a link to {path.readlink()}; nothing was changed",
                where=where,
                hint="Change the file that it leads to.",
            )
        content = path.read_bytes()
        # To root every file is writable; that somebody protected it counts nevertheless.
        if not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP) or not os.access(path, os.W_OK):
            raise ConfigurationError(
                "config.yaml is read-only; nothing was changed",
                where=where,
                hint=f"chmod u+w {where}",
            )
    except OSError as error:
        raise ConfigurationError(
            f"config.yaml cannot be read: {error.strerror or error}", where=where
        ) from None
    return content


def _changed(project: Project, path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{CHANGED}; nothing was written",
        where=project.relative(path),
        hint="Look at it again, then repeat the change.",
    )


def _at(data: Any, location: Iterable[str | int], otherwise: Any = None) -> Any:
    for part in location:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return otherwise
    return data
