from __future__ import annotations

import pytest
from dashboard_helpers import write

from dataflow.dashboard.check import check_pages
from dataflow.dashboard.export import export_sources
from dataflow.errors import Problem
from dataflow.project import Project


@pytest.fixture
def exported(project: Project, warehouse) -> Project:
    export_sources(project, workflows=[{"id": "quakes"}])
    return project


def problems(project: Project, page: str) -> list[Problem]:
    write(project.evidence / "pages" / "quakes" / "index.md", page)
    return check_pages(project)


def test_right_queries_are_no_problem(exported):
    page = """# Quakes

```sql all_events
select * from quakes.events
```

```sql few
select count(*) as n from ${all_events} where magnitude > 1;  -- strong ones
```

```named_the_short_way
select * from events
```

```sql runs
select name, published_at from dataflow.workflows
```

```python
this is no query
```
"""
    assert problems(exported, page) == []


def test_a_wrong_column_is_shown_with_page_and_line(exported):
    (problem,) = problems(
        exported, "# Quakes\n\n```sql q\nselect\n  magnitud\nfrom quakes.events\n```\n"
    )

    assert problem.where(exported.root) == "evidence/pages/quakes/index.md:5"
    assert "query q" in problem.message
    assert "magnitud" in problem.message
    assert "magnitude" in (problem.hint or "")


def test_an_unknown_table_is_shown_with_the_nearest_names(exported):
    (problem,) = problems(exported, "```sql q\nselect *\nfrom quakes.evnts\n```\n")

    assert problem.line == 3
    assert "quakes.evnts" in problem.message
    assert problem.hint == "Did you mean quakes.events?"


def test_every_failing_query_of_every_page_is_reported(exported):
    write(
        exported.evidence / "pages" / "index.md",
        "```sql a\nselect x\n```\n\n```sql b\nselekt\n```\n",
    )
    found = problems(exported, "```sql third\nselect 'x'::integer\n```\n")

    assert sorted((p.path.parent.name, p.line) for p in found if p.path) == [
        ("pages", 2),
        ("pages", 6),
        ("quakes", 2),
    ]


def test_only_the_pages_of_a_workflow_are_checked_when_asked(exported):
    write(exported.evidence / "pages" / "my-other.md", "```sql a\nselect x\n```\n")
    problems(exported, "```sql q\nselect y\n```\n")

    assert [one.path.name for one in check_pages(exported, ["my_other"]) if one.path] == [
        "my-other.md"
    ]
    assert [one.path.name for one in check_pages(exported, ["quakes"]) if one.path] == ["index.md"]
    assert check_pages(exported, []) == []


def test_a_table_that_is_going_to_be_exported_is_no_problem(exported):
    (exported.notebooks / "later").mkdir()
    write(exported.evidence / "sources" / "later" / "rows.sql", "select 1 as one")

    assert problems(exported, "```sql q\nselect one from later.rows\n```\n") == []


def test_queries_that_refer_to_each_other_in_a_circle_are_reported(exported):
    found = problems(
        exported, "```sql a\nselect * from ${b}\n```\n```sql b\nselect * from ${a}\n```\n"
    )

    assert [problem.line for problem in found] == [2, 5]
    assert all("itself" in problem.message for problem in found)


@pytest.mark.parametrize(
    ("component", "where"),
    [
        ('<ButtonGroup name=m defaultValue="1"/>', "magnitude >= ${inputs.m}"),
        (
            "<ButtonGroup name=m>\n<ButtonGroupItem value='2' valueLabel=x default />\n</ButtonGroup>",
            "magnitude >= ${inputs.m}",
        ),
        (
            '<Dropdown name=r data={x} value=r>\n<DropdownOption value="%" valueLabel=All />\n</Dropdown>',
            "region like '${inputs.r.value}'",
        ),
        ("<Dropdown data={x} name=r value=r multiple=true />", "region in ${inputs.r.value}"),
        (
            '<Dropdown name=r multiple=true defaultValue={["a", "b"]} />',
            "region in ${inputs.r.value}",
        ),
        ("<Slider name=s min=0 max=9 />", "magnitude > ${inputs.s}"),
        (
            "<DateRange name=d />",
            "date '2024-01-01' between '${inputs.d.start}' and '${inputs.d.end}'",
        ),
        ("<TextInput name=t />", "region like '%${inputs.t.value}%'"),
        ("<Checkbox name=c />", "(magnitude > 1) = ${inputs.c}"),
        ("", "event_id = ${params.id}"),
    ],
)
def test_inputs_stand_at_their_defaults(exported, component, where):
    right = f"{component}\n\n```sql q\nselect 1 from quakes.events where {where}\n```\n"
    assert problems(exported, right) == []


def test_a_mistake_beside_an_input_is_found(exported):
    page = (
        '<ButtonGroup name=m defaultValue="1"/>\n\n```sql q\n'
        "select nothing from quakes.events where magnitude >= ${inputs.m}\n```\n"
    )
    (problem,) = problems(exported, page)
    assert "nothing" in problem.message
    assert problem.line == 4


def test_what_cannot_be_known_is_not_reported(exported):
    assert problems(exported, "```sql q\nselect * from ${inputs.t.value}\n```\n") == []


@pytest.mark.parametrize("name", ["r", "c", "my-query", "2nd", "two words"])
def test_a_name_that_evidence_drops_is_reported(exported, name):
    (problem,) = problems(exported, f"# Page\n\n```sql {name}\nselect 1 as a\n```\n")
    assert problem.line == 3
    assert name in problem.message


def test_shared_queries_are_checked_where_they_stand(exported):
    write(exported.evidence / "queries" / "shared.sql", "select 1 as a\nfrom nowhere")
    page = "---\nqueries:\n  - s: shared.sql\n---\n\n```sql q\nselect a from ${s}\n```\n"
    found = problems(exported, page)

    assert {problem.where(exported.root) for problem in found} == {
        "evidence/queries/shared.sql:2",
        "evidence/pages/quakes/index.md:7",
    }


def test_before_the_first_export_pages_with_sources_are_no_problem(project):
    assert problems(project, "```sql q\nselect * from quakes.events\n```\n") == []
