"""A workflow's effective configuration, without the value of any secret."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataflow.engine.secrets import Scrubber
from dataflow.project import Project
from dataflow.stages.notebook import declared_parameters
from dataflow.variables import secrets_in, variables_in
from dataflow.workflows.model import Workflow
from dataflow.workflows.yaml_file import Location, read_yaml

SECRET_KEY = re.compile(r"(?:^|_)(?:password|passwd|secret|token|api_?key|private_?key)$", re.I)


@dataclass(frozen=True)
class Variable:
    """An environment variable that a configuration names; its value is not kept.

    Args:
        name: the variable.
        is_set: whether it has a value.
        source: where the value comes from: `environment`, `.env`, `default`, or None.
    """

    name: str
    is_set: bool
    source: str | None


@dataclass(frozen=True)
class Setting:
    """A stage's parameter as in a run without further values.

    Args:
        stage: the stage.
        name: the parameter.
        value: its value, `${VAR}` unresolved; None also when it is required.
        source: `notebook`, `config.yaml`, or `required`.
        help: what it is for.
    """

    stage: str
    name: str
    value: Any
    source: str
    help: str


def variables_of(project: Project, folder: Path) -> list[Variable]:
    """The variables that a workflow's config.yaml names, in order, once each.

    Call it before `.env` is read into the environment, which would then seem to set all of them.
    """
    from dotenv import dotenv_values

    from_file = dotenv_values(project.root / ".env")
    found: dict[str, Variable] = {}
    for name, default in variables_in(read_yaml(folder / "config.yaml").data):
        if name not in found:
            found[name] = _variable(name, default, from_file)
    return list(found.values())


def secret_mask(project: Project, data: Any) -> Scrubber:
    """Removes from text the secrets that a configuration holds in clear text.

    Args:
        project: the project.
        data: the configuration.
    """
    secrets = secrets_in(data, environment=project.environment())
    for location, text in clear_secrets(data):
        secrets[f"{location[-1]}: in clear"] = text
    return Scrubber(secrets)


def parameters_of(workflow: Workflow) -> list[Setting]:
    """Every parameter of every stage with its value, unless a run sets another.

    Raises:
        ConfigurationError: a notebook cannot be read.
    """
    settings = []
    for stage in workflow.stages:
        for parameter in declared_parameters(stage.notebook).parameters.values():
            if parameter.name in stage.parameters:
                value, source = stage.parameters[parameter.name], "config.yaml"
            elif parameter.required:
                value, source = None, "required"
            else:
                value, source = parameter.default, "notebook"
            settings.append(Setting(stage.name, parameter.name, value, source, parameter.help))
    return settings


def _variable(name: str, default: str | None, from_file: Mapping[str, str | None]) -> Variable:
    if name in os.environ:
        return Variable(name, True, "environment")
    if from_file.get(name) is not None:
        return Variable(name, True, ".env")
    return Variable(name, default is not None, None if default is None else "default")


def clear_secrets(data: Any) -> Iterator[tuple[Location, str]]:
    """The values below keys like `token` and `password` that are not `${VAR}`."""
    for location, text in strings(data):
        key = next((str(part) for part in reversed(location) if isinstance(part, str)), "")
        if text and SECRET_KEY.search(key) and not any(variables_in(text)):
            yield location, text


def strings(data: Any, location: Location = ()) -> Iterator[tuple[Location, str]]:
    """Every string inside `data` with its place."""
    if isinstance(data, str):
        yield location, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from strings(value, (*location, str(key)))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from strings(value, (*location, index))
