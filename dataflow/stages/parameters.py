"""The parameters of a stage: what its notebook declares.

A notebook declares its parameters in one code cell tagged `parameters`, which holds nothing
but assignments of literals::

    min_magnitude: float | None = None  # drop weaker events; None keeps all
    source: Literal["file", "api"] = "file"
    since: date                         # no value: it is required

The annotation is the type, the value the default, the comment the help text.
"""

from __future__ import annotations

import ast
import datetime
import io
import tokenize
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflow.base.words import meant
from dataflow.errors import Fix, Problem

if TYPE_CHECKING:
    from pydantic import TypeAdapter

TAG = "parameters"
INJECTED_TAG = "injected-parameters"
SECRET = "secret"  # the annotation of a parameter whose value is not to be kept anywhere


class _Required:
    """Stands for "no default": the parameter is required."""

    def __repr__(self) -> str:
        return "required"


REQUIRED = _Required()


@dataclass(frozen=True)
class Parameter:
    """One declared parameter.

    Args:
        name: the variable.
        type: the type values are checked against, as a `typing` type.
        annotation: the type as the author wrote it; "" when there is none.
        default: the value in the cell, or `REQUIRED`.
        help: the comment beside or above the assignment.
        line: the line within the cell, from 1.
        secret: its value is not kept anywhere: the annotation is `Annotated[…, "secret"]`.
    """

    name: str
    type: Any
    annotation: str
    default: Any
    help: str = ""
    line: int = 1
    secret: bool = False

    @property
    def required(self) -> bool:
        """Whether a value has to be given."""
        return self.default is REQUIRED


@dataclass(frozen=True)
class Declaration:
    """The parameters a notebook declares.

    Args:
        notebook: the notebook.
        cell: the index of the parameters cell, None when the notebook has none.
        parameters: by name, in the order of the cell.
        problems: what is wrong with the cell.
    """

    notebook: Path
    cell: int | None
    parameters: dict[str, Parameter]
    problems: list[Problem]

    def may_declare(self, name: str) -> bool:
        """Whether `name` is not among the parameters only because something is wrong with it."""
        unread = not self.parameters and self.problems
        return bool(unread) or any(problem.parameter == name for problem in self.problems)


# The names an annotation may use. Anything else is refused: an annotation is evaluated.
TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "list": list,
    "dict": dict,
    "date": datetime.date,
    "datetime": datetime.datetime,
    "Optional": typing.Optional,
    "Union": typing.Union,
    "Literal": typing.Literal,
    "Annotated": typing.Annotated,
    "List": list,
    "Dict": dict,
    "Any": Any,
    "None": None,
}
TYPE_HINT = (
    "Use str, int, float, bool, date, datetime, Literal[...], "
    "list[...] or dict[...] of these, or `... | None`."
)


class UnknownType(ValueError):
    """An annotation that is none of `TYPES`."""

    def __init__(self, name: str) -> None:
        super().__init__(f"`{name}` is not a type that parameters can have")
        self.name = name


