"""Variables of the environment: `${VAR}` and `${VAR:-default}`, and the secrets among them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dataflow.errors import ConfigurationError

# `$${VAR}` is a literal `${VAR}`, as in docker compose.
PATTERN = re.compile(
    r"(?P<escape>\$)?\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}"
)

# What dbt's files read from the environment; variables that DATAFLOW sets are not secret.
SET_FOR_DBT = {"DATAFLOW_WAREHOUSE_PATH", "DATAFLOW_TIMEZONE"}
DBT_VARIABLE = re.compile(r"""env_var\s*\(\s*["'](\w+)["']""")
DBT_TEXTS = {".sql", ".yml", ".yaml", ".csv", ".py"}
# The folders for dbt's output.
MADE_BY_DBT = {"target", "logs", "dbt_packages"}


def variables_in(value: Any) -> Iterator[tuple[str, str | None]]:
    """Every variable named anywhere inside `value`, with its default (None without one)."""
    if isinstance(value, str):
        for match in PATTERN.finditer(value):
            if not match["escape"]:
                yield match["name"], match["default"]
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from variables_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from variables_in(item)


def unset_variables(value: Any, environment: Mapping[str, str] | None = None) -> list[str]:
    """The variables in `value` that are neither set nor have a default, in order, once each."""
    environment = os.environ if environment is None else environment
    missing = (
        name for name, default in variables_in(value) if default is None and name not in environment
    )
    return list(dict.fromkeys(missing))


def resolve(value: Any, environment: Mapping[str, str] | None = None) -> Any:
    """Put the environment's values in place of every `${VAR}` inside `value`.

    Args:
        value: a string, or a mapping or list with strings anywhere inside.
        environment: where values come from; the process's own environment by default.

    Raises:
        ConfigurationError: a variable without default is not set; names all of them.
    """
    environment = os.environ if environment is None else environment
    missing = unset_variables(value, environment)
    if missing:
        names = ", ".join(missing)
        raise ConfigurationError(
            f"the environment variable{'s' if len(missing) > 1 else ''} {names} "
            f"{'are' if len(missing) > 1 else 'is'} not set",
            hint=f"Set {'them' if len(missing) > 1 else 'it'} in the environment or in .env.",
        )
    return _resolve(value, environment)


def without_escapes(value: Any) -> Any:
    """`value`, which names no variable, with `${VAR}` for each `$${VAR}`."""
    return _resolve(value, {})


def _resolve(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return PATTERN.sub(
            lambda match: (
                match[0][1:]
                if match["escape"]
                else environment.get(match["name"], match["default"] or "")
            ),
            value,
        )
    if isinstance(value, Mapping):
        return {key: _resolve(item, environment) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_resolve(item, environment) for item in value)
    if isinstance(value, list):
        return [_resolve(item, environment) for item in value]
    return value


def variables_of_dbt(folder: Path) -> list[str]:
    """The variables that the files of the dbt project in `folder` read by `env_var`."""
    found: set[str] = set()
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if path.suffix in DBT_TEXTS and not MADE_BY_DBT.intersection(parts):
            with contextlib.suppress(OSError):
                found.update(DBT_VARIABLE.findall(path.read_text("utf-8", "replace")))
    return sorted(found - SET_FOR_DBT)


def secrets_in(*values: Any, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The values of the variables that `values` name, by the variables' names.

    Defaults (`${VAR:-default}`) are in the file already and not secret.
    """
    environment = os.environ if environment is None else environment
    return {
        name: environment[name]
        for value in values
        for name, _ in variables_in(value)
        if environment.get(name)
    }


def secrets_of(
    folder: Path, *values: Any, environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The values, by name, of the variables that the workflow in `folder` may resolve.

    Named by its own config.yaml and those of the project's other workflows, since its notebooks
    may `load_config` any of them; by `env_var` in dbt's files; and by `values`.
    """
    texts = []
    for path in sorted(folder.parent.glob("*/config.yaml")):
        with contextlib.suppress(OSError):
            texts.append(path.read_text(encoding="utf-8", errors="replace"))
    named = variables_of_dbt(folder.parent.parent / "dbt")
    names = [f"${{{name}}}" for name in named]
    return secrets_in(texts, names, values, environment=environment)
