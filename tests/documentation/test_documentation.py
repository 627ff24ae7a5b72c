"""What the documentation reads out of a project's files, and what it makes of hostile ones."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import nbformat
import pytest
from dashboard_helpers import write
from projects import Workflow, make_project, markdown, parameters

from dataflow.base.sql import TableName
from dataflow.documentation.gather import gather, sources
from dataflow.documentation.lineage import Lineage, Node, draw, lineage_of
from dataflow.documentation.markdown import to_html
from dataflow.documentation.model import Documentation, anchor_of
from dataflow.documentation.search import entries_of, search
from dataflow.project import Project
from dataflow.warehouse.store import Connection, publish

TOKEN = "abcdefgh12345678"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Two workflows, the second of which reads the first's model; a third that is broken."""
    monkeypatch.setenv("API_TOKEN", TOKEN)
    rivers = Workflow(
        {
            "ingest": [
                markdown("# Get levels\n\nFrom *gauges*."),
                parameters("limit: int | None = 5  # rows\ntoken: str\nday: str"),
                f"# {TOKEN}\nwrite_table(conn, df, 'rivers_raw.levels')",
            ],
            "check": ["conn.sql('SELECT * FROM rivers_raw.levels')  # from rivers.summary"],
        },
        [
            {"notebook": "ingest.ipynb", "writes": ["levels"], "retries": 2, "timeout": 60,
             "parameters": {"token": "${API_TOKEN}"}},
            {"notebook": "check.ipynb", "after": ["ingest"]},
        ],
        {"workflow": {"name": "Rivers", "description": "Water", "schedule": "0 6 * * *"}},
    )  # fmt: skip
    floods = {"report": ["%sql SELECT * FROM Rivers.summary\nx = 1", "y = 'SELECT 1 FROM a.b'"]}
    made = make_project(tmp_path / "project", {"rivers": rivers, "floods": floods})
    write(made.notebooks / "broken" / "config.yaml", "workflow: {name: Broken, scedule: x}\n")
    (made.notebooks / "broken" / "odd näme.ipynb").write_text("{ no notebook")
    models = made.dbt / "models" / "rivers"
    write(models / "staging" / "stg_levels.sql", "select * from {{ source('rivers', 'levels') }}")
    write(
        models / "summary.sql", "-- from rivers_raw.levels\nselect 1 from {{ ref('stg_levels') }}"
    )
    write(
        models / "models.yml",
        """
sources:
  - name: rivers
    schema: rivers_raw
    tables: [{name: levels, description: Raw levels, columns: [{name: gauge, description: Which}]}]
models:
  - name: summary
    description: "{{ doc('about') }}"
    tests: [{unique_combination: {arguments: {columns: [a, b]}}}]
    columns: [{name: gone, description: Was there}, {name: N, data_tests: [not_null, unique]}]
""",
    )
    write(models / "about.md", "{% docs about %}A **summary** of levels{% enddocs %}")
    write(made.evidence / "sources" / "rivers" / "top.sql", "SELECT * FROM rivers.summary")
    page = "---\ntitle: Water levels\n---\n\n```sql all\nSELECT * FROM rivers.top\n```\n"
    write(made.evidence / "pages" / "rivers" / "index.md", page)
    write(made.evidence / "pages" / "about.md", "# About us\n")
    return made


def test_every_part_is_read_from_the_files(project: Project):
    """Parameters, order, tables, models, tests and dashboards are there without any run."""
    found = gather(project)

    rivers = found.workflows["rivers"]
    assert (rivers.name, rivers.schedule) == ("Rivers", "At 06:00, every day (UTC)")
    ingest, check = rivers.stages
    assert [(p.name, p.type, p.default, p.configured, p.help) for p in ingest.parameters] == [
        ("limit", "int | None", "5", "", "rows"),
        ("token", "str", "", "'${API_TOKEN}'", ""),
        ("day", "str", "", "", ""),
    ]
    assert (ingest.retries, ingest.timeout, check.after) == (2, 60, ("ingest",))
    assert check.reads == ingest.writes == (TableName("rivers_raw", "levels"),)
    levels, staging, summary = rivers.tables[0], rivers.tables[2], rivers.tables[1]
    assert (levels.description, levels.columns[0].description) == ("Raw levels", "Which")
    assert staging.name == TableName("rivers_staging", "stg_levels")
    assert staging.reads == (levels.name,)
    assert summary.reads == (staging.name,), "what a comment names is not read"
    assert summary.description == "A **summary** of levels"
    assert summary.tests == ("unique combination: columns a, b",)
    assert [column.tests for column in summary.columns] == [(), ("not null", "unique")]
    (page,) = rivers.pages
    assert (page.title, page.address, page.reads) == ("Water levels", "/rivers", (summary.name,))
    assert [page.title for page in found.pages] == ["About us"]


