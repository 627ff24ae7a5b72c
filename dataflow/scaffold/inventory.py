"""What belongs to a workflow, in all of the project; and what belongs to one that is gone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dataflow.base.sql import schemas_of
from dataflow.base.words import counted, nearest
from dataflow.dashboard.build import built_slugs
from dataflow.dashboard.catalog import PROJECT_SOURCE
from dataflow.dashboard.export import exported_files
from dataflow.dbt.names import table_of, yaml_files
from dataflow.dbt.project import PARSED
from dataflow.errors import ConfigurationError, Problem, WorkflowNotFound
from dataflow.project import Project
from dataflow.runs.record import newest_first
from dataflow.warehouse.store import Database, databases, table_makers, tables
from dataflow.workflows.ids import RESERVED, slug_of
from dataflow.workflows.python_workflow import JOB_FILE
from dataflow.workflows.registry import read_workflows, workflow_folders

# Below dbt/tests, and of nobody: generic tests are for all workflows.
SHARED_TESTS = "generic"
# Schemas that nobody makes: DuckDB's own, and where dbt puts models of no folder.
OF_NOBODY = {"main", "information_schema", "pg_catalog"}

# Below the project's state: what a renaming that has begun is to do.
RENAMING = "renaming.json"

TableId = tuple[str, str]  # schema and table


@dataclass(frozen=True)
class Inventory:
    """Everything of a workflow, or what is left of one that is gone.

    Args:
        project: the project.
        workflow_id: its id.
        folders: its folders and single files; the one that makes it a workflow comes last.
        schemas: the schemas that are its own.
        kept: of the schemas it would own those that another workflow owns, with that one's name.
        shared: its tables in other schemas.
        tables: its tables and views by database, with their rows where they are counted.
        exported: the tables its dashboard shows.
        is_served: whether the dashboards that are served have its page.
        runs: how many runs are recorded.
        schedule: its schedule, where its configuration can be read.
    """

    project: Project
    workflow_id: str
    folders: list[Path]
    schemas: list[str]
    kept: dict[str, str]
    shared: list[TableId]
    tables: dict[Database, dict[TableId, int | None]]
    exported: list[str]
    is_served: bool
    runs: int
    schedule: str | None

    @property
    def url(self) -> str:
        """The address of its dashboard below the server."""
        return f"/{slug_of(self.workflow_id)}"

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing of it but runs."""
        return not (self.folders or any(self.tables.values()) or self.exported or self.is_served)


def folders_of(project: Project, workflow_id: str) -> list[Path]:
    """The folders, and the single page, that belong to a workflow by their names.

    The one that makes it a workflow comes last. They need not be there.
    """
    page = project.evidence / "pages" / slug_of(workflow_id)
    return [
        *(
            project.dbt / part / workflow_id
            for part in PARSED
            if (part, workflow_id) != ("tests", SHARED_TESTS)
        ),
        project.evidence / "sources" / workflow_id,
        page,
        page.with_suffix(".md"),
        project.root / "tests" / "workflows" / workflow_id,
        project.notebooks / workflow_id,
    ]


