"""The documentation as pages: on the dashboards' server at `/docs`, and as files to pass on.

Both are made by the same templates, with relative links between them::

    index.html                     the workflows, how they hang together, the search
    <workflow>/index.html          one of them
    <workflow>/outputs/ingest.html the outputs of a stage's latest good run; served from /runs
"""

from __future__ import annotations

import base64
import contextlib
import glob
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import groupby, islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
from markupsafe import Markup

from dataflow.addresses import public_url
from dataflow.base.sql import TableName
from dataflow.documentation.gather import gather, sources
from dataflow.documentation.lineage import Lineage, Node, draw, lineage_of
from dataflow.documentation.markdown import to_html
from dataflow.documentation.model import Documentation, StageDoc, TableDoc, WorkflowDoc
from dataflow.documentation.search import Entry, Hit, entries_of, search
from dataflow.engine.secrets import Scrubber
from dataflow.errors import ConfigurationError, DataflowError
from dataflow.project import Project
from dataflow.runs.html import copy_page, page_of
from dataflow.runs.record import Run, newest_first
from dataflow.services.pages import render
from dataflow.stages.execute import machine_paths
from dataflow.variables import secrets_of

ADDRESS = "/docs/"
LOOK_BACK = 200  # runs in which a stage's latest good outputs are looked for
INDEXED = 4_000  # characters of an entry that the search of the files knows
MARK = ".dataflow-docs"  # is in a folder that was made here, and may be replaced


@dataclass(frozen=True)
class Output:
    """The executed notebook of a stage's latest good run.

    Args:
        run: the run.
        notebook: the notebook.
        address: of its page, from the workflow's.
    """

    run: Run
    notebook: Path
    address: str


@dataclass(frozen=True)
class State:
    """What is known at a time: the documentation, and what follows from it."""

    documentation: Documentation

    @cached_property
    def lineage(self) -> Lineage:
        """How everything follows from each other."""
        return lineage_of(self.documentation)

    @cached_property
    def entries(self) -> list[Entry]:
        """What can be found."""
        return entries_of(self.documentation)

    @cached_property
    def places(self) -> dict[TableName, tuple[str, TableDoc]]:
        """Each table with its workflow."""
        return {doc.name: (owner, doc) for owner, doc in self.documentation.all_tables()}

    @cached_property
    def readers(self) -> dict[TableName, list[Node]]:
        """What reads each table."""
        by_key = {f"table {str(table).lower()}": table for table in self.places}
        found: dict[TableName, list[Node]] = {}
        for start, end in self.lineage.edges:
            if start in by_key:
                found.setdefault(by_key[start], []).append(self.lineage.nodes[end])
        return found


class DocumentationPages:
    """The pages as the server shows them: read again when a file changed.

    Args:
        project: the project.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._lock = threading.Lock()
        self._known: tuple[dict[str, tuple[int, int]], State] | None = None

    def home(self, query: str = "", missing: str = "") -> str:
        """The first page.

        Args:
            query: words to search for.
            missing: the id of a workflow that was asked for and is not there.
        """
        state = self._state()
        hits = search(state.entries, query) if query.strip() else None
        return _home(self._project, state, query=query[:200], hits=hits, missing=missing)

    def workflow(self, workflow_id: str) -> str | None:
        """A workflow's page; None when there is none of that id."""
        state = self._state()
        if workflow_id not in state.documentation.workflows:
            return None
        return _workflow(self._project, state, workflow_id, _outputs(self._project, workflow_id))

    def _state(self) -> State:
        with self._lock:
            now = sources(self._project)
            if self._known is None or self._known[0] != now:
                self._known = now, State(gather(self._project))
            return self._known[1]


def build_documentation(project: Project, target: Path) -> Path:
    """Write the documentation as files that need no server, and no network.

    The folder is made aside and then takes its place, so that a reader never has half of it.

    Args:
        project: the project.
        target: the folder to make; one that was made here is replaced.

    Returns:
        The first page.

    Raises:
        ConfigurationError: the folder has something else in it.
        DataflowError: it cannot be written.
    """
    target = target.resolve()
    if target.exists() and (not target.is_dir() or _is_somebody_elses(target)):
        raise ConfigurationError(
            "the folder holds something else than documentation", where=str(target),
            hint="Choose another folder with --output, or empty this one.",
        )  # fmt: skip
    if project.root.is_relative_to(target):
        raise ConfigurationError("the project is in that folder", where=str(target))
    state = State(gather(project))
    scrub = Scrubber(secrets_of(project.notebooks / "any")).with_paths(machine_paths(project))
    try:
        with _replaced(target) as draft:
            (draft / MARK).touch()
            _write(draft / "index.html", scrub.text(_home(project, state, static=True)))
            for workflow_id in state.documentation.workflows:
                folder = draft / workflow_id
                outputs = _copied(_outputs(project, workflow_id), folder)
                page = _workflow(project, state, workflow_id, outputs, static=True)
                _write(folder / "index.html", scrub.text(page))
    except OSError as error:
        raise DataflowError(
            f"the documentation cannot be written: {error.strerror or error}",
            where=str(error.filename or target),
            hint="Choose a folder with free space, where your user may write.",
        ) from error
    return target / "index.html"


def _is_somebody_elses(folder: Path) -> bool:
    return not (folder / MARK).exists() and any(folder.iterdir())


