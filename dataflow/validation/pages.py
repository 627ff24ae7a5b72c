"""A workflow's dashboard pages, checked without building them."""

from __future__ import annotations

import contextlib
import re

from dataflow.base.words import nearest
from dataflow.dashboard.catalog import PROJECT_SOURCE
from dataflow.dashboard.check import check_pages, warnings_of
from dataflow.dashboard.export import exported_files
from dataflow.dashboard.pages import read_pages, shown_text
from dataflow.dashboard.source_query import without_semicolon
from dataflow.errors import DataflowError, Problem
from dataflow.project import Project
from dataflow.validation.columns import columns_to_come
from dataflow.warehouse.store import Connection
from dataflow.workflows.ids import slug_of

DATA = re.compile(r"\bdata=\{\s*([A-Za-z_$][\w$]*)\s*\}")
# Names that a page's own code may give its data: loop variables, {@const …}, script variables.
LOCAL = re.compile(r"\bas\s+([\w$]+)|\b(?:let|const|var|import|export let)\s+([\w$]+)")


def check_workflow_pages(project: Project, workflow_id: str, *, now: bool = True) -> list[Problem]:
    """Check the workflow's pages: their queries, and that their components name queries.

    Args:
        now: take tables whose columns cannot be told from SQL as they are now; without it,
            queries on those are not judged.
    """
    folder = project.evidence / "pages"
    slug = slug_of(workflow_id)
    paths = [*sorted((folder / slug).rglob("*.md")), *folder.glob(f"{slug}.md")]
    problems = []
    for path in paths:
        try:
            path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            hint = "Save it as UTF-8."
            problems.append(Problem(f"the page cannot be read: {error}", path, hint=hint))
    if problems or not paths:
        return problems
    return [
        *_query_problems(project, workflow_id, now),
        *_component_problems(project, workflow_id),
    ]


def table_warnings(project: Project, workflow_id: str) -> list[Problem]:
    """Warnings about exported tables that browsers cannot show exactly."""
    return warnings_of(project, workflow_id, exported_files(project).get(workflow_id, {}))


def _query_problems(project: Project, workflow_id: str, now: bool) -> list[Problem]:
    files = exported_files(project)
    columns = columns_to_come(project, workflow_id)
    exported = files.get(workflow_id, {})
    if now:
        columns = _columns_now(project, workflow_id, {*exported, *columns}) | columns
    else:
        files[workflow_id] = {table: path for table, path in exported.items() if table in columns}
    problems = check_pages(project, [workflow_id], files, {workflow_id: columns})
    if PROJECT_SOURCE in files:
        return problems
    # Before the first export the project's own tables do not exist, which is no mistake.
    own = f"there is no table {PROJECT_SOURCE}."
    return [problem for problem in problems if own not in problem.message]


def _columns_now(project: Project, workflow_id: str, known: set[str]) -> dict[str, list[str]]:
    """The columns of tables that were not exported yet, as the published tables make them."""
    import duckdb

    found = {}
    for path in sorted((project.evidence / "sources" / workflow_id).glob("*.sql")):
        if path.stem in known:
            continue
        # What is wrong with the query, or not published yet, is said elsewhere.
        with contextlib.suppress(DataflowError, duckdb.Error, UnicodeDecodeError):
            query = f"DESCRIBE {without_semicolon(path.read_text(encoding='utf-8'))}"
            with Connection(project, "published") as conn:
                found[path.stem] = [str(row[0]) for row in conn.execute(query).fetchall()]
    return found


def _component_problems(project: Project, workflow_id: str) -> list[Problem]:
    problems = []
    for page in read_pages(project, [workflow_id]):
        queries = {query.name for query in page.queries}
        known = queries | {name for match in LOCAL.findall(page.text) for name in match if name}
        for match in DATA.finditer(shown_text(page.text)):
            if match[1] not in known:
                problems.append(
                    Problem(
                        f"a component shows `{match[1]}`, and the page has no query of that name",
                        page.path,
                        page.text.count("\n", 0, match.start()) + 1,
                        nearest(match[1], queries) or f"Add one: ```sql {match[1]}",
                    )
                )
    return problems
