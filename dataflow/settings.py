"""The project's settings: `[tool.dataflow]` in pyproject.toml, each also an environment variable.

The environment variable `DATAFLOW_<NAME>` overrides `.env`, `.env` overrides pyproject.toml, and
that the default. `Settings` is the only list of them; who needs one reads it there.
"""

from __future__ import annotations

import math
import os
import re
import threading
import tomllib
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from dataflow.base.words import nearest
from dataflow.errors import ConfigurationError, Problem

FILE = "pyproject.toml"
TABLE = "tool.dataflow"
SWITCH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True)
class Kind:
    """What values a setting takes.

    Args:
        name: a value of the kind, in words.
        hint: how to write one.
        type: its type in TOML.
        check: returns the value to use; raises ValueError for one that is not of the kind.
    """

    name: str
    hint: str
    type: type
    check: Callable[[Any], Any] = lambda value: value

    def value(self, given: Any, *, is_text: bool) -> Any:
        """The value that TOML gives, or the environment as text.

        Raises:
            ValueError, KeyError, OverflowError: it is not of the kind.
        """
        if is_text and self.type is list:
            # As in pyproject.toml, or a single one as it is.
            given = tomllib.loads(f"x = {given}")["x"] if given.startswith("[") else [given]
        elif is_text:
            given = SWITCH[given.lower()] if self.type is bool else self.type(given)
        elif self.type is float and type(given) is int:
            given = float(given)
        _require(type(given) is self.type)  # true is no number
        return self.check(given)


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, OSError):
        raise ValueError(name) from None
    return name


def _path(path: str) -> Path:
    _require(bool(path.strip()))
    return Path(path).expanduser()


def _memory(amount: str) -> str:
    _require(bool(re.fullmatch(r"\d+(\.\d+)? ?[KMGT]i?B", amount, re.IGNORECASE)))
    return amount


def _address(address: str) -> str | None:
    address = address.strip().rstrip("/")
    # A bare name: proxies are taken to use TLS.
    return f"https://{address}" if address and "://" not in address else address or None


def _patterns(patterns: list[Any]) -> tuple[str, ...]:
    for pattern in patterns:
        _require(isinstance(pattern, str) and pattern != "")
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(str(error)) from None
    return tuple(patterns)


def _seconds(seconds: float) -> float:
    _require(0 < seconds < threading.TIMEOUT_MAX)
    return seconds


def _seconds_or_none(seconds: float) -> float:
    return seconds if seconds == 0 else _seconds(seconds)


def _one_of(word: str, *words: str) -> str:
    _require(word in words)
    return word


def _between(least: int, most: float) -> Callable[[int], int]:
    def check(number: int) -> int:
        _require(least <= number <= most)
        return number

    return check


ZONE = Kind("a time zone", 'Use a name like "UTC" or "Europe/Berlin".', str, _zone)
PATH = Kind("a path", "Write one from the project's root, or an absolute one.", str, _path)
MEMORY = Kind("an amount of memory", 'Write a number and its unit, like "8GB".', str, _memory)
ADDRESS = Kind("an address", 'Write one like "https://data.example.org".', str, _address)
PORT = Kind("a port", "Use a whole number from 1 to 65535.", int, _between(1, 65535))
COUNT = Kind("a whole number above 0", "Write one like 4.", int, _between(1, math.inf))
SECONDS = Kind("a number of seconds", "Write one like 900.", float, _seconds)
PATTERNS = Kind(
    "a list of regular expressions",
    """Write one like ['in \\d+ ms', 'token [0-9a-f]+']; a backslash stays one in single quotes.""",
    list,
    _patterns,
)
SECONDS_OR_NONE = Kind("a number of seconds", "Write one like 20, or 0.", float, _seconds_or_none)
WARM_COLD = Kind(
    "`warm` or `cold`", 'Write "warm" or "cold".', str, lambda word: _one_of(word, "warm", "cold")
)
YES_NO = Kind("true or false", "Write true or false, without quotes.", bool)


def _setting(kind: Kind, default: Any, help: str, *, unset: str = "", switch: str = "") -> Any:
    """A setting.

    Args:
        kind: what values it takes.
        default: its value where it is not set.
        help: what it is for.
        unset: what the default None means, in words.
        switch: a further variable that, with any value, sets it to false.
    """
    return field(
        default=default, metadata={"kind": kind, "help": help, "unset": unset, "switch": switch}
    )


