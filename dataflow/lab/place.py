"""Where a file of JupyterLab lies: in which project, and under which name for JupyterLab.

JupyterLab names files from the folder that its server was started in. That may be a project, a
folder of it, or one above several projects.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dataflow.errors import ConfigurationError, ProjectNotFound
from dataflow.project import Project


class _Variables:
    """The variables of one project's `.env` in this process's environment, for those who need them."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._root: Path | None = None
        self._users = 0
        self._added: dict[str, str] = {}

    @contextmanager
    def of(self, project: Project) -> Iterator[None]:
        """Have a project's in the block; while there are users, another project waits."""
        with self._turn:
            self._turn.wait_for(lambda: self._root in (None, project.root))
            if not self._users:
                found = project.environment()
                self._added = {name: found[name] for name in found.keys() - os.environ.keys()}
                os.environ.update(self._added)
            self._root = project.root
            self._users += 1
        try:
            yield
        finally:
            with self._turn:
                self._users -= 1
                if not self._users:
                    self._root = None
                    for name in self._added:
                        os.environ.pop(name, None)
                    self._turn.notify_all()


_VARIABLES = _Variables()


def variables_of(project: Project) -> AbstractContextManager[None]:
    """Have the variables of a project's `.env` in the environment, in the block only.

    Jupyter's server goes on when that file changes, serves other projects, and hands its
    environment down to kernels.
    """
    return _VARIABLES.of(project)


@dataclass(frozen=True)
class Place:
    """A file in a project.

    Args:
        project: the project.
        file: the file, which need not exist.
        home: the project's folder as JupyterLab names it; empty where the server was started in
            the project.
    """

    project: Project
    file: Path
    home: str

    @property
    def parts(self) -> tuple[str, ...]:
        """Its path from the project's root."""
        return self.file.relative_to(self.project.root).parts

    @property
    def workflow_id(self) -> str | None:
        """The workflow in whose folder it lies; None for other files."""
        match self.parts:
            case ("notebooks", workflow, _, *_):
                return workflow
        return None


@dataclass(frozen=True)
class Places:
    """The files that JupyterLab reaches.

    Args:
        root: the folder from which it names them.
    """

    root: Path

    def find(self, path: str) -> Place | None:
        """Where JupyterLab's `path` leads, which is empty for all of its files; None for no project.

        Raises:
            ConfigurationError: it leads out of JupyterLab's files, or the project's settings are
                not valid.
        """
        file = Path(os.path.normpath(self.root / PurePosixPath(path.lstrip("/"))))
        if not file.is_relative_to(self.root) or "\0" in path:
            raise ConfigurationError(f"there is no file `{path}` in JupyterLab")
        folder = file if path in ("", "/") else file.parent
        project = self._project_of(folder)
        if project is None:
            return None
        file = folder.resolve() if folder == file else folder.resolve() / file.name
        if not file.is_relative_to(project.root):
            return None  # a link that leads out of the project
        return Place(project, file, self.home(project))

    def project(self, home: str) -> Project | None:
        """The project whose folder JupyterLab calls `home`; see `Place`."""
        place = self.find(f"{home}/pyproject.toml")
        return place.project if place is not None and self.home(place.project) == home else None

    def home(self, project: Project) -> str:
        """The project's folder as JupyterLab names it; empty where the server is inside of it."""
        return self.path(project.root) or ""

    def path(self, file: Path) -> str | None:
        """A file's path in JupyterLab; None for one that it does not reach."""
        root, file = self.root.resolve(), file.resolve()
        if not file.is_relative_to(root) or file == root:
            return None
        return file.relative_to(root).as_posix()

    @staticmethod
    def _project_of(folder: Path) -> Project | None:
        try:
            return Project.find(folder)
        except ProjectNotFound:
            return None
