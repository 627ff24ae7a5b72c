"""Create a new workflow from a template: all of its files, or none."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dataflow.base.sql import schemas_of
from dataflow.base.words import nearest
from dataflow.errors import ConfigurationError, Problem
from dataflow.project import Project
from dataflow.workflows.ids import slug_of, workflow_id_problem

TEMPLATES = Path(__file__).parent / "template"
DEFAULT = "minimal"

# What each template starts from.
ABOUT = {
    "minimal": "rows that the notebook makes",
    "api": "a paged JSON API",
    "database": "a SQL database",
    "files": "a folder of CSV, Parquet and JSON",
}

# A template is a workflow called `my_workflow`, complete and able to run; a new workflow is a
# copy of it in which the name is another.
NAME = "my_workflow"
SLUG = "my-workflow"
TITLE = "My workflow"
VARIABLE = "MY_WORKFLOW"


@dataclass(frozen=True)
class Scaffold:
    """A workflow that can be created, or was.

    Args:
        project: where.
        workflow_id: its id.
        template: the template.
    """

    project: Project
    workflow_id: str
    template: str

    @property
    def slug(self) -> str:
        """Its part of its dashboard's address."""
        return slug_of(self.workflow_id)

    @property
    def folders(self) -> list[Path]:
        """The folders it consists of; the one that makes it a workflow comes last."""
        root = self.project.root
        return [
            root / "dbt" / "models" / self.workflow_id,
            root / "evidence" / "sources" / self.workflow_id,
            root / "evidence" / "pages" / self.slug,
            root / "tests" / "workflows" / self.workflow_id,
            root / "notebooks" / self.workflow_id,
        ]

    @property
    def files(self) -> list[Path]:
        """Its files, in name order."""
        return sorted(self.project.root / new for _, new in self._pairs())

    def _pairs(self) -> Iterator[tuple[Path, PurePosixPath]]:
        """Each file of the template, and the new file's path from the root."""
        folder = TEMPLATES / self.template
        for source in sorted(folder.rglob("*")):
            if source.is_file() and not _is_leftover(source):
                yield source, PurePosixPath(self.rename(source.relative_to(folder).as_posix()))

    def rename(self, text: str) -> str:
        """`text` of the template with the new workflow's name in it."""
        title = self.workflow_id.replace("_", " ").strip().capitalize()
        for old, new in (
            (NAME, self.workflow_id),
            (SLUG, self.slug),
            (TITLE, title),
            (VARIABLE, self.workflow_id.upper()),
        ):
            text = text.replace(old, new)
        return text

    def write(self, folder: Path) -> None:
        """Write the files below `folder`, as they will stand below the project's root."""
        for source, new in self._pairs():
            path = folder / new
            path.parent.mkdir(parents=True, exist_ok=True)
            content = source.read_bytes()
            try:
                path.write_text(self.rename(content.decode("utf-8")), encoding="utf-8")
            except UnicodeDecodeError:
                path.write_bytes(content)  # data, such as Parquet


def template_names() -> list[str]:
    """The names of the templates."""
    return sorted(path.name for path in TEMPLATES.iterdir() if (path / "notebooks").is_dir())


def plan_workflow(project: Project, workflow_id: str, template: str = DEFAULT) -> Scaffold:
    """Check that the workflow can be created; nothing is written.

    Args:
        project: where.
        workflow_id: the new workflow's id, which becomes a folder, a schema and an address.
        template: one of `template_names()`.

    Raises:
        ConfigurationError: there is no such template, the name cannot be a workflow's, or it is
            taken; then the error lists which paths exist.
    """
    refuse_template(template)
    refuse_name(workflow_id)
    scaffold = Scaffold(project, workflow_id, template)
    taken = [*_existing(scaffold), *same_schemas(project, workflow_id)]
    if taken:
        raise ConfigurationError(
            f"the name `{workflow_id}` is taken; nothing was created",
            hint="Choose another name, or remove what is there.",
            problems=taken,
            root=project.root,
        )
    return scaffold


def refuse_template(template: str) -> None:
    """Raise `ConfigurationError` when there is no such template."""
    if template not in template_names():
        raise ConfigurationError(
            f"there is no template `{template}`", hint=nearest(template, template_names())
        )


def refuse_name(workflow_id: str) -> None:
    """Raise `ConfigurationError` when that cannot be a workflow's name."""
    reason = workflow_id_problem(workflow_id) or _name_problem(workflow_id)
    if reason is not None:
        proposal = "".join(c if c.isalnum() and c.isascii() else "_" for c in workflow_id.lower())
        proposal = proposal.strip("_0123456789")
        works = proposal != workflow_id and not (
            workflow_id_problem(proposal) or _name_problem(proposal)
        )
        raise ConfigurationError(
            reason, hint=f"`{proposal}` would work." if works else "Choose another name."
        )