def take_inventory(project: Project, name: str) -> Inventory:
    """Find everything of a workflow; its configuration may be unreadable, its folder gone.

    Args:
        project: the project.
        name: its id; dashes count as underscores.

    Raises:
        WorkflowNotFound: there is nothing of that name.
        WarehouseError: a database cannot be read.
    """
    workflows = {folder.name for folder in workflow_folders(project)}
    workflow_id = name if name in workflows else name.replace("-", "_")
    if workflow_id not in workflows and (workflow_id in RESERVED or not workflow_id.isidentifier()):
        raise _not_found(project, name)
    owned = {s: other for other in workflows - {workflow_id} for s in schemas_of(other)}
    schemas = [schema for schema in schemas_of(workflow_id) if schema not in owned]
    if workflow_id in RESERVED:  # a broken one: `main` is not its schema
        schemas = []
    entry = next((one for one in read_workflows(project) if one.id == workflow_id), None)
    declared = set(entry.workflow.shared_tables) if entry and entry.workflow else set()
    others = _declared(project, workflow_id)
    found: dict[Database, dict[TableId, int | None]] = {}
    shared: set[TableId] = set()
    for database in databases(project):
        makers = table_makers(project, database) or {}
        shared_here = {
            table
            for table, maker in makers.items()
            if table.schema not in {*schemas, *owned, *OF_NOBODY}
            and (table in declared or maker == workflow_id)
            and table not in others
        }
        shared |= shared_here
        if shared_here or any(table.schema in schemas for table in makers):
            found[database] = {
                (table.schema, table.name): table.rows
                for table in tables(project, database)
                if table.schema in schemas or (table.schema, table.name) in shared_here
            }
    slug = slug_of(workflow_id)
    is_others = any(slug_of(other) == slug for other in workflows - {workflow_id})
    inventory = Inventory(
        project,
        workflow_id,
        [path for path in folders_of(project, workflow_id) if path.exists() or path.is_symlink()],
        schemas,
        {schema: owned[schema] for schema in schemas_of(workflow_id) if schema in owned},
        sorted(shared),
        found,
        sorted(exported_files(project).get(workflow_id, {})),
        slug in built_slugs(project) and not is_others,
        sum(1 for _ in newest_first(project, workflow_id)),
        entry.workflow.config.workflow.schedule_in_words if entry and entry.workflow else None,
    )
    if workflow_id not in workflows and not _is_known(inventory):
        raise _not_found(project, name)
    return inventory


def leftovers(project: Project) -> list[Problem]:
    """What is there of workflows that are gone, one problem for each: somebody moved folders."""
    problems = []
    if (project.state / RENAMING).exists():
        problems.append(
            Problem(
                "a renaming was interrupted",
                project.state / RENAMING,
                hint="Finish it: dataflow workflow rename OLD NEW, with the names as before.",
            )
        )
    for name, places in sorted(_leftovers(project).items()):
        problems.append(
            Problem(
                f"{', '.join(places)}: there is no workflow `{name}` (notebooks/{name}/config.yaml)",
                hint=f"Bring the folder back (to give it another name: dataflow workflow rename {name} "
                f"NEW), or remove what is left of it: dataflow workflow remove {name}",
            )
        )
    return problems + _without_models(project)


def _without_models(project: Project) -> list[Problem]:
    """Published tables and views of schemas that dbt fills, which no model makes any more."""
    if "published" not in databases(project):
        return []
    declared = {
        table
        for entry in read_workflows(project)
        if entry.workflow is not None
        for stage in entry.workflow.stages
        for table in stage.writes
    }
    problems = []
    published = table_makers(project, "published", wait=False) or {}
    for folder in workflow_folders(project):
        home = project.dbt / "models" / folder.name
        models = sorted(home.rglob("*.sql"))
        if not models or (folder / JOB_FILE).is_file():  # ops write where they like
            continue
        made = {table_of(project, path) for path in [*models, *home.rglob("*.py")]}
        # Aliases may be given in YAML; seeds and snapshots are made of other files.
        files = [path for part in PARSED for path in (project.dbt / part / folder.name).rglob("*")]
        named = " ".join(path.read_text("utf-8", "replace") for path in yaml_files(home))
        stems = {path.stem for path in files}
        for table in sorted(published):
            if (
                table.schema in schemas_of(folder.name)[1:]
                and tuple(table) not in made | declared
                and table.name not in stems
                and not re.search(rf"\b{re.escape(table.name)}\b", named)
            ):
                kind = "VIEW" if table.schema.endswith("_staging") else "TABLE"
                problems.append(
                    Problem(
                        f"{table} is published, and no model of {folder.name} makes it any more",
                        hint=f"If it may go: dataflow db query --write -d working 'DROP {kind} "
                        f"{table}'; readers lose it with the next publish.",
                    )
                )
    return problems