def test_what_is_published_has_types_and_columns_nobody_described(project: Project):
    """Columns come from the published table; those that are only described are told apart."""
    with Connection(project, "working") as conn:
        conn.execute("CREATE SCHEMA rivers")
        conn.execute("CREATE TABLE rivers.summary AS SELECT 1 AS n, 'x' AS \"odd <b> näme\"")
    publish(project, "rivers")

    (summary,) = [t for t in gather(project).workflows["rivers"].tables if t.name.name == "summary"]

    assert summary.published
    assert summary.rows == 1
    assert [(column.name, column.type, column.tests) for column in summary.columns] == [
        ("n", "INTEGER", ("not null", "unique")),
        ("odd <b> näme", "VARCHAR", ()),
        ("gone", "", ()),
    ]


def test_secrets_stay_names(project: Project):
    """The value of a variable is in no text, also where somebody wrote it into a cell."""
    found = gather(project)

    assert TOKEN not in repr(found)
    assert "# ${API_TOKEN}" in found.workflows["rivers"].stages[0].cells[-1].text


def test_a_broken_workflow_is_there_with_its_problems(project: Project):
    """What cannot be read takes nothing else with it, and says why."""
    broken = gather(project).workflows["broken"]

    assert not broken.is_valid
    assert broken.name == "Broken"
    assert any("scedule" in problem.message for problem in broken.problems)
    (stage,) = broken.stages
    assert "not a valid notebook" in stage.problems[0]


def test_ops_of_a_workflow_in_python_have_their_docstrings(project: Project):
    """A workflow that is written in Python is described without importing it."""
    write(project.notebooks / "ops" / "config.yaml", "workflow: {name: Ops}\n")
    code = 'raise SystemExit\n\n@op\ndef get():\n    """Gets *all*."""\n\n@dg.op(retry=1)\ndef put():\n    pass\n'
    write(project.notebooks / "ops" / "dagster_job.py", code)

    stages = gather(project).workflows["ops"].stages

    assert [(stage.kind, stage.name) for stage in stages] == [("op", "get"), ("op", "put")]
    assert [cell.text for cell in stages[0].cells] == ["Gets *all*."]


def test_a_file_that_may_not_be_read_costs_its_own_part(project: Project):
    """A model and a source query that cannot be read are named, and the rest is there."""
    for folder in (project.dbt / "models" / "rivers", project.evidence / "sources" / "rivers"):
        (folder / "bad.sql").symlink_to("/proc/self/mem")  # which nobody can read from its start

    found = gather(project)

    assert len([problem for problem in found.problems if "bad.sql cannot be read" in problem]) == 2
    assert found.workflows["rivers"].stages
    assert found.workflows["rivers"].pages


def test_lineage_goes_across_workflows(project: Project):
    """A stage that reads another workflow's model follows it, and so do the workflows."""
    found = gather(project)
    lineage = lineage_of(found)

    edges = {(lineage.nodes[a].label, lineage.nodes[b].label) for a, b in lineage.edges}
    assert edges == {
        ("ingest", "levels"),
        ("levels", "check"),
        ("levels", "stg_levels"),
        ("stg_levels", "summary"),
        ("summary", "Water levels"),
        ("summary", "report"),
    }
    assert lineage.of_workflows(found).edges == (("rivers", "floods"),)
    around = lineage.around("floods")
    assert {node.label for node in around.nodes.values()} == {"summary", "report"}


def test_a_changed_file_is_noticed(project: Project):
    """The documentation is read again when any of its files changed, came or went."""
    before = sources(project)
    assert sources(project) == before

    model = project.dbt / "models" / "rivers" / "summary.sql"
    model.write_text("select 12345 from x")
    changed = sources(project)
    model.unlink()

    assert before != changed != sources(project)


