"""Which table a SQL statement changes, judged from its words.

Only for the rows of tables: tables that are created, replaced, renamed or dropped show in the
catalog.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

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


def changed_tables(statements: Iterable[str], catalog: str) -> set[tuple[str, str]]:
    """The tables whose rows or columns the statements change, as (schema, table) in lower case.

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


def _closing(words: list[str], opening: int) -> int:
    depth = 0
    for position in range(opening, len(words)):
        depth += {"(": 1, ")": -1}.get(words[position], 0)
        if not depth:
            return position
    return len(words)