# ruff: noqa: RUF009 - `_setting` is `dataclasses.field`
@dataclass(frozen=True)
class Settings:
    """The settings of a project, each with its value."""

    timezone: str = _setting(ZONE, "UTC", "the time zone of kernels, connections, dbt, dashboards")
    warehouse: Path = _setting(
        PATH,
        Path(".duckdb/dataflow.duckdb"),
        "the warehouse's file, which must be called `dataflow.duckdb`, from the project's root",
    )
    memory_limit: str | None = _setting(
        MEMORY,
        None,
        "how much memory a DuckDB connection takes before it spills to disk",
        unset="a fifth of the machine's or container's",
    )
    jupyter_port: int = _setting(PORT, 8888, "where JupyterLab listens")
    dagster_port: int = _setting(PORT, 3000, "where Dagster's pages are served")
    evidence_port: int = _setting(PORT, 9000, "where the dashboards are served")
    dagster_url: str | None = _setting(
        ADDRESS, None, "the address of Dagster behind a proxy", unset="this machine's"
    )
    evidence_url: str | None = _setting(
        ADDRESS, None, "the address of the dashboards behind a proxy", unset="this machine's"
    )
    build_pages: bool = _setting(
        YES_NO,
        True,
        "whether runs build the dashboards' pages; false for tests, or where Node is missing",
        switch="DATAFLOW_NO_BUILD",
    )
    node_timeout: float = _setting(SECONDS, 900.0, "seconds that a page build, or npm, may take")
    dbt_timeout: float = _setting(SECONDS, 7200.0, "seconds that dbt may take in a run")
    data_review_seconds: float = _setting(
        SECONDS_OR_NONE,
        20.0,
        "seconds that a run may compare its data with what was published; with 0 it does not",
    )
    max_parallel_stages: int = _setting(
        COUNT, 4, "how many stages of a run are executed at the same time"
    )
    max_kernels: int = _setting(
        COUNT,
        16,
        "how many stages of all runs, those from the command line too, are executed at the same time",
    )
    kernels: str = _setting(
        WARM_COLD,
        "warm",
        "`warm`: runs fork kernels from a process that has imported what notebooks do; `cold`: each "
        "is started by itself",
    )
    max_runs: int = _setting(
        COUNT, 4, "how many scheduled runs, and runs started in Dagster, go on at the same time"
    )
    keep_runs: int | None = _setting(
        COUNT, None, "how many ended runs of each workflow are kept", unset="all"
    )
    keep_days: int | None = _setting(
        COUNT,
        None,
        "for how many days ended runs are kept; with `keep_runs`, the longer of the two counts",
        unset="for ever",
    )
    diff_ignore: tuple[str, ...] = _setting(
        PATTERNS,
        (),
        "what `dataflow runs diff` leaves out of outputs beside its own rules: regular expressions",
    )

    @property
    def keeps_all_runs(self) -> bool:
        """Whether no run is ever removed."""
        return self.keep_runs is None and self.keep_days is None


SETTINGS: dict[str, Field[Any]] = {one.name: one for one in fields(Settings)}


@dataclass(frozen=True)
class Source:
    """Where a setting's value comes from.

    Args:
        name: the setting.
        given: the value as it is there.
        path: the file; None for the environment.
        variable: the environment variable, of the environment or `.env`.
    """

    name: str
    given: Any
    path: Path | None = None
    variable: str | None = None

    @property
    def line(self) -> int | None:
        """The line in the file, which is looked for only when somebody is told."""
        if self.path is None:
            return None
        if self.variable is not None:
            return _line(self.path, rf"\s*(export\s+)?{self.variable}\s*=")
        return _line_in_table(self.path, self.name)

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}" if self.path else f"environment: {self.variable}"


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return f"DATAFLOW_{name.upper()}"


