"""The project on disk: where its root is and where everything in it lies."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dataflow.base.sharing import follow
from dataflow.errors import ProjectNotFound
from dataflow.settings import Settings, read_settings, read_table

ROOT_VARIABLE = "DATAFLOW_PROJECT"


@dataclass(frozen=True)
class Project:
    """A DATAFLOW project; every path anyone needs is a property of it.

    Args:
        root: the folder with `pyproject.toml` (holding a `[tool.dataflow]` table),
            `notebooks/`, `dbt/` and `evidence/`.
    """

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Project:
        """Find the project the way git does: here, or in the nearest folder above.

        The environment variable `DATAFLOW_PROJECT` overrides the search: kernels and
        services run in folders of their own. In a shared folder (`base/sharing.py`) the group
        may write to the files that this process creates from now on.

        Raises:
            ProjectNotFound: neither `start` nor a folder above it is a project.
            ConfigurationError: its settings are not valid.
        """
        if start is None and (named := os.environ.get(ROOT_VARIABLE)):
            root = Path(named).resolve()
            if is_project(root):
                return cls._at(root)
            raise ProjectNotFound(
                f"{ROOT_VARIABLE} names {root}, which is not a DATAFLOW project",
                hint="Unset it, or point it at the folder that holds notebooks/ and pyproject.toml.",
            )
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if is_project(folder):
                return cls._at(folder)
        raise ProjectNotFound(
            f"no DATAFLOW project in {here} or above",
            hint="Run this inside a project: a folder whose pyproject.toml has a [tool.dataflow] table.",
        )

    @classmethod
    def _at(cls, root: Path) -> Project:
        read_settings(root)  # what is wrong with them is said before anything is done
        follow(root)
        return cls(root)

    @property
    def settings(self) -> Settings:
        """The settings, as they are now.

        Raises:
            ConfigurationError: they are not valid.
        """
        return read_settings(self.root)

    @property
    def notebooks(self) -> Path:
        """One folder per workflow."""
        return self.root / "notebooks"

    @property
    def dbt(self) -> Path:
        """The dbt project."""
        return self.root / "dbt"

    @property
    def evidence(self) -> Path:
        """The Evidence project: pages and sources."""
        return self.root / "evidence"

    @property
    def runs(self) -> Path:
        """The runs with their executed notebooks: `runs/<workflow>/<time>_<id>/`."""
        return self.root / "runs"

    @property
    def warehouse(self) -> Path:
        """The working warehouse, the file that runs write to."""
        return Path(os.path.normpath(self.root / self.settings.warehouse))

    @property
    def state(self) -> Path:
        """What the project remembers between commands: services, build hashes, turns."""
        return self.root / ".dataflow"

    @property
    def dagster_home(self) -> Path:
        """Dagster's instance: its runs, events and schedules."""
        return self.root / ".dagster"

    @property
    def timezone(self) -> str:
        """The time zone of kernels, connections, dbt and dashboards: a day is the same in all."""
        return self.settings.timezone

    def relative(self, path: Path) -> str:
        """`path` as people should read it: from the root where it lies below it."""
        path = Path(path)
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def environment(self) -> dict[str, str]:
        """This process's variables and those of `.env`, which are not set here."""
        from dotenv import dotenv_values

        own = {name: value or "" for name, value in dotenv_values(self.root / ".env").items()}
        return {**own, **os.environ}

    def load_environment(self) -> None:
        """Read `.env` into the environment; variables that are already set stay."""
        env_file = self.root / ".env"
        if env_file.is_file():
            from dotenv import load_dotenv

            load_dotenv(env_file, override=False)


def is_project(folder: Path) -> bool:
    """Whether `folder` is a project's root: its pyproject.toml has a `[tool.dataflow]` table.

    Raises:
        ConfigurationError: it has one, but the file is not valid TOML.
    """
    return read_table(folder) is not None
