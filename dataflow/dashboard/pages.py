"""Read the SQL out of dashboard pages, the way Evidence does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dataflow.dashboard.paths import dashboard_url
from dataflow.project import Project

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


def is_usable_name(name: str) -> bool:
    """Whether Evidence makes a query of that name; it silently drops those with another."""
    return bool(_NAME.fullmatch(name)) and name.lower() not in _LISTINGS


@dataclass(frozen=True)
class PageQuery:
    """A query of a page.

    Args:
        name: what the page's components call it.
        sql: as written.
        path: the file it stands in: the page, or a file of `evidence/queries`.
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
        queries: its own ones and those it takes from `evidence/queries`.
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
    wanted = None if workflow_ids is None else {dashboard_url(one)[1:] for one in workflow_ids}
    for path in sorted(folder.rglob("*.md")):
        first = path.relative_to(folder).parts[0].removesuffix(".md")
        if ".ipynb_checkpoints" in path.parts or (wanted is not None and first not in wanted):
            continue
        text = path.read_text(encoding="utf-8")
        queries = (*_shared_queries(project, text), *_own_queries(path, text))
        yield Page(path, text, queries)


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
