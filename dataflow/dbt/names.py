"""What the dbt project's files define, read without dbt: models, sources, tests, and their tables."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataflow.dbt.command import MACROS
from dataflow.project import Project
from dataflow.workflows.yaml_file import read_yaml

TEST = re.compile(r"\{%-?\s*(?:data_)?test\s+(\w+)")
SNAPSHOT = re.compile(r"\{%-?\s*snapshot\s+(\w+)")
DBTS_OWN_TESTS = {"unique", "not_null", "accepted_values", "relationships"}
_ALIAS = re.compile(r"\balias\s*=\s*['\"](\w+)['\"]")
_SCHEMA = re.compile(r"\bschema\s*=\s*['\"](\w+)['\"]")


@dataclass
class DbtNames:
    """What models may refer to.

    Args:
        models: names for `ref`.
        sources: tables by the source's name, for `source`.
        schemas: the schema of each source's tables.
        tests: names of generic tests.
    """

    models: set[str] = field(default_factory=set)
    sources: dict[str, set[str]] = field(default_factory=dict)
    schemas: dict[str, str] = field(default_factory=dict)
    tests: set[str] = field(default_factory=set)


def read_names(project: Project) -> DbtNames:
    """Every model, seed, snapshot and source of the dbt project, read from its files."""
    names = DbtNames(tests=set(DBTS_OWN_TESTS))
    folders = (project.dbt / "tests", project.dbt / "macros", MACROS)
    for path in (path for folder in folders for path in folder.rglob("*.sql")):
        names.tests |= set(TEST.findall(path.read_text("utf-8", errors="replace")))
    for folder, pattern in (("models", "*.sql"), ("models", "*.py"), ("seeds", "*.csv")):
        names.models |= {path.stem for path in (project.dbt / folder).rglob(pattern)}
    for path in (project.dbt / "snapshots").rglob("*.sql"):
        names.models |= {path.stem, *SNAPSHOT.findall(path.read_text("utf-8", errors="replace"))}
    for path in yaml_files(project.dbt / "models"):
        data = read_yaml(path).data
        for source in dicts(data, "sources"):
            name = str(source.get("name"))
            tables = {str(table.get("name")) for table in dicts(source, "tables")}
            names.sources.setdefault(name, set()).update(tables)
            names.schemas[name] = str(source.get("schema", name))
        for model in dicts(data, "models"):
            names.models |= {
                f"{model.get('name')}_v{version.get('v')}" for version in dicts(model, "versions")
            } | ({str(model.get("name"))} if model.get("versions") else set())
        names.models |= {str(snapshot.get("name")) for snapshot in dicts(data, "snapshots")}
    return names


def table_of(project: Project, model: Path) -> tuple[str, str]:
    """The schema and table of a model's file, by the rule of `macros/workflow_schema.sql`.

    Args:
        project: the project.
        model: a file below `dbt/models/`, `dbt/seeds/` or `dbt/snapshots/`.
    """
    folders = model.relative_to(project.dbt).parts[1:-1]
    # A seed is data, perhaps much, and sets nothing.
    text = "" if model.suffix == ".csv" else model.read_text("utf-8", errors="replace")
    alias, schema = _ALIAS.search(text), _SCHEMA.search(text)
    own = folders[0] if folders else "main"
    by_folder = f"{own}_staging" if "staging" in folders[1:] else own
    return schema[1] if schema else by_folder, alias[1] if alias else model.stem


def yaml_files(folder: Path) -> Iterable[Path]:
    """The YAML files below a folder."""
    return sorted([*folder.rglob("*.yml"), *folder.rglob("*.yaml")])


def dicts(data: object, key: str) -> list[dict[str, Any]]:
    """The mappings listed below `key`; none when the YAML has another shape."""
    found = data.get(key) if isinstance(data, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
