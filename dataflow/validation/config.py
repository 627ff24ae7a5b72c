"""Check `config.yaml` for environment variables that are not set, and secrets in clear text."""

from __future__ import annotations

import re
from pathlib import Path

from dataflow.errors import Problem
from dataflow.variables import variables_in
from dataflow.workflows.settings import clear_secrets, strings
from dataflow.workflows.yaml_file import Location, YamlFile, read_yaml


def unset_variables(folder: Path, environment: dict[str, str]) -> list[Problem]:
    """The `${VAR}` of the workflow's config.yaml that have neither a value nor a default."""
    file = read_yaml(folder / "config.yaml")
    seen: set[str] = set()
    problems = []
    for location, text in strings(file.data):
        for name, default in variables_in(text):
            if default is None and name not in environment and name not in seen:
                seen.add(name)
                problems.append(
                    file.problem(
                        f"the environment variable {name} is not set",
                        location,
                        f"Set it in the environment or in .env, or give a default: ${{{name}:-…}}.",
                    )
                )
    return problems


def secrets_in_clear(folder: Path) -> list[Problem]:
    """The keys of config.yaml that are named like a secret and hold one instead of `${VAR}`."""
    file = read_yaml(folder / "config.yaml")
    return [_in_clear(file, location) for location, _ in clear_secrets(file.data)]


def _in_clear(file: YamlFile, location: Location) -> Problem:
    name = re.sub(r"\W", "_", str(location[-1])).upper()
    return file.problem(
        f"`{'.'.join(map(str, location))}` holds its value in clear text",
        location,
        f"Write ${{{name}}} here, and the value into .env, which git ignores.",
    )
