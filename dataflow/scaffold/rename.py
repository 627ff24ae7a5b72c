"""Giving a workflow another name: its folders, what in them follows from the name, its schemas.

A plan is made of everything first, and written down before anything changes, so that a renaming
that was killed is finished by the same call. Runs keep the name under which they ran.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataflow.base.files import write_whole
from dataflow.base.sql import schemas_of
from dataflow.dashboard.refresh import refresh_dashboard, withdraw_dashboard
from dataflow.dbt.names import read_names
from dataflow.dbt.project import PARSED
from dataflow.errors import ConfigurationError, DashboardError, DataflowError, Problem
from dataflow.project import Project
from dataflow.runs.turn import turn
from dataflow.scaffold.inventory import (
    RENAMING,
    Inventory,
    folders_of,
    take_inventory,
)
from dataflow.scaffold.references import TEXT, Change, Renames
from dataflow.scaffold.workflow import refuse_name, same_schemas
from dataflow.validation.reads import Tables, outside_reads
from dataflow.warehouse.store import (
    candidate_runs,
    databases,
    remove_candidates,
    rename_schemas,
    table_makers,
)
from dataflow.workflows.ids import slug_of
from dataflow.workflows.registry import find_workflow_folder


@dataclass(frozen=True)
class Renaming:
    """What a renaming will do.

    Args:
        project: the project.
        old: the name of now.
        new: the name to be.
        moves: folders and files with their new places, in order.
        texts: the new text of files, by their new places.
        changes: the lines that change.
        readers: places in others' files that name its tables; they are not changed.
        mentions: places in its own tests and modules that have the name as a text, unchanged.
        schemas: each schema with its new name.
        inventory: what belongs to it; None when an interrupted renaming is finished.
    """

    project: Project
    old: str
    new: str
    moves: list[tuple[Path, Path]]
    texts: dict[Path, str]
    changes: list[Change] = field(default_factory=list)
    readers: list[Problem] = field(default_factory=list)
    mentions: list[Problem] = field(default_factory=list)
    schemas: dict[str, str] = field(default_factory=dict)
    inventory: Inventory | None = None

    @property
    def names(self) -> Renames:
        """The rules."""
        return Renames(self.old, self.new, ())


def plan_renaming(project: Project, old: str, new: str) -> Renaming:
    """Find out all that a renaming changes; nothing is written.

    Raises:
        WorkflowNotFound: there is no workflow `old`.
        ConfigurationError: `new` cannot be a workflow's name or is taken, or another renaming was
            interrupted.
        WarehouseError: a database cannot be read.
    """
    if (begun := _interrupted(project, old, new)) is not None:
        return begun
    old = find_workflow_folder(project, old).name
    refuse_name(new)
    taken = [
        Problem("is there already", path) for path in folders_of(project, new) if path.exists()
    ]
    taken += [
        Problem(f"{table} is in the {database} database")
        for database in databases(project)
        for table in sorted(table_makers(project, database) or {})
        if table.schema in schemas_of(new)
    ]
    taken += same_schemas(project, new)
    inventory = take_inventory(project, old)
    moves, texts, changes, mentions = _files(inventory, new)
    models = read_names(project).models
    taken += [
        Problem(f"dbt has a model `{to.stem}` already", to)
        for source, to in moves
        if to.suffix == ".sql" and to.stem != source.stem and to.stem in models
    ]
    if taken:
        raise ConfigurationError(
            f"the name `{new}` is taken; nothing was renamed",
            hint=f"Choose another name, or remove what is there: dataflow workflow remove {new}",
            problems=taken,
            root=project.root,
        )
    renamed = dict(zip(schemas_of(old), schemas_of(new), strict=True))
    return Renaming(
        project,
        old,
        new,
        moves,
        texts,
        changes,
        outside_reads(project, old, Tables(inventory.schemas)),
        mentions,
        {schema: renamed[schema] for schema in inventory.schemas},
        inventory,
    )


def rename_workflow(
    plan: Renaming,
    on_step: Callable[[str], None] = lambda text: None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> None:
    """Do what was planned.

    Args:
        plan: the plan.
        on_step: called with each thing that was done, in words.
        on_progress: told that pages are built, and every few seconds that it goes on.

    Raises:
        ConfigurationError: the workflow runs; nothing was changed.
        WarehouseError: a database cannot be written; the same call goes on from there.
        DataflowError: a file cannot be moved or written; the same call goes on from there.
        DashboardError: all is renamed, and the dashboard cannot be shown before the next run.
    """
    project, old, new = plan.project, plan.old, plan.new
    who = f"renaming of {old} to {new}"
    with turn(project, old, who, wait=False), turn(project, new, who, wait=False):
        write_whole(project.state / RENAMING, json.dumps(_as_json(plan)))
        if databases(project):
            remove_candidates(project, old, candidate_runs(project, old))
            left = rename_schemas(project, new, plan.schemas, plan.names.model, plan.names.sql)
            on_step(f"schemas: {', '.join(f'{a} → {b}' for a, b in plan.schemas.items())}")
            if left:
                on_step(f"not taken along, dbt or the next run makes them: {', '.join(left)}")
        try:
            for source, target in plan.moves:
                if source.exists() and not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    source.rename(target)
                    on_step(f"{project.relative(source)} → {project.relative(target)}")
            for path, text in plan.texts.items():
                if path.parent.is_dir():
                    write_whole(path, text)
        except OSError as error:
            raise DataflowError(
                f"a file cannot be moved or written: {error.strerror or error}",
                where=str(error.filename or project.root),
                hint="Let yourself write there, and run the same command again.",
            ) from error
        (project.state / RENAMING).unlink()
        if plan.inventory is not None and not (plan.inventory.exported or plan.inventory.is_served):
            return
        try:
            withdraw_dashboard(project, old, build=False)
            refresh_dashboard(project, new, on_progress=on_progress)
            on_step(f"the dashboard, now at /{slug_of(new)}")
        except DataflowError as error:
            raise DashboardError(
                f"all is renamed, and the dashboard waits for the next run: {error.message}",
                where=error.where,
                hint=f"dataflow workflow run {new}",
            ) from error


def _files(
    inventory: Inventory, new: str
) -> tuple[list[tuple[Path, Path]], dict[Path, str], list[Change], list[Problem]]:
    """Which folders and files move where, the new texts by their new places, the lines that
    change, and those that have the name as a text and do not."""
    project, old = inventory.project, inventory.workflow_id
    names = Renames(old, new, _tables(inventory))
    places = dict(zip(folders_of(project, old), folders_of(project, new), strict=True))
    moves = [(path, places[path]) for path in inventory.folders]
    texts: dict[Path, str] = {}
    changes: list[Change] = []
    mentions: list[Problem] = []
    for home in inventory.folders:
        target = places[home]
        for path in [home] if home.is_file() else sorted(home.rglob("*")):
            if not path.is_file() or path.is_symlink() or "__pycache__" in path.parts:
                continue
            moved = target / path.relative_to(home)
            name = _file_name(project, path, names)
            if name != path.name:
                moves.append((moved, moved.with_name(name)))
                moved = moved.with_name(name)
            if path.suffix in TEXT:
                text, found = names.file(path)
                changes += found
                if text is not None:
                    texts[moved] = text
                if path.suffix == ".py":
                    mentions += [
                        Problem(f"still says `{old}`", path, line)
                        for line in names.mentions(text or path.read_text("utf-8", "replace"))
                    ]
    return moves, texts, changes, mentions


def _file_name(project: Project, path: Path, names: Renames) -> str:
    """What a file is called then: models bear the name as a prefix, modules of tests within it."""
    if any(path.is_relative_to(project.dbt / part) for part in PARSED):
        return names.model(path.name)
    if path.is_relative_to(project.root / "tests"):
        return path.name.replace(f"test_{names.old}", f"test_{names.new}", 1)
    return path.name


def _tables(inventory: Inventory) -> set[str]:
    """The tables of its marts and its dashboard, as pages and queries name them."""
    project, old = inventory.project, inventory.workflow_id
    found = {path.stem for path in (project.evidence / "sources" / old).glob("*.sql")}
    for tables in inventory.tables.values():
        found |= {table for schema, table in tables if schema == old}
    return found


def _as_json(plan: Renaming) -> dict[str, Any]:
    root = plan.project.root
    return {
        "old": plan.old,
        "new": plan.new,
        "moves": [[str(a.relative_to(root)), str(b.relative_to(root))] for a, b in plan.moves],
        "texts": {str(path.relative_to(root)): text for path, text in plan.texts.items()},
        "schemas": plan.schemas,
    }


def _interrupted(project: Project, old: str, new: str) -> Renaming | None:
    """The renaming that was begun and did not end; None when there is none."""
    try:
        begun = json.loads((project.state / RENAMING).read_text("utf-8"))
    except FileNotFoundError:
        return None
    if (begun["old"], begun["new"]) != (old.replace("-", "_"), new):
        raise ConfigurationError(
            f"the renaming of {begun['old']} to {begun['new']} was interrupted",
            hint=f"Finish it first: dataflow workflow rename {begun['old']} {begun['new']}",
        )
    root = project.root
    return Renaming(
        project,
        begun["old"],
        begun["new"],
        [(root / a, root / b) for a, b in begun["moves"]],
        {root / path: text for path, text in begun["texts"].items()},
        schemas=begun["schemas"],
    )