def tables_of_nobody(project: Project, database: Database) -> dict[str, list[str]]:
    """The tables of a database that no workflow makes, by the name of the one that made them.

    None of a database that somebody writes to right now.
    """
    if database not in databases(project):
        return {}
    workflows = {folder.name for folder in workflow_folders(project)}
    owned = {schema for name in workflows for schema in schemas_of(name)} | OF_NOBODY
    declared = _declared(project)
    found: dict[str, list[str]] = {}
    for table, maker in sorted((table_makers(project, database, wait=False) or {}).items()):
        if table.schema in owned or table in declared or maker in workflows:
            continue
        found.setdefault(maker or _name_of(table.schema), []).append(str(table))
    return found


def _leftovers(project: Project) -> dict[str, list[str]]:
    """For each workflow that is gone, what there is of it, in words."""
    workflows = {folder.name for folder in workflow_folders(project)}
    homes = (
        project.dbt / "models",
        project.evidence / "sources",
        project.root / "tests" / "workflows",
    )
    in_databases = {database: tables_of_nobody(project, database) for database in _SHARED}
    exported = set(exported_files(project)) - {PROJECT_SOURCE}
    served = {slug.replace("-", "_") for slug in built_slugs(project)}
    pages = {path.name.removesuffix(".md") for path in (project.evidence / "pages").glob("*")}
    names = {path.name for home in homes for path in _folders(home)} | exported
    names |= {name for made in in_databases.values() for name in made}
    # A page may be the project's own, as long as its file is there.
    names |= {name for name in served if slug_of(name) not in pages}
    found: dict[str, list[str]] = {}
    for name in names - workflows:
        places = [project.relative(p) for p in folders_of(project, name) if p.exists()]
        for database, made in in_databases.items():
            if name in made:
                places.append(f"{counted(len(made[name]), 'table')} ({', '.join(made[name][:3])}"
                              f"{', …' if made[name][3:] else ''}) in the {database} database")  # fmt: skip
        shown = ["data"] * (name in exported) + ["a page"] * (name in served)
        if shown:
            places.append(f"{' and '.join(shown)} of the dashboard /{slug_of(name)}")
        found[name] = places
    return found


_SHARED: tuple[Database, ...] = ("working", "published")  # a development copy is its user's


def _folders(home: Path) -> Iterator[Path]:
    """The folders in `home` that could be a workflow's."""
    for path in home.glob("*"):
        if path.is_dir() and path.name[0] not in "._" and any(path.iterdir()):
            yield path


def _declared(project: Project, apart_from: str | None = None) -> set[TableId]:
    """The tables in shared schemas that workflows say they make."""
    return {
        table
        for entry in read_workflows(project)
        if entry.workflow is not None and entry.id != apart_from
        for table in entry.workflow.shared_tables
    }


def _name_of(schema: str) -> str:
    """The workflow that would own a schema."""
    for name in (schema.removesuffix("_raw"), schema.removesuffix("_staging")):
        if name != schema and schema in schemas_of(name):
            return name
    return schema


def _is_known(inventory: Inventory) -> bool:
    """Whether what was found is a workflow's: a page, or a folder of tests, may be something else."""
    project, name = inventory.project, inventory.workflow_id
    telling = {
        project.dbt / "models" / name,
        project.evidence / "sources" / name,
        project.root / "tests" / "workflows" / name,
    }
    served = inventory.is_served and not {
        project.evidence / "pages" / inventory.url[1:],
        project.evidence / "pages" / f"{inventory.url[1:]}.md",
    }.intersection(inventory.folders)
    return bool(
        telling.intersection(inventory.folders)
        or any(inventory.tables.values())
        or inventory.exported
        or served
        or inventory.runs
    )


def _not_found(project: Project, name: str) -> ConfigurationError:
    known = {folder.name for folder in workflow_folders(project)} | set(_leftovers(project))
    hint = nearest(name, known)
    if (project.notebooks / name).is_dir():
        hint = f"notebooks/{name} has no config.yaml: delete the folder yourself if it may go."
    return WorkflowNotFound(f"there is no workflow `{name}`, and nothing is left of one", hint=hint)
