"""Read the SQL out of dashboard pages, the way Evidence does, and make it ready to run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from dataflow.dashboard.source_query import without_semicolon
from dataflow.project import Project
from dataflow.workflows.ids import slug_of

_FENCE = re.compile(
    r"^ {0,3}(?P<mark>`{3,}|~{3,})[ \t]*(?P<language>[^\s`]*)[ \t]*(?P<name>[^`]*)$"
)
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)
# A fence in one of these is a listing; in any other language, a query of that name.
_LISTINGS = frozenset(
    {
        *("javascript", "js", "typescript", "ts", "json", "webmanifest", "svelte", "dart"),
        *("html", "markup", "xml", "svg", "mathml", "ssml", "atom", "rss", "css"),
        *("sql", "python", "py", "r", "matlab", "dax", "ruby", "rb", "php", "go", "rust"),
        *("java", "kotlin", "kt", "kts", "csharp", "cs", "dotnet", "c++", "cpp", "c"),
        *("bash", "sh", "shell", "powershell", "yaml", "yml", "markdown", "md"),
        *("code", "plaintext"),
    }
)
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_HIDDEN = re.compile(r"<!--.*?-->|^ {0,3}(`{3,}|~{3,}).*?^ {0,3}\1", re.DOTALL | re.MULTILINE)
PLACEHOLDER = re.compile(r"\$\{(.*?)\}", re.DOTALL)
_ATTRIBUTE = r"""\b{name}\s*=\s*(?:"([^"]*)"|'([^']*)'|\{{([^}}]*)\}}|([^\s>"'{{]+))"""


def shown_text(text: str) -> str:
    """A page's text with blanks in the place of comments and listings, at the same offsets."""
    return _HIDDEN.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def is_usable_name(name: str) -> bool:
    """Whether Evidence makes a query of that name; it silently drops those with another."""
    return bool(_NAME.fullmatch(name)) and name.lower() not in _LISTINGS


@dataclass(frozen=True)
class PageQuery:
    """A query of a page.

    Args:
        name: what the page's components call it.
        sql: as written.
        path: the file it is in: the page, or a file of `evidence/queries`.
        line: the file's line of the query's first line.
    """

    name: str
    sql: str
    path: Path
    line: int


@dataclass(frozen=True)
class Page:
    """A page with its queries.

    Args:
        path: the file.
        text: all of it.
        queries: its own and those it takes from `evidence/queries`.
    """

    path: Path
    text: str
    queries: tuple[PageQuery, ...]


def read_pages(project: Project, workflow_ids: Iterable[str] | None = None) -> Iterator[Page]:
    """The project's pages, in the order of their paths.

    Args:
        workflow_ids: only the pages of these workflows; all when None.
    """
    folder = project.evidence / "pages"
    wanted = None if workflow_ids is None else {slug_of(one) for one in workflow_ids}
    for path in sorted(folder.rglob("*.md")):
        first = path.relative_to(folder).parts[0].removesuffix(".md")
        if ".ipynb_checkpoints" in path.parts or (wanted is not None and first not in wanted):
            continue
        text = path.read_text(encoding="utf-8")
        queries = (*_shared_queries(project, text), *_own_queries(path, text))
        yield Page(path, text, queries)


def page_address(project: Project, path: Path) -> str | None:
    """Where the dashboards show the page of a file; None for one that is made for each value.

    Args:
        project: the project.
        path: a file below `evidence/pages/`.
    """
    parts = path.relative_to(project.evidence / "pages").with_suffix("").parts
    if any(part.startswith("[") for part in parts):
        return None
    shown = parts[:-1] if parts[-1] == "index" else parts
    return quote(f"/{'/'.join(shown)}")


def _own_queries(page: Path, text: str) -> Iterator[PageQuery]:
    mark = name = ""
    start = 0
    body: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not mark:
            fence = _FENCE.match(line)
            if fence:
                mark, start, body = fence["mark"], number + 1, []
                language, rest = fence["language"], fence["name"].strip()
                if language.lower() == "sql":
                    name = rest
                else:
                    name = "" if language.lower() in _LISTINGS else language
        elif line.strip() and not line.strip().strip(mark[0]) and len(line.strip()) >= len(mark):
            if name:
                yield PageQuery(name, "\n".join(body), page, start)
            mark = ""
        else:
            body.append(line)


def _shared_queries(project: Project, text: str) -> Iterator[PageQuery]:
    """The files of `evidence/queries` that the page's front matter names."""
    front = _FRONT_MATTER.match(text)
    if not front or "queries" not in front[1]:
        return
    import yaml

    try:
        values = yaml.safe_load(front[1])
    except yaml.YAMLError:
        return
    listed = values.get("queries") if isinstance(values, dict) else None
    for entry in listed if isinstance(listed, list) else []:
        name, file = next(iter(entry.items())) if isinstance(entry, dict) else (None, entry)
        path = project.evidence / "queries" / str(file)
        if path.is_file():
            stem = str(file).removesuffix(".sql").replace("/", "_")
            yield PageQuery(str(name or stem), path.read_text(encoding="utf-8"), path, 1)


