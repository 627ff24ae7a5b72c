"""The descriptions and tests of dbt's YAML files, read without dbt: they are always those on disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dataflow.base.sql import TableName
from dataflow.dbt.names import dicts, yaml_files
from dataflow.project import Project

_BLOCK = re.compile(r"\{%-?\s*docs\s+(\w+)\s*-?%\}(.*?)\{%-?\s*enddocs\s*-?%\}", re.DOTALL)
_DOC = re.compile(r"\{\{-?\s*doc\(\s*(?:['\"]\w+['\"]\s*,\s*)?['\"](\w+)['\"]\s*\)\s*-?\}\}")
_FOLDERS = ("models", "seeds", "snapshots")
# Of a test's arguments, those that say how dbt treats it.
_NO_ARGUMENTS = {"config", "name", "description", "severity", "tags", "where", "limit", "store_failures"}  # fmt: skip


@dataclass(frozen=True)
class Described:
    """What YAML says about a model, a seed, a snapshot, or a source's table.

    Args:
        description: Markdown.
        tests: of the whole table, in words.
        columns: description and tests by column.
    """

    description: str = ""
    tests: tuple[str, ...] = ()
    columns: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)


@dataclass(frozen=True)
class DbtTexts:
    """All of them.

    Args:
        models: by the name of the model, seed or snapshot.
        sources: by the table of a source.
        schemas: the schema of each source's tables.
    """

    models: dict[str, Described]
    sources: dict[TableName, Described]
    schemas: dict[str, str]


def read_texts(project: Project) -> DbtTexts:
    """Everything that the dbt project's YAML files say about tables; what is not valid is left out."""
    blocks: dict[str, str] = {}
    folders = [project.dbt / name for name in _FOLDERS]
    for path in (path for folder in folders for path in sorted(folder.rglob("*.md"))):
        blocks |= {m[1]: m[2].strip() for m in _BLOCK.finditer(_text(path))}
    models: dict[str, Described] = {}
    sources: dict[TableName, Described] = {}
    schemas: dict[str, str] = {}
    for path in (path for folder in folders for path in yaml_files(folder)):
        data = _data(path)
        for key in _FOLDERS:
            for item in dicts(data, key):
                models[str(item.get("name"))] = _described(item, blocks)
        for source in dicts(data, "sources"):
            schema = str(source.get("schema", source.get("name")))
            schemas[str(source.get("name"))] = schema
            for item in dicts(source, "tables"):
                name = str(item.get("identifier", item.get("name")))
                sources[TableName(schema, name)] = _described(item, blocks)
    return DbtTexts(models, sources, schemas)


def _described(item: dict[str, Any], blocks: dict[str, str]) -> Described:
    columns = {
        str(column.get("name")): (_description(column, blocks), tuple(_tests(column)))
        for column in dicts(item, "columns")
    }
    return Described(_description(item, blocks), tuple(_tests(item)), columns)


def _description(item: dict[str, Any], blocks: dict[str, str]) -> str:
    text = item.get("description")
    return _DOC.sub(lambda match: blocks.get(match[1], match[0]), text) if text and isinstance(text, str) else ""  # fmt: skip


def _tests(item: dict[str, Any]) -> Iterator[str]:
    """The tests of a model or column in words: `not null`, `in range: min_value 1`."""
    for key in ("tests", "data_tests"):
        listed = item.get(key)
        for test in listed if isinstance(listed, list) else []:
            if isinstance(test, str):
                yield test.replace("_", " ")
            elif isinstance(test, dict) and test:
                name, given = next(iter(test.items()))
                yield _in_words(str(name), given if isinstance(given, dict) else {})


def _in_words(name: str, given: dict[str, Any]) -> str:
    nested = given.get("arguments")
    arguments = {**given, **(nested if isinstance(nested, dict) else {})}
    shown = [
        f"{key} {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in arguments.items()
        if key not in _NO_ARGUMENTS | {"arguments"}
    ]
    words = name.replace("_", " ")
    return f"{words}: {'; '.join(shown)}" if shown else words


def _data(path: Path) -> Any:
    """What a YAML file holds; None when it is not valid.

    By the parser in C where there is one: lines are not needed, and it takes a tenth of the time.
    """
    try:
        return yaml.load(_text(path), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""