def make_workflow(scaffold: Scaffold) -> list[Path]:
    """Create the workflow: every file, or, when something fails, none.

    Returns:
        The files that were created.

    Raises:
        ConfigurationError: the project's folders cannot be written.
    """
    project = scaffold.project
    with all_or_nothing("the workflow", project.root) as made:
        make_folder(project.state, made)
        with tempfile.TemporaryDirectory(dir=project.state, prefix="init-") as temporary:
            scaffold.write(Path(temporary))
            for folder in scaffold.folders:
                make_folder(folder.parent, made)
                made.append(folder)
                # The state folder may lie on another file system, as in a container.
                shutil.move(Path(temporary) / folder.relative_to(project.root), folder)
    return scaffold.files


@contextlib.contextmanager
def all_or_nothing(what: str, root: Path) -> Iterator[list[Path]]:
    """Remove what was created in the block when it fails.

    Args:
        what: what is created, for the error.
        root: the project's folder.

    Yields:
        A list for the paths of files and folders, to be added when they are created.

    Raises:
        ConfigurationError: a file could not be written.
    """
    made: list[Path] = []
    try:
        yield made
    except BaseException as error:
        for path in reversed(made):
            shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):  # a file
                path.unlink()
        if isinstance(error, OSError):
            raise unwritable(what, root, error, "nothing was created") from None
        raise


def unwritable(what: str, root: Path, error: OSError, then: str) -> ConfigurationError:
    """The error for files of the project in `root` that could not be written.

    Args:
        what: what they are.
        root: the project's folder.
        error: why.
        then: what that leads to.
    """
    file = error.filename2 or error.filename
    return ConfigurationError(
        f"{what} cannot be written: {error.strerror or error}; {then}",
        where=Project(root).relative(Path(str(file))) if file else str(root),
    )


def make_folder(folder: Path, made: list[Path]) -> None:
    """Make a folder and those above it that are missing, and add them to `made`."""
    for path in reversed((folder, *folder.parents)):
        if not path.exists():
            path.mkdir()
            made.append(path)


def _is_leftover(path: Path) -> bool:
    return path.suffix == ".pyc" or ".ipynb_checkpoints" in path.parts


def _existing(scaffold: Scaffold) -> list[Problem]:
    """What already exists under the new workflow's name."""
    from dataflow.dbt.names import read_names

    project = scaffold.project
    page = (project.evidence / "pages" / scaffold.slug).with_suffix(".md")
    found = [Problem("exists already", path) for path in [*scaffold.folders, page] if path.exists()]
    if not found:
        models = read_names(project).models
        found = [
            Problem(f"dbt has a model `{path.stem}` already, in another folder", path)
            for path in scaffold.files
            if path.is_relative_to(project.dbt) and path.suffix == ".sql" and path.stem in models
        ]
    return found


def same_schemas(project: Project, workflow_id: str) -> list[Problem]:
    """Workflows whose schemas would be the new one's: `sales_raw` is the raw schema of `sales`."""

    from dataflow.workflows.registry import workflow_folders

    return [
        Problem(
            f"workflow {folder.name} has the schema {shared}, which the new one would have, too",
            folder,
        )
        for folder in workflow_folders(project)
        if folder.name != workflow_id
        for shared in sorted({*schemas_of(folder.name)} & {*schemas_of(workflow_id)})
    ]


def is_sql_keyword(name: str) -> bool:
    """Whether SQL takes a name for a word of its own unless it is quoted."""
    import duckdb

    with duckdb.connect() as connection:
        words = connection.execute(
            "SELECT keyword_name FROM duckdb_keywords() "
            "WHERE keyword_category IN ('reserved', 'type_function')"
        ).fetchall()
    return (name,) in words


def _name_problem(workflow_id: str) -> str | None:
    """Why a well-formed name would not work in YAML, SQL or Python; None when it would."""
    import yaml

    if yaml.safe_load(workflow_id) != workflow_id:
        return f"`{workflow_id}` is a value in YAML, not a name"
    if is_sql_keyword(workflow_id):
        return f"`{workflow_id}` is a keyword in SQL"
    spec = importlib.util.find_spec(workflow_id)
    # A folder without __init__.py that happens to be on the path does not conflict.
    if spec is not None and spec.loader is not None and spec.origin is not None:
        return f"`{workflow_id}` is the name of a Python package that is installed"
    return None