class SelfReference(Exception):
    """A query refers to itself."""


@dataclass(frozen=True)
class Filled:
    """SQL without placeholders.

    Args:
        sql: the text.
        guessed: whether a value in it is a guess that the page might not confirm.
    """

    sql: str
    guessed: bool


def fill(query: PageQuery, page: Page, seen: tuple[str, ...] = ()) -> Filled:
    """Put other queries and the inputs' defaults in the place of `${…}`.

    Args:
        seen: the queries that this one is inserted into.

    Raises:
        SelfReference: it refers to itself, or to one that refers to it.
    """
    if query.name in seen:
        raise SelfReference(query.name)
    others = {other.name: other for other in page.queries}
    guessed = False
    sql = ""
    end = 0
    for match in PLACEHOLDER.finditer(query.sql):
        sql += query.sql[end : match.start()]
        end = match.end()
        expression = match[1].strip()
        if expression in others:
            filled = fill(others[expression], page, (*seen, query.name))
            sql += f"({without_semicolon(filled.sql)}\n)"
        else:
            filled = _placeholder_value(expression, page.text, sql)
            sql += filled.sql
        guessed |= filled.guessed
    return Filled(sql + query.sql[end:], guessed)


def _placeholder_value(expression: str, page: str, before: str) -> Filled:
    """A value for `${expression}`.

    Args:
        expression: `inputs.region.value`, `inputs.when.start`, `params.id`, any JavaScript.
        page: the page's text, whose components say the inputs' defaults.
        before: the query up to here: in quotes, after `in`, …
    """
    quoted = before.count("'") % 2 == 1
    match = re.match(r"inputs\s*\.\s*(\w+)(?:\s*\.\s*(\w+))?", expression)
    if match:
        component = _component(page, match[1])
        if component and (value := _default(component, match[2], quoted)) is not None:
            return Filled(value, guessed=False)
        if match[2] in ("start", "end"):
            day = "2020-01-01" if match[2] == "start" else "2020-12-31"
            return Filled(day if quoted else f"'{day}'", guessed=not quoted)
    if quoted:
        return Filled("0", guessed=True)
    if re.search(r"\bin\s*$", before, re.IGNORECASE):
        return Filled("(NULL)", guessed=False)
    return Filled("NULL", guessed=True)


def _component(page: str, name: str) -> str | None:
    """The component that sets the input `name`, with all that is inside it."""
    tag = re.search(
        rf"<([A-Z]\w*)\b[^<]*?\bname\s*=\s*[\"'{{]*{re.escape(name)}\b", page, re.DOTALL
    )
    if not tag:
        return None
    rest = page[tag.start() :]
    ends = [rest.find(f"</{tag[1]}>"), rest.find("/>")]
    # Self-closing children come before the closing tag; a self-closing component has none.
    if ends[0] >= 0 and re.match(r"<[A-Z]\w*\b[^<]*?(?<!/)>", rest, re.DOTALL):
        return rest[: ends[0]]
    return rest[: ends[1]] if ends[1] >= 0 else rest


def _default(component: str, part: str | None, quoted: bool) -> str | None:
    """The input's first value as SQL text; None when it depends on the data."""
    kind = re.match(r"<(\w+)", component)
    kind_name = kind[1] if kind else ""
    head = component.split(">", 1)[0]
    if kind_name == "DateRange":
        return None
    if part == "search" or kind_name == "TextInput":
        return _attribute(head, "defaultValue") or ""
    value = _attribute(head, "defaultValue")
    if value is None:
        items = re.findall(r"<\w+(?:Item|Option)\b[^>]*>", component)
        chosen = next((item for item in items if re.search(r"\bdefault\b", item)), None)
        if chosen is None and items and kind_name == "Dropdown":
            chosen = items[0]
        value = _attribute(chosen, "value") if chosen else None
    if value is None and kind_name == "Slider":
        value = _attribute(head, "min") or "0"
    if value is None and kind_name == "Checkbox":
        value = "true" if re.search(r"\bchecked\b", head) else "false"
    if value is None:
        return None
    if re.search(r"\bmultiple\b", head):
        values = re.findall(r"[\"']([^\"']*)[\"']", value) or [value]
        return "(" + ", ".join("'" + one.replace("'", "''") + "'" for one in values) + ")"
    return value if not quoted else value.replace("'", "''")


def _attribute(tag: str, name: str) -> str | None:
    match = re.search(_ATTRIBUTE.format(name=name), tag)
    return next((group for group in match.groups() if group is not None), None) if match else None