def test_search_finds_all_words_and_prefers_names(project: Project):
    """Every word has to be there, in whatever case; names come before texts."""
    entries = entries_of(gather(project))

    def titles(query: str) -> list[str]:
        return [hit.entry.title for hit in search(entries, query)]

    assert titles("SUMMARY")[:3] == ["rivers.summary", "rivers.summary.gone", "rivers.summary.N"]
    assert titles("levels water")[0] == "Water levels"
    assert titles("gauges") == ["ingest"]
    assert titles("summary nowhere") == []
    assert titles("  ") == []
    (hit,) = search(entries, "gauges")
    assert (hit.before.endswith("From *"), hit.found, hit.after[0]) == (True, "gauges", "*")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[a](javascript:alert(1))",
        "[a](java\tscript:alert(1)) [b](  javascript:alert(1))",
        "[a](data:text/html,<script>alert(1)</script>)",
        "[a][x]\n\n[x]: vbscript:alert(1)",
        '[a](https://x.y "><script>alert(1)</script>")',
        "<javascript:alert(1)>",
        "![a](http://elsewhere/x.png)",
        "![a](data:image/svg+xml;base64,PHN2Zz4=)",
        '![" onerror="alert(1)](data:image/png;base64,xx)',
        "```html\n<script>alert(1)</script>\n```",
        "| a |\n|---|\n| <svg onload=alert(1)> |",
        '# " onmouseover="alert(1)',
    ],
)
def test_markdown_has_no_script_and_makes_no_request(text: str):
    """Whatever Markdown says, no tag of it, no script and no foreign picture is in the page."""
    from html.parser import HTMLParser

    seen: list[tuple[str, dict[str, str | None]]] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.append((tag, dict(attrs)))

    Tags().feed(str(to_html(text)))

    for tag, attributes in seen:
        assert tag in {"p", "a", "img", "pre", "code", "table", "thead", "tbody", "tr", "th", "td", "h1"}  # fmt: skip
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("href") or "https:").startswith("https:")
        assert (attributes.get("src") or "data:image/png").startswith("data:image/png")


def test_pictures_that_are_attached_to_a_cell_show(tmp_path: Path):
    """A picture that lies in the notebook needs no request; other types are left out."""
    data = base64.b64encode(b"png").decode()
    cell = nbformat.v4.new_markdown_cell("![a plot](attachment:p.png) ![x](attachment:s.svg)")
    cell["attachments"] = {"p.png": {"image/png": data}, "s.svg": {"image/svg+xml": data}}
    project = make_project(tmp_path, {"flow": {"a": [cell]}})

    (found,) = gather(project).workflows["flow"].stages[0].cells

    html = str(to_html(found.text, found.images))
    assert f'<img src="data:image/png;base64,{data}" alt="a plot">' in html
    assert "[x]" in html


def test_a_drawing_is_quick_has_every_node_and_stands_a_circle():
    """A thousand tables are drawn in a moment, and what reads itself does not hang it."""
    names = [f"n{number}" for number in range(1000)]
    nodes = {name: Node(name, "table", f"<{name}>", "w", name) for name in names}
    edges = tuple((f"n{number // 3}", f"n{number}") for number in range(1, 1000))
    start = time.monotonic()
    drawing = str(draw(Lineage(nodes, edges), lambda node: f"#{node.anchor}", "all"))
    assert time.monotonic() - start < 60
    assert drawing.count("<rect") == 1000
    assert "&lt;n7&gt;" in drawing

    circle = Lineage(
        {name: nodes[name] for name in names[:4]},
        (("n0", "n1"), ("n1", "n2"), ("n2", "n0"), ("n2", "n3")),
    )
    assert str(draw(circle, lambda node: "#", "circle")).count("<rect") == 4
    assert str(draw(Lineage(nodes, ()), lambda node: "#", "nothing")) == ""


def test_anchors_differ_where_names_do():
    """Names with blanks, quotes and umlauts have anchors of their own that fit into an id."""
    anchors = [anchor_of("stage", name) for name in ("a b", "a_b", 'a"b', "ä b", "a<b", "a.b")]

    assert len(set(anchors)) == 6
    assert not [anchor for anchor in anchors if set(anchor) & set(' "<>&')]


def test_a_project_without_anything_has_an_empty_documentation(tmp_path: Path):
    """No folder has to be there."""
    assert gather(make_project(tmp_path, {})) == Documentation({})
