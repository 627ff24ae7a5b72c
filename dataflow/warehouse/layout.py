"""Where the parts of the warehouse are on disk, all beside the working warehouse."""

from __future__ import annotations

import os
import pwd
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from dataflow.errors import ConfigurationError
from dataflow.project import Project

# The catalog's name comes from the file's stem, and dbt's views name their catalog: it has
# to be the same in the working warehouse, the development copy and every published version.
CATALOG = "dataflow"
FILE_NAME = f"{CATALOG}.duckdb"

BLOCK_BYTES = 262_144
"""The unit in which DuckDB fills a file."""
FILE_HEADER_BYTES = 3 * 4096
"""What comes before the first of them."""


@dataclass(frozen=True)
class Layout:
    """The folder of the warehouse.

    Args:
        working: the file that runs write to.
    """

    working: Path

    @classmethod
    def of(cls, project: Project) -> Layout:
        """The layout of a project.

        Raises:
            ConfigurationError: the warehouse's file has a name that no copy could share.
        """
        if project.warehouse.name != FILE_NAME:
            raise ConfigurationError(
                f"the warehouse's file must be called {FILE_NAME}, because its name is the "
                "name of the catalog that dbt's views refer to",
                where=str(project.warehouse),
                hint=f"Set `warehouse`, or DATAFLOW_WAREHOUSE, to a path that ends in /{FILE_NAME}.",
            )
        return cls(project.warehouse)

    @property
    def folder(self) -> Path:
        """The folder that holds all of it."""
        return self.working.parent

    @property
    def development(self) -> Path:
        """This user's copy, for notebooks run by hand."""
        return self.folder / "development" / _user() / FILE_NAME

    @property
    def shared_development(self) -> Path:
        """The copy that all users shared before each had their own."""
        return self.folder / "development" / FILE_NAME

    @property
    def published(self) -> Path:
        """The published versions: one folder each, and the link `current`."""
        return self.folder / "published"

    @property
    def current(self) -> Path:
        """The link to the current published version's folder."""
        return self.published / "current"

    @property
    def data(self) -> Path:
        """Big published tables, one Parquet file each."""
        return self.published / "data"

    @property
    def candidates(self) -> Path:
        """Versions that await review: `<workflow>/<run id>`."""
        return self.published / "candidates"

    @property
    def restored(self) -> Path:
        """The file with the time of the last restore, which undid earlier runs."""
        return self.folder / "restored-at"

    def restored_at(self) -> str | None:
        """The moment in UTC, in ISO form; None when that never happened."""
        try:
            return self.restored.read_text("ascii").strip()
        except FileNotFoundError:
            return None

    @property
    def scratch(self) -> Path:
        """What comparisons of versions put aside while they last."""
        return self.folder / "comparing"

    @property
    def writes(self) -> Path:
        """What the stages of each run wrote, one file per run; old ones are removed."""
        return self.folder / "writes"

    def writes_of(self, run_id: str) -> Path:
        """The record of what a run's stages wrote."""
        return self.writes / f"{run_id}.jsonl"


def _user() -> str:
    """The user of this process, as the name of a folder: `USER` may name somebody else."""
    try:
        return urllib.parse.quote(pwd.getpwuid(os.geteuid()).pw_name, safe="")
    except KeyError:  # as in containers that run under any user id
        return str(os.geteuid())
