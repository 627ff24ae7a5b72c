"""What SQL statements do, judged before they run: only read, change something, destroy data.

DuckDB's own parser tells the kind of a statement, its words tell the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataflow.base.sql import quote

if TYPE_CHECKING:
    import duckdb

_WORD = re.compile(
    r"""--[^\n]*|/\*.*?\*/             # comments
    |"(?:[^"]|"")*"                    # quoted names
    |[eE]'(?:\\.|''|[^'\\])*'          # texts
    |'(?:[^']|'')*'
    |\$(\w*)\$.*?\$\1\$
    |\w+|\S""",
    re.VERBOSE | re.DOTALL,
)
# The words of each statement between its verb and the table's name.
_BEFORE_NAME = {
    "INSERT": {"OR", "REPLACE", "IGNORE", "INTO"},
    "UPDATE": {"ONLY"},
    "DELETE": {"FROM", "ONLY"},
    "MERGE": {"INTO"},
    "TRUNCATE": {"TABLE"},
    "ALTER": {"TABLE", "IF", "EXISTS", "ONLY"},
    "COPY": set[str](),
}
_DEFAULT_SCHEMA = "main"

# Settings and DuckDB's own functions last as long as the connection. Kinds that are not listed here
# write to tables, files (COPY … TO, EXPORT), other databases (ATTACH) or the machine (INSTALL), or
# run a prepared statement.
_READING = {"SELECT", "EXPLAIN", "PRAGMA", "CALL", "SET", "VARIABLE_SET"}
# The statements that EXPLAIN ANALYZE, which runs its statement, may run.
_READING_VERBS = {"EXPLAIN", "SELECT", "FROM", "VALUES", "TABLE", "PIVOT", "UNPIVOT", "DESCRIBE",
                  "SUMMARIZE", "SHOW", "("}  # fmt: skip


@dataclass(frozen=True)
class Statement:
    """One statement as it was written.

    Args:
        parts: what DuckDB runs for it, in this order; of a PIVOT it makes two statements.
        text: its SQL; empty where DuckDB does not give it, of a PIVOT among several statements, say.
    """

    parts: tuple[duckdb.Statement, ...]
    text: str

    @property
    def verb(self) -> str:
        """Its verb in SQL, such as `DELETE`."""
        return next(iter(self._words), self.parts[-1].type.name)

    @property
    def only_reads(self) -> bool:
        """Whether it changes nothing: no database and no file."""
        kinds = [part.type.name for part in self.parts]
        if kinds[0] == "EXPLAIN":
            return self.verb in _READING_VERBS
        if kinds[-1] == "SELECT":  # the first part of a PIVOT makes a type for the second
            kinds = [
                k for k, part in zip(kinds, self.parts, strict=True) if part.query or k != "CREATE"
            ]
        return _READING.issuperset(kinds)

    @property
    def destroys(self) -> bool:
        """Whether it drops something or deletes all rows of a table, or may do so."""
        words = _without_parentheses(self._words)
        return (
            not self.text
            or self.verb in ("DROP", "TRUNCATE")
            or (self.verb == "DELETE" and "WHERE" not in words)
            or (self.verb == "ALTER" and "DROP" in words)
        )

    @property
    def replaces(self) -> str | None:
        """The table that a CREATE OR REPLACE TABLE names, if it is one, as SQL."""
        if self._words[:4] != ["CREATE", "OR", "REPLACE", "TABLE"]:
            return None
        parts, _ = _name(self._words, 4)
        return ".".join(map(quote, parts))

    @property
    def _words(self) -> list[str]:
        return _main_statement(list(_words(self.text)))


def parse(sql: str) -> list[Statement]:
    """The statements of some SQL; nothing is run, and no database opened.

    Raises:
        duckdb.Error: a mistake in it.
    """
    import duckdb

    statements: list[Statement] = []
    waiting: list[duckdb.Statement] = []
    with duckdb.connect() as connection:
        for part in connection.extract_statements(sql):
            waiting.append(part)
            if part.query:  # parts that DuckDB adds have no text
                statements.append(Statement(tuple(waiting), part.query))
                waiting = []
    if waiting:
        statements.append(Statement(tuple(waiting), ""))
    if len(statements) == 1:
        return [Statement(statements[0].parts, sql)]
    return statements


def changed_tables(statements: Iterable[str], catalog: str) -> set[tuple[str, str]]:
    """The tables whose rows or columns the statements change, as (schema, table) in lower case.

    What is made, replaced, renamed or dropped is not among them: it shows in the catalog.

    Args:
        statements: those of one connection, in their order.
        catalog: the database's name.
    """
    found = set()
    path = [_DEFAULT_SCHEMA]
    for statement in statements:
        words = list(_words(statement))
        path = _search_path(words, catalog) or path
        name = _target(words)
        if len(name) > 1 and name[0] == catalog and (len(name) > 2 or name[0] != path[0]):
            name = name[1:]
        if len(name) == 1:
            found |= {(schema, name[0]) for schema in path}
        elif len(name) == 2:
            found.add((name[0], name[1]))
    return found


def _words(statement: str) -> Iterator[str]:
    """The words, without comments; unquoted names in upper case."""
    for match in _WORD.finditer(statement):
        word = match[0]
        if not word.startswith(("--", "/*")):
            yield word if word[0] in "\"'" else word.upper()


def _target(words: list[str]) -> list[str]:
    """The parts of the name that is changed; none when nothing is."""
    words = _main_statement(words)
    verb = words[0] if words else ""
    if verb not in _BEFORE_NAME:
        return []
    start = 1
    while start < len(words) and words[start] in _BEFORE_NAME[verb]:
        start += 1
    if verb == "ALTER" and words[1:2] != ["TABLE"]:
        return []
    name, end = _name(words, start)
    if verb == "COPY":
        if words[end : end + 1] == ["("]:  # its columns
            end = _closing(words, end) + 1
        if words[end : end + 1] != ["FROM"]:
            return []
    return name


def _main_statement(words: list[str]) -> list[str]:
    """The words without leading EXPLAIN ANALYZE, PREPARE … AS, common table expressions."""
    if words[:2] == ["EXPLAIN", "ANALYZE"]:
        return _main_statement(words[2:])
    if words[:2] == ["EXPLAIN", "("] and "ANALYZE" in words[: (end := _closing(words, 1))]:
        return _main_statement(words[end + 1 :])
    if words[:1] == ["PREPARE"] and "AS" in words:
        return _main_statement(words[words.index("AS") + 1 :])
    if words[:1] == ["WITH"]:
        position = 1
        while position < len(words):
            if words[position] == "(":
                position = _closing(words, position)
            elif words[position] in _BEFORE_NAME or words[position] in ("SELECT", "FROM"):
                return words[position:]
            position += 1
        return []
    return words


def _search_path(words: list[str], catalog: str) -> list[str]:
    """The schemas of names without one from here on; none when that does not change."""
    if words[:1] == ["USE"]:
        name, _ = _name(words, 1)
        if name == [catalog]:
            return [catalog, _DEFAULT_SCHEMA]  # a schema of that name, or the database
        return name[-1:]
    if words[:1] == ["SET"]:
        words = [word for word in words[1:] if word not in ("SESSION", "LOCAL", "GLOBAL")]
        if words[:1] in (["SCHEMA"], ["SEARCH_PATH"]) and len(words) > 2:
            listed = "".join(words[2:]).strip(";").replace("'", "").replace('"', "")
            return [part.rpartition(".")[2].strip().lower() for part in listed.split(",")]
    return []


def _name(words: list[str], start: int) -> tuple[list[str], int]:
    """The parts of the name at `start`, in lower case, and the position after it."""
    parts = []
    while start < len(words):
        word = words[start]
        parts.append(word[1:-1].replace('""', '"').lower() if word[0] == '"' else word.lower())
        start += 1
        if words[start : start + 1] != ["."]:
            break
        start += 1
    return parts, start


def _without_parentheses(words: list[str]) -> list[str]:
    kept = []
    position = 0
    while position < len(words):
        position = _closing(words, position) if words[position] == "(" else position
        kept += words[position : position + 1]
        position += 1
    return kept


def _closing(words: list[str], opening: int) -> int:
    depth = 0
    for position in range(opening, len(words)):
        depth += {"(": 1, ")": -1}.get(words[position], 0)
        if not depth:
            return position
    return len(words)