def value_text(name: str, value: object) -> str:
    """The value of a setting in words: as in TOML without quotes, or what its default means."""
    if value is None:
        return str(SETTINGS[name].metadata["unset"])
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def read_settings(root: Path | None) -> Settings:
    """The settings of the project at `root`; those of the environment without one.

    Raises:
        ConfigurationError: names all that is wrong: unknown names, and values of the wrong type.
    """
    problems = []
    for name in read_table(root) or () if root else ():
        if root and name not in SETTINGS:
            line = _line_in_table(root / FILE, name)
            message = f"[{TABLE}] has no setting `{name}`"
            problems.append(Problem(message, root / FILE, line, nearest(name, SETTINGS)))
    values = {}
    for name, source in sources(root).items():
        kind: Kind = SETTINGS[name].metadata["kind"]
        try:
            values[name] = kind.value(source.given, is_text=source.variable is not None)
        except (ValueError, TypeError, KeyError, OverflowError):
            what = source.variable or f"`{name}`"
            given = repr(source.given)
            given = given.lower() if isinstance(source.given, bool) else given
            message = f"{what} is {given}, which is not {kind.name}"
            problems.append(Problem(message, source.path, source.line, kind.hint))
    if problems:
        problems.sort(key=lambda problem: (str(problem.path), problem.line or 0))
        raise ConfigurationError("the settings are not valid", problems=problems, root=root)
    return Settings(**values)


def sources(root: Path | None) -> dict[str, Source]:
    """Where the settings that are set come from, by name."""
    table = (read_table(root) if root else None) or {}
    env_file = root / ".env" if root else None
    from_file = _variables_in(env_file) if env_file else {}
    found = {}
    for name, one in SETTINGS.items():
        here, there = [], []
        for variable in filter(None, (variable_of(name), one.metadata["switch"])):
            text, in_file = os.environ.get(variable), from_file.get(variable)
            switches = variable == one.metadata["switch"]
            if text and text != in_file:
                here.append(Source(name, "false" if switches else text, variable=variable))
            elif in_file:  # it may be in the environment already, read from there
                there.append(Source(name, "false" if switches else in_file, env_file, variable))
        if given_there := [*here, *there]:
            found[name] = given_there[0]
        elif root and name in table:
            found[name] = Source(name, table[name], root / FILE)
    return found


def read_table(root: Path) -> dict[str, Any] | None:
    """The table `[tool.dataflow]` of a project; None where `root` is none.

    Raises:
        ConfigurationError: the file that has the table is not valid TOML.
    """
    path = root / FILE
    try:
        found = path.stat()
    except OSError:
        return None
    return _parsed(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=16)
def _parsed(path: Path, changed: int, size: int) -> dict[str, Any] | None:
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return None
    try:
        data = tomllib.loads(text.replace("\r\n", "\n"))
        text.encode()  # not UTF-8?
    except ValueError as error:
        if not re.search(r"tool\s*\.\s*dataflow", text):
            return None  # of something else
        problem = Problem("not UTF-8 text", path, None, "Save it as UTF-8.")
        if at := re.match(r"(.*) \(at (?:line (\d+)|end of document)", str(error)):
            line = int(at[2] or len(text.splitlines()))
            hint = "Correct that line, or the one above it."
            problem = Problem(f"not valid TOML: {at[1]}", path, line, hint)
        raise ConfigurationError(
            "the project's file cannot be read", problems=[problem], root=path.parent
        ) from None
    tool = data.get("tool")
    if not isinstance(tool, dict) or "dataflow" not in tool:
        return None
    if not isinstance(tool["dataflow"], dict):
        problem = Problem(f"`{TABLE}` is not a table", path, None, f"Write [{TABLE}] above them.")
        raise ConfigurationError("the settings are not valid", problems=[problem], root=path.parent)
    return tool["dataflow"]


def _variables_in(path: Path) -> dict[str, str | None]:
    """The variables of `.env`, if ours are among them."""
    try:
        if "DATAFLOW_" not in path.read_text("utf-8", "replace"):
            return {}
    except OSError:
        return {}
    from dotenv import dotenv_values

    return dotenv_values(path)


def _line(path: Path, pattern: str) -> int | None:
    """The last line of a file that begins with `pattern`: the one that counts in `.env`."""
    lines = path.read_text("utf-8", "replace").splitlines()
    found = [number for number, line in enumerate(lines, start=1) if re.match(pattern, line)]
    return found[-1] if found else None


def _line_in_table(path: Path, name: str) -> int | None:
    """The line of a setting in pyproject.toml; that of the table for one written unusually."""
    header, key = r"\s*\[+\s*tool\s*\.\s*dataflow\b", rf"""\s*["']?{re.escape(name)}["']?\s*[.=]"""
    inside, line_of_table = False, None
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if re.match(header, line):
            inside, line_of_table = True, line_of_table or number
            if re.search(rf"dataflow\s*\.\s*{re.escape(name)}\s*\]", line):
                return number
        elif line.lstrip().startswith("["):
            inside = False
        elif inside and re.match(key, line):
            return number
    return line_of_table
