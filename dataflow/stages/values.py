"""Values for a stage's parameters: read as people mean them, checked against the declaration."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from dataflow.base.words import nearest
from dataflow.engine.secrets import WORDS_BELOW
from dataflow.errors import ParameterError, Problem
from dataflow.stages.parameters import Declaration, convert
from dataflow.stages.result import plain
from dataflow.variables import secrets_of, unset_variables, variables_in


def check_values(
    declaration: Declaration,
    values: Mapping[str, Any],
    *,
    stage: str,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Check `values` against the declaration, all of them.

    A value with `${VAR}` in it stays as it is and is checked when the kernel resolves it, so
    that the secret is nowhere before.

    Args:
        declaration: what the stage's notebook declares.
        values: the values, by parameter.
        stage: the stage's name.
        environment: the variables there are; this process's by default.

    Returns:
        The values converted to their types, in the order of the parameters cell.

    Raises:
        ParameterError: lists every unknown name, wrong type, missing value and unset
            variable, and what is wrong with the parameters cell.
    """
    # A notebook without a parameters cell is wrong only when it is given values.
    problems = list(declaration.problems) if values or declaration.cell is not None else []

    def complain(
        name: str, message: str, hint: str | None, line: int | None = None, cell: int | None = None
    ) -> None:
        problems.append(Problem(message, declaration.notebook, line, hint, cell, name))

    converted: dict[str, Any] = {}
    for name, value in values.items():
        parameter = declaration.parameters.get(name)
        if parameter is None:
            # Otherwise the cell, missing or wrong, is the one problem.
            if declaration.cell is not None and not declaration.may_declare(name):
                complain(
                    name,
                    f"stage `{stage}` has no parameter `{name}`",
                    nearest(name, declaration.parameters) or "Its parameters cell declares none.",
                )
        elif next(variables_in(value), None):
            for variable in unset_variables(value, environment):
                complain(
                    name,
                    f"parameter `{name}` needs the environment variable {variable}, "
                    "which is not set",
                    f"Set {variable} in the environment or in .env.",
                )
            converted[name] = value
        else:
            try:
                converted[name] = convert(parameter, value)
            except ValueError as error:
                kind = parameter.annotation or type(parameter.default).__name__
                complain(
                    name,
                    f"parameter `{name}` of stage `{stage}`: {error}",
                    f"{name}: {parameter.help}"
                    if parameter.help
                    else f"It is declared as `{name}: {kind}`.",
                )
    for parameter in declaration.parameters.values():
        if parameter.required and parameter.name not in values:
            complain(
                parameter.name,
                f"parameter `{parameter.name}` of stage `{stage}` has no default and "
                "no value was given",
                f"Give one: -p {parameter.name} VALUE, or in config.yaml.",
                parameter.line,
                (declaration.cell or 0) + 1,
            )
    if problems:
        raise ParameterError(f"the parameters of stage {stage} are not right", problems=problems)
    return {name: converted[name] for name in declaration.parameters if name in converted}


def conceal(declaration: Declaration, values: Mapping[str, Any], *, stage: str) -> dict[str, Any]:
    """`values` with names of environment variables, `${VAR}`, in place of secrets in clear text.

    A run keeps its values in many places; the kernel resolves the names. The value of a
    parameter that is declared secret gets its own variable in this process.

    Args:
        declaration: what the stage's notebook declares.
        values: the values chosen for it.
        stage: its name.
    """
    secrets = secrets_of(declaration.notebook.parent)
    concealed = {}
    for name, value in values.items():
        parameter = declaration.parameters.get(name)
        concealed[name] = _by_name(value, secrets)
        if parameter is None or not parameter.secret or value is None:
            continue
        if next(variables_in(concealed[name]), None) is None:
            variable = f"SECRET_{stage}_{name}".upper()
            os.environ[variable] = (
                json.dumps(plain(value)) if isinstance(value, (list, tuple, dict)) else str(value)
            )
            concealed[name] = f"${{{variable}}}"
    return concealed


def _by_name(value: Any, secrets: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _by_name(item, secrets) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_by_name(item, secrets) for item in value)
    if not isinstance(value, str):
        return value
    for variable, secret in sorted(secrets.items(), key=lambda item: -len(item[1])):
        if len(secret) >= WORDS_BELOW and f"${secret}" not in value:  # `$$` would escape
            value = value.replace(secret, f"${{{variable}}}")
    return value