def author_numbers(cells: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """Each cell of an executed notebook with its number in the author's, from 1.

    The cell with a run's parameters has the number of the one it follows, which they are for.
    """
    number = 0
    for cell in cells:
        number += INJECTED_TAG not in cell.metadata.get("tags", [])
        yield number, cell


def read_declaration(path: Path, cells: list[Any]) -> Declaration:
    """Read what the notebook at `path`, with these `cells`, declares.

    Everything wrong with its parameters cell is in the result's `problems`.
    """
    tagged = [
        index for index, cell in enumerate(cells) if TAG in cell.get("metadata", {}).get("tags", [])
    ]
    if not tagged:
        problem = Problem(
            "no cell is tagged `parameters`",
            path,
            hint="Tag the code cell with the stage's parameters (JupyterLab: the gear at the "
            "right, Common Tools, Cell Tags). A stage without parameters needs none.",
        )
        return Declaration(path, None, {}, [problem])
    problems = []
    cell = cells[tagged[0]]
    if len(tagged) > 1:
        shown = ", ".join(str(index + 1) for index in tagged)
        text = f"cells {shown} are all tagged `parameters`"
        problems.append(Problem(text, path, hint="Keep one of them.", cell=tagged[1] + 1))
    if cell["cell_type"] != "code":
        text = "the cell is tagged `parameters` and is not code"
        problems.append(Problem(text, path, hint="Tag a code cell.", cell=tagged[0] + 1))
        return Declaration(path, tagged[0], {}, problems)
    parameters = _read_cell(path, tagged[0], "".join(cell["source"]), problems)
    return Declaration(path, tagged[0], parameters, problems)


def _read_cell(
    path: Path, index: int, source: str, problems: list[Problem]
) -> dict[str, Parameter]:
    lines = source.split("\n")

    def complain(
        line: int, message: str, hint: str, name: str | None = None, fix: Fix | None = None
    ) -> None:
        problems.append(Problem(message, path, line, hint, index + 1, name, fix))

    try:
        tree = parse(source)
    except SyntaxError as error:
        complain(error.lineno or 1, f"not valid Python: {error.msg}", "Fix the parameters cell.")
        return {}
    helps = _comments(source, {node.lineno for node in tree.body})
    parameters: dict[str, Parameter] = {}
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a string on its own is a comment
        target = _target(node)
        if target is None:
            complain(
                node.lineno,
                f"`{ast.unparse(node).splitlines()[0]}` is not an assignment",
                "The parameters cell holds assignments only; move everything else to other cells.",
            )
            continue
        name, annotation, value = target
        try:
            default = REQUIRED if value is None else literal(value)
        except ValueError:
            complain(
                node.lineno,
                f"the default of `{name}` is not a literal",
                "Give a number, string, list, dict, date(…) or datetime(…); compute in later cells.",
                name,
            )
            continue
        try:
            kind = Any if default is None else type(default)
            kind = kind if annotation is None else _usable(evaluate_type(annotation))
        except UnknownType as error:
            right = meant(error.name, TYPES.keys() - {"List", "Dict"})
            fix = Fix.replacing(error.name, right, lines[node.lineno - 1])
            hint = f"Did you mean `{right}`?" if right else TYPE_HINT
            complain(node.lineno, f"the type of `{name}`: {error}", hint, name, fix)
            continue
        except ValueError as error:
            complain(node.lineno, f"the type of `{name}`: {error}", TYPE_HINT, name)
            continue
        notes: list[Any] = []
        if typing.get_origin(kind) is typing.Annotated:
            kind, *notes = typing.get_args(kind)
        shown = "" if annotation is None else ast.unparse(annotation)
        comment = helps.get(node.lineno, "")
        parameter = Parameter(name, kind, shown, default, comment, node.lineno, SECRET in notes)
        if not parameter.required:
            try:
                convert(parameter, default)
            except ValueError as error:
                complain(
                    node.lineno, f"the default of `{name}` {error}", "Fix one of the two.", name
                )
                continue
        if name in parameters:
            first = parameters[name].line
            complain(
                node.lineno,
                f"`{name}` is assigned twice, first in line {first}",
                "Keep one of them.",
                name,
            )
        parameters[name] = parameter
    return parameters


def parse(source: str, flags: int = 0) -> ast.Module:
    """The syntax tree of a cell.

    Args:
        source: the cell.
        flags: see `compile`.

    Raises:
        SyntaxError: it is not valid Python, or nested too deeply to be read.
    """
    try:
        tree: ast.Module = compile(source, "cell", "exec", flags | ast.PyCF_ONLY_AST, True)
    except (RecursionError, MemoryError):
        raise SyntaxError("nested too deeply", ("cell", 1, 1, "")) from None
    except ValueError as error:  # a null byte, half a character
        raise SyntaxError(str(error), ("cell", 1, 1, "")) from None
    return tree


def _usable(kind: Any) -> Any:
    """A type that values can be checked against.

    Raises:
        ValueError: `kind` is not: a bare `Literal`, say.
    """
    try:
        _adapter(kind)
    except Exception:  # pydantic raises half a dozen kinds
        raise ValueError("it lacks what belongs in its brackets") from None
    return kind


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """What checks values against a type; kept, since it takes long to make."""
    try:
        return _kept_adapter(kind, str(kind))  # `int | str` equals `str | int`, and is not the same
    except TypeError:  # not hashable, or no type
        return _new_adapter(kind)


def _new_adapter(kind: Any, shown: str = "") -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


_kept_adapter = lru_cache(maxsize=500)(_new_adapter)


def _target(node: ast.stmt) -> tuple[str, ast.expr | None, ast.expr | None] | None:
    match node:
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
            return name, annotation, value
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name, None, value
    return None


def _comments(source: str, wanted: Iterable[int]) -> dict[int, str]:
    """The help text of lines: the comment beside each, else the comment lines above it."""
    beside: dict[int, str] = {}
    alone: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("#").strip()
            line, column = token.start
            own_line = not token.line[:column].strip()
            (alone if own_line else beside)[line] = text
    helps = dict(beside)
    for line in wanted:
        above: list[str] = []
        at = line - 1
        while at in alone:
            above.insert(0, alone[at])
            at -= 1
        if above and line not in helps:
            helps[line] = " ".join(above)
    return helps


def convert(parameter: Parameter, value: Any) -> Any:
    """`value` as the parameter's type.

    Text is read as a person means it on a command line ("4.5" for a float, "2018-02-05"
    for a date, "null" for None, "[1, 2]" for a list); a float is never truncated to an int.

    Raises:
        ValueError: it is not of that type; the message continues "the value".
    """
    from pydantic import ValidationError

    adapter = _adapter(parameter.type)
    candidates = [value]
    if isinstance(value, str):
        candidates += _readings(value)
    elif isinstance(value, (datetime.date, datetime.datetime)):
        candidates.append(value.isoformat())  # YAML turns text that looks like a date into one
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        candidates.append(str(value))  # `version: 2` for a str
    failures = []
    for strict in (True, False):
        for candidate in candidates:
            if isinstance(candidate, bool) and parameter.type in (int, float, str):
                continue  # pydantic would turn True into 1
            try:
                return adapter.validate_python(candidate, strict=strict)
            except ValidationError as error:
                if not strict:
                    failures.append(error.errors()[0]["msg"])
    wanted = parameter.annotation or getattr(parameter.type, "__name__", str(parameter.type))
    reason = f" ({failures[0]})" if failures else ""
    raise ValueError(f"{value!r} is not of type {wanted}{reason}")


def _readings(text: str) -> list[Any]:
    """What `text` could mean besides itself, as YAML reads it."""
    import yaml

    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: no such date
        return []
    return [] if isinstance(value, str) else [value]


def literal(node: ast.expr) -> Any:
    """The value of a literal; `date(…)` and `datetime(…)` of literals count as such.

    Raises:
        ValueError: `node` is not a literal.
    """
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        makers: dict[str, Any] = {
            "date": datetime.date,
            "datetime.date": datetime.date,
            "datetime": datetime.datetime,
            "datetime.datetime": datetime.datetime,
        }
        if name in makers and all(keyword.arg for keyword in node.keywords):
            try:
                return makers[name](
                    *(literal(argument) for argument in node.args),
                    **{str(keyword.arg): literal(keyword.value) for keyword in node.keywords},
                )
            except TypeError as error:
                raise ValueError(str(error)) from None
    try:
        return ast.literal_eval(node)
    except (TypeError, RecursionError) as error:  # a list as a key
        raise ValueError(str(error)) from None


def evaluate_type(annotation: ast.expr) -> Any:
    """The type an annotation means; only the names in `TYPES` are known.

    Raises:
        ValueError: it uses anything else.
    """
    if isinstance(annotation, ast.Constant):
        if annotation.value is None:
            return None
        if isinstance(annotation.value, str):  # "float | None" in quotes
            try:
                return evaluate_type(ast.parse(annotation.value, mode="eval").body)
            except SyntaxError:
                raise ValueError(f"`{annotation.value}` is not a type") from None
    if isinstance(annotation, ast.Name) and annotation.id in TYPES:
        return TYPES[annotation.id]
    if isinstance(annotation, ast.Attribute) and isinstance(annotation.value, ast.Name):
        known = {("datetime", "date"), ("datetime", "datetime")}
        if (annotation.value.id, annotation.attr) in known or (
            annotation.value.id in {"typing", "t"} and annotation.attr in TYPES
        ):
            return TYPES[annotation.attr]
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        try:
            return typing.Union[evaluate_type(annotation.left), evaluate_type(annotation.right)]  # noqa: UP007
        except TypeError as error:
            raise ValueError(str(error)) from None
    if isinstance(annotation, ast.Subscript):
        outer = evaluate_type(annotation.value)
        if outer is typing.Annotated and isinstance(annotation.slice, ast.Tuple):
            first, *notes = annotation.slice.elts
            return typing.Annotated[(evaluate_type(first), *map(literal, notes))]
        if outer is typing.Literal:
            values = literal(annotation.slice)
            return typing.Literal[values]
        inner = (
            tuple(evaluate_type(item) for item in annotation.slice.elts)
            if isinstance(annotation.slice, ast.Tuple)
            else evaluate_type(annotation.slice)
        )
        try:
            return outer[inner]
        except TypeError as error:
            raise ValueError(str(error)) from None
    raise UnknownType(ast.unparse(annotation))
