"""A stage's parameters as Dagster's launchpad shows them: typed, with help."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any

import dagster as dg

from dataflow.stages.parameters import Parameter
from dataflow.stages.result import plain
from dataflow.variables import variables_in

# For values with a `${VAR}`, which an int's field does not take. No parameter has this name.
BY_NAME = "${}"


def config_schema(parameters: dict[str, Parameter], stage: str) -> dict[str, Any]:
    """Dagster's config fields for a stage's parameters.

    None has a default value here: a field that is left out takes the value from config.yaml
    or the notebook, and a run's configuration has only what was chosen for it.
    """
    fields = {}
    for parameter in parameters.values():
        default = "required" if parameter.required else f"default: {parameter.default!r}"
        fields[parameter.name] = dg.Field(
            _config_type(parameter.type, f"{stage}_{parameter.name}"),
            is_required=False,  # config.yaml may give it; the stage's own check tells
            description=". ".join(filter(None, [parameter.help, default])),
        )
    if fields:
        fields[BY_NAME] = dg.Field(
            dg.Permissive(),
            is_required=False,
            description="Values that name environment variables, for parameters that are not text: "
            "{limit: '${LIMIT}'}. They are resolved where the stage runs.",
        )
    return fields


def to_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values chosen for a stage as its configuration in Dagster."""
    by_name = {name: value for name, value in values.items() if next(variables_in(value), None)}
    config = {name: plain(value) for name, value in values.items() if name not in by_name}
    return {**config, BY_NAME: by_name} if by_name else config


def from_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a stage's configuration in Dagster chooses; `${VAR}` stays a name."""
    typed = {name: value for name, value in config.items() if name != BY_NAME}
    return {**typed, **config.get(BY_NAME, {})}


def _config_type(kind: Any, name: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        if len(inner) == 1:
            return dg.Noneable(_config_type(inner[0], name))
        return dg.Any
    if origin is typing.Literal and all(isinstance(argument, str) for argument in arguments):
        return dg.Enum(name, [dg.EnumValue(argument) for argument in arguments])
    if origin is typing.Literal:
        return dg.Any  # Dagster's enums are text
    if kind is tuple or origin is tuple:
        return dg.Array(dg.Any)
    if kind is list or origin is list:
        return dg.Array(_config_type(arguments[0], name) if arguments else dg.Any)
    if kind is dict or origin is dict:
        return dg.Permissive()
    scalars = {bool: dg.Bool, int: dg.Int, float: dg.Float}
    # Text stands for itself, for dates, and for a `${VAR}` that the kernel resolves.
    return scalars.get(kind, dg.Any if kind is Any else dg.String)