@contextlib.contextmanager
def _replaced(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its place at the end; what kills left is removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.draft"):
        pid = left.name.rsplit(".", 2)[1].removesuffix("-old")
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    draft.mkdir()
    old = draft.with_name(f".{target.name}.{os.getpid()}-old.draft")
    try:
        yield draft
        if target.exists():
            target.rename(old)
        draft.rename(target)
    finally:
        for folder in (draft, old):
            shutil.rmtree(folder, ignore_errors=True)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8", errors="backslashreplace")


def _outputs(project: Project, workflow_id: str) -> dict[str, Output]:
    """By stage its page in the newest run that succeeded, of those that executed it."""
    found: dict[str, Output] = {}
    for run in islice(newest_first(project, workflow_id), LOOK_BACK):
        if run.status != "succeeded":
            continue
        for name, step in run.steps.items():
            file = step.get("notebook")
            notebook = run.folder / str(file)
            if name in found or not file or step.get("status") != "succeeded":
                continue
            if notebook.is_file():
                place = (run.folder.parent.name, run.folder.name, f"{notebook.stem}.html")
                found[name] = Output(run, notebook, "/runs/" + "/".join(map(quote, place)))
        if all(name in found for name, step in run.steps.items() if step.get("notebook")):
            break
    return found


def _copied(outputs: dict[str, Output], folder: Path) -> dict[str, Output]:
    """The outputs with their pages copied beside a workflow's; without those that have none."""
    copied = {}
    for number, (name, output) in enumerate(outputs.items(), start=1):
        file = f"{number}.html"
        try:
            page = page_of(output.notebook)
        except Exception:  # whatever there is in the notebook
            continue
        (folder / "outputs").mkdir(parents=True, exist_ok=True)
        with (folder / "outputs" / file).open("wb") as target:
            copy_page(page, target, f"Documentation of {folder.name}", "../index.html")
        copied[name] = Output(output.run, output.notebook, f"outputs/{file}")
    return copied


def _home(
    project: Project,
    state: State,
    *,
    static: bool = False,
    query: str = "",
    hits: list[Hit] | None = None,
    missing: str = "",
) -> str:
    link = _links("", static)
    of_workflows = state.lineage.of_workflows(state.documentation)
    return render(
        "docs.html",
        title="Documentation",
        static=static,
        policy=_policy() if static else None,
        script=_script(),
        index=_index(state.entries, link) if static else "",
        docs=state.documentation,
        drawing=draw(of_workflows, lambda node: link(node.workflow_id, ""), "Workflows"),
        link=link,
        markdown=lambda text: to_html(text, lower=2),
        query=query,
        hits=hits,
        missing=missing,
        project=project.root.name,
        crumbs=[],
    )


def _workflow(
    project: Project,
    state: State,
    workflow_id: str,
    outputs: dict[str, Output],
    *,
    static: bool = False,
) -> str:
    workflow: WorkflowDoc = state.documentation.workflows[workflow_id]
    link = _links("../", static)

    def address(node: Node) -> str:
        own = node.workflow_id == workflow_id
        return f"#{node.anchor}" if own else link(node.workflow_id, node.anchor)

    def table(name: TableName) -> Markup:
        owner, doc = state.places.get(name, ("", None))
        if doc is None:
            return Markup("<code>{}</code>").format(name)
        to = f"#{doc.anchor}" if owner == workflow_id else link(owner, doc.anchor)
        return Markup('<a href="{}"><code>{}</code></a>').format(to, name)

    around = state.lineage.around(workflow_id)
    return render(
        "docs_workflow.html",
        title=workflow.name,
        static=static,
        policy=_policy() if static else None,
        workflow=workflow,
        problems=[(problem.where(project.root), problem) for problem in workflow.problems],
        stage_tables=[doc for doc in workflow.tables if doc.kind == "table"],
        models=[doc for doc in workflow.tables if doc.kind != "table"],
        outputs=outputs,
        drawing=draw(around, address, f"Where the data of {workflow.name} comes from and goes to"),
        link=link,
        table=table,
        node_address=address,
        readers=state.readers,
        cells=_cells,
        markdown=lambda text: to_html(text, lower=3),
        public=public_url(project, "evidence") if static else "",
        # Served pages have a link to the first page above them.
        crumbs=[("Docs", link("", ""))] if static else [(workflow.name, "./")],
    )


def _links(root: str, static: bool) -> Callable[[str, str], str]:
    """Addresses of workflows' pages, and of places on them, from a page `root` below the first."""
    file = "index.html" if static else ""

    def link(workflow_id: str, anchor: str) -> str:
        page = f"{quote(workflow_id)}/{file}" if workflow_id else file
        return (f"{root}{page}" or "./") + (f"#{anchor}" if anchor else "")

    return link


def _cells(stage: StageDoc) -> Iterator[tuple[str, Any]]:
    """A stage's text as HTML, and its code in one piece between two texts, with its lines."""
    for kind, cells in groupby(stage.cells, key=lambda cell: cell.kind):
        if kind == "markdown":
            for cell in cells:
                yield "text", to_html(cell.text, cell.images, lower=3)
        else:
            code = "\n\n".join(cell.text for cell in cells)
            yield "code", code


def _index(entries: list[Entry], link: Callable[[str, str], str]) -> Markup:
    """What the search of the files knows, as JSON that can stand in a page."""
    listed = [
        [
            one.kind,
            one.title,
            one.workflow_id,
            link(one.workflow_id, one.anchor),
            one.text[:INDEXED],
        ]
        for one in entries
    ]
    text = json.dumps(listed, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026"))


@cache
def _script() -> Markup:
    """The search of the files; nothing else on them runs."""
    return Markup((Path(__file__).parent / "templates" / "docs_search.js").read_text("utf-8"))


@cache
def _policy() -> str:
    """The policy of the files, which each carries in itself."""
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; img-src data:; "
        "style-src 'unsafe-inline'; frame-src 'self' file:; form-action 'none'; base-uri 'none'"
    )
