"""Find words in the documentation."""

from __future__ import annotations

from dataclasses import dataclass

from dataflow.documentation.model import Documentation, PageDoc, TableDoc

MOST = 50  # results
AROUND = 70  # characters on each side of what was found


@dataclass(frozen=True)
class Entry:
    """Something that can be found.

    Args:
        kind: workflow, stage, op, table, model, seed, snapshot, column or dashboard.
        title: its name.
        workflow_id: whose it is; empty for none's.
        anchor: its place on the workflow's page; empty for the page itself.
        text: what is searched besides the title.
    """

    kind: str
    title: str
    workflow_id: str
    anchor: str
    text: str


@dataclass(frozen=True)
class Hit:
    """A result: the entry, and a piece of its text around the first word that was found."""

    entry: Entry
    before: str = ""
    found: str = ""
    after: str = ""


def entries_of(documentation: Documentation) -> list[Entry]:
    """Everything that can be found, in the order of the pages."""
    entries = []
    for workflow in documentation.workflows.values():
        about = [workflow.id, workflow.description, workflow.owner, *workflow.tags, workflow.config]
        entries.append(Entry("workflow", workflow.name, workflow.id, "", _joined(about)))
        for stage in workflow.stages:
            parameters = [f"{one.name} {one.help}" for one in stage.parameters]
            text = _joined([cell.text for cell in stage.cells] + parameters)
            entries.append(Entry(stage.kind, stage.name, workflow.id, stage.anchor, text))
        entries += [entry for table in workflow.tables for entry in _table(workflow.id, table)]
        entries += [_page(workflow.id, page) for page in workflow.pages]
    entries += [entry for table in documentation.tables for entry in _table("", table)]
    return entries + [_page("", page) for page in documentation.pages]


def search(entries: list[Entry], query: str) -> list[Hit]:
    """The entries that have all words of a query, those first that have them in their names."""
    words = query.casefold().split()
    if not words:
        return []
    ranked = []
    for number, entry in enumerate(entries):
        title, text = entry.title.casefold(), entry.text.casefold()
        if all(word in title or word in text for word in words):
            in_title = sum(word in title for word in words)
            ranked.append((-in_title, title not in words, number, entry))
    return [_hit(entry, words) for *_, entry in sorted(ranked, key=lambda one: one[:3])[:MOST]]


def _hit(entry: Entry, words: list[str]) -> Hit:
    lowered = entry.text.casefold()
    if len(lowered) != len(entry.text):  # such as ß, which becomes ss: places would be wrong
        lowered = entry.text.lower()
    places = [(lowered.find(word), len(word)) for word in words if word in lowered]
    if not places or len(lowered) != len(entry.text):
        return Hit(entry, entry.text[: 2 * AROUND])
    at, size = min(places)
    start = max(0, at - AROUND)
    return Hit(
        entry,
        ("…" if start else "") + entry.text[start:at],
        entry.text[at : at + size],
        entry.text[at + size : at + size + AROUND],
    )


def _table(workflow_id: str, table: TableDoc) -> list[Entry]:
    text = _joined([table.description, *table.tests, table.path, table.code])
    return [
        Entry(table.kind, str(table.name), workflow_id, table.anchor, text),
        *(
            Entry(
                "column",
                f"{table.name}.{column.name}",
                workflow_id,
                table.anchor,
                _joined([column.description, column.type, *column.tests]),
            )
            for column in table.columns
        ),
    ]


def _page(workflow_id: str, page: PageDoc) -> Entry:
    return Entry("dashboard", page.title, workflow_id, page.anchor, f"{page.address} {page.text}")


def _joined(parts: list[str]) -> str:
    return " ".join(" ".join(parts).split())
