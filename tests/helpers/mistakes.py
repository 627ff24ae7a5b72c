"""Ways to put one mistake into the right project, and what people should be told about each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from dataflow.project import Project

CONFIG = "notebooks/lab/config.yaml"
INGEST = "notebooks/lab/ingest.ipynb"
MART = "dbt/models/lab/marts/lab__weights.sql"
PAGE = "evidence/pages/lab/index.md"
QUERY = "evidence/sources/lab/weights.sql"
SECRET = "correct-horse-battery"

Change = Callable[[Project], Any]


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Args:
        name: what is wrong, in words.
        change: puts it into the project.
        where: the place that has to be named.
        fix: what has to be said about fixing it.
    """

    name: str
    change: Change
    where: str
    fix: str


def text(path: str, old: str, new: str) -> Change:
    """Replace `old`, which has to be there, by `new`."""

    def change(project: Project) -> None:
        file = project.root / path
        before = file.read_text("utf-8")
        assert old in before, f"{old!r} is not in {path}"
        file.write_text(before.replace(old, new, 1), encoding="utf-8")

    return change


def config(old: str, new: str) -> Change:
    return text(CONFIG, old, new)


def whole(path: str, content: str | bytes) -> Change:
    """Replace a whole file."""
    data = content.encode() if isinstance(content, str) else content
    return lambda project: (project.root / path).write_bytes(data)


def cell(number: int, source: str, **metadata: Any) -> Change:
    """Replace the source of a cell of ingest.ipynb, counted from 1."""

    def edit(nb: Any) -> None:
        nb.cells[number - 1].source = source
        nb.cells[number - 1].metadata.update(metadata)

    return notebook(edit)


def notebook(edit: Callable[[Any], Any]) -> Change:
    """Edit ingest.ipynb."""

    def change(project: Project) -> None:
        path = project.root / INGEST
        nb = nbformat.read(path, as_version=4)
        edit(nb)
        nbformat.write(nb, path)

    return change


def renamed(folder: str) -> Change:
    """Give the workflow's folder another name."""
    return lambda project: (project.notebooks / "lab").rename(project.notebooks / folder)


def metadata(**entries: Any) -> Change:
    """Change the notebook's metadata."""
    return notebook(lambda nb: nb.metadata.update(entries))


def saved_output(words: str) -> Change:
    """Save an output in the fourth cell."""
    output = nbformat.v4.new_output("stream", text=words)
    return notebook(lambda nb: nb.cells[3].outputs.append(output))


def more(path: str, content: str | bytes) -> Change:
    """Add a file."""

    def change(project: Project) -> None:
        target = project.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def second_parameters(nb: Any) -> None:
    nb.cells[2].metadata["tags"] = ["parameters"]


def markdown_parameters(nb: Any) -> None:
    nb.cells[1] = nbformat.v4.new_markdown_cell("x", metadata={"tags": ["parameters"]})


def copied_stage(project: Project) -> None:
    folder: Path = project.notebooks / "lab"
    (folder / "my stage.ipynb").write_bytes((folder / "ingest.ipynb").read_bytes())
    config("notebook: ingest.ipynb", "notebook: my stage.ipynb")(project)


CONFIGURATION = [
    Mistake("a tab for indentation", config("  name: Lab", "\tname: Lab"), f"{CONFIG}:2", "indentation"),
    Mistake("a bracket left open", config("[small]", "[small"), CONFIG, "indentation and the quotes"),
    Mistake("a key given twice", config("  tags:", "  name: Two\n  tags:"), f"{CONFIG}:5", "Keep one"),
    Mistake("an empty file", whole(CONFIG, ""), f"{CONFIG}:1", 'Start it with "workflow:"'),
    Mistake("a list in place of a mapping", whole(CONFIG, "- a\n"), f"{CONFIG}:1", 'Start it with "workflow:"'),
    Mistake("not UTF-8", whole(CONFIG, b"workflow:\n  name: \xff\n"), CONFIG, "UTF-8"),
    Mistake("an alias in itself", whole(CONFIG, "workflow: &lab\n  name: *lab\n"), f"{CONFIG}:1", "Write it flat"),
    Mistake("brackets without an end", whole(CONFIG, "workflow: " + "[" * 3000), f"{CONFIG}:1", "Write it flat"),
    Mistake("no workflow section", whole(CONFIG, "ingestion: {}\n"), CONFIG, "Add `workflow:`"),
    Mistake("no name", config("  name: Lab\n", ""), f"{CONFIG}:1", "Add `name:`"),
    Mistake("an empty name", config("name: Lab", 'name: ""'), f"{CONFIG}:2", "Write text"),
    Mistake("a misspelt key of workflow", config("schedule:", "shedule:"), f"{CONFIG}:3", "Did you mean `schedule`"),
    Mistake("a misspelt key of a stage", config("    after:", "    afer:"), f"{CONFIG}:17", "Did you mean `after`"),
    Mistake("stages as a mapping", whole(CONFIG, "workflow: {name: a}\nstages: {notebook: a}\n"), f"{CONFIG}:2", "Write a list"),
    Mistake("tags as a word", config("[small]", "small"), f"{CONFIG}:5", "Write a list"),
    Mistake("a schedule of four fields", config("0 6 * * *", "0 6 * *"), f"{CONFIG}:3", "Five fields"),
    Mistake("a schedule of six fields", config("0 6 * * *", "0 0 6 * * *"), f"{CONFIG}:3", "Five fields"),
    Mistake("a schedule in words", config("0 6 * * *", "every day"), f"{CONFIG}:3", "Five fields"),
    Mistake("hour 25", config("0 6 * * *", "0 25 * * *"), f"{CONFIG}:3", "Five fields"),
    Mistake("an unknown time zone", config("Europe/Berlin", "Europe/Bern"), f"{CONFIG}:4", "Europe/Berlin"),
    Mistake("a notebook that is not there", config("clean.ipynb", "claen.ipynb"), f"{CONFIG}:16", "Did you mean `clean.ipynb`"),
    Mistake("a notebook elsewhere", config("clean.ipynb", "../clean.ipynb"), f"{CONFIG}:16", "own folder"),
    Mistake("a script for a notebook", config("clean.ipynb", "scales.py"), f"{CONFIG}:16", "own folder"),
    Mistake("a stage twice", config("clean.ipynb", "ingest.ipynb"), f"{CONFIG}:16", "Keep one of the two"),
    Mistake("after an unknown stage", config("[ingest]", "[ingst]"), f"{CONFIG}:17", "Did you mean `ingest`"),
    Mistake("after itself", config("[ingest]", "[clean]"), f"{CONFIG}:17", "ingest"),
    Mistake("stages in a circle", config("    writes: [samples]", "    writes: [samples]\n    after: [clean]"), f"{CONFIG}:11", "Break the circle"),
    Mistake("a table's name with a dash", config("[good]", "[good-ones]"), f"{CONFIG}:18", "lower-case letters"),
    Mistake("a table of two stages", config("[good]", "[samples]"), f"{CONFIG}:18", "Only one stage may write a table"),
    Mistake("a negative timeout", config("    after: [ingest]", "    timeout: -1"), f"{CONFIG}:17", "Write a number"),
    Mistake("retries in words", config("    after: [ingest]", "    retries: many"), f"{CONFIG}:17", "Write a number"),
    Mistake("an unknown parameter", config("      least: 2", "      lest: 2"), f"{CONFIG}:14", "Did you mean `least`"),
    Mistake("a parameter of the wrong type", config("least: 2", "least: two"), f"{CONFIG}:14", "drop lighter samples"),
    Mistake("a parameter outside of its choices", config("least: 2", "source: ftp"), f"{CONFIG}:14", "Literal['file', 'api']`"),
    Mistake("a variable that is not set", config("${LAB_TOKEN}", "${LAB_TOKN}"), f"{CONFIG}:10", "Set it in the environment"),
]  # fmt: skip

NOTEBOOKS = [
    Mistake("an empty notebook", whole(INGEST, ""), INGEST, "JupyterLab"),
    Mistake("not JSON", whole(INGEST, "{ cells"), INGEST, "JupyterLab"),
    Mistake("JSON that is no notebook", whole(INGEST, "[1, 2]"), INGEST, "JupyterLab"),
    Mistake("a format of the future", whole(INGEST, '{"nbformat": 9, "nbformat_minor": 0, "cells": [], "metadata": {}}'), INGEST, "JupyterLab"),
    Mistake("not UTF-8", whole(INGEST, b"\xff\xfe"), INGEST, "JupyterLab"),
    Mistake("merge marks in the file", text(INGEST, '  {\n   "cell_type"', '<<<<<<< HEAD\n  {\n   "cell_type"'), INGEST, "nbdime mergetool"),
    Mistake("merge marks in a cell", cell(3, "a = 1\n<<<<<<< local\nb = 2\n=======\nb = 3\n>>>>>>> remote"), "cell 3, line 2", "nbdime mergetool"),
    Mistake("a syntax error", cell(3, "a = 1\nif a\n    b = 2"), "cell 3, line 2", "Fix the cell"),
    Mistake("a bracket left open", cell(4, "print((1)"), "cell 4, line 1", "Fix the cell"),
    Mistake("code in the parameters cell", cell(2, "least: int = 0\nprint(least)"), "cell 2, line 2", "assignments only"),
    Mistake("a computed default", cell(2, "least: int = 1 + len('a')"), "cell 2, line 1", "compute in later cells"),
    Mistake("a default of another type", cell(2, "least: int = 'two'"), "cell 2, line 1", "Fix one of the two"),
    Mistake("an unknown type", cell(2, "least: DataFrame = 0"), "cell 2, line 1", "Use str, int"),
    Mistake("a syntax error in the parameters cell", cell(2, "least: int ="), "cell 2, line 1", "Fix the"),
    Mistake("a parameter assigned twice", cell(2, "least: int = 1\nleast: int = 2"), "cell 2, line 2", "Keep one of them"),
    Mistake("two parameters cells", notebook(second_parameters), "cells 2, 3", "Keep one of them"),
    Mistake("a parameters cell that is text", notebook(markdown_parameters), "cell 2", "Tag a code cell"),
    Mistake("values without a parameters cell", notebook(lambda nb: nb.cells.pop(1)), INGEST, "Tag the code cell"),
    Mistake("a required parameter without a value", cell(2, "least: int\nsince: date"), f"{INGEST}, cell 2, line 2", "-p since VALUE"),
    Mistake("a kernel that is not installed", metadata(kernelspec={"name": "python4", "display_name": "x", "language": "python"}), "`python4`", "Did you mean `python3`"),
    Mistake("a notebook in R", metadata(kernelspec={"name": "ir", "display_name": "R", "language": "R"}), INGEST, "Choose a Python kernel"),
    Mistake("a notebook without a kernel", notebook(lambda nb: nb.metadata.pop("kernelspec")), INGEST, "choose the kernel"),
    Mistake("a secret in a saved output", saved_output(f"token is {SECRET}\n"), "cell 4", "nbstripout --keep-id notebooks/lab/ingest.ipynb"),
    Mistake("a secret in the code", cell(4, f"token = {SECRET!r}"), "cell 4, line 1", 'resolve("${LAB_TOKEN}")'),
    Mistake("a module with a syntax error", whole("notebooks/lab/scales.py", "a = 1\nb = = 2\n"), "notebooks/lab/scales.py:2", "Fix the file"),
]  # fmt: skip

NAMES = [
    Mistake("a workflow called main", renamed("main"), "notebooks/main", "Rename the folder"),
    Mistake("a workflow called like something of Dagster's", renamed("input"), "notebooks/input", "Rename the folder"),
    Mistake("a workflow called like a word of Python", renamed("class"), "notebooks/class", "Rename the folder"),
    Mistake("a workflow with capitals and a dash", renamed("My-Lab"), "notebooks/My-Lab", "Rename the folder"),
    Mistake("a workflow that starts with a digit", renamed("2labs"), "notebooks/2labs", "Rename the folder"),
    Mistake("a workflow with a dot", renamed("lab.two"), "notebooks/lab.two", "Rename the folder"),
    Mistake("a name that is too long", renamed("l" * 61), "notebooks/lll", "Rename the folder"),
    Mistake("a stage with a space", copied_stage, f"{CONFIG}:12", "Rename the file"),
]  # fmt: skip

SQL = [
    Mistake("a model that is not SQL", whole(MART, "select id\nfrm lab\n"), f"{MART}:2", "Fix the SQL"),
    Mistake("a model with an unknown ref", text(MART, "stg_lab__good", "stg_lab__god"), f"{MART}:3", "Did you mean `stg_lab__good`"),
    Mistake("a model with an unknown source", whole(MART, "select 1\nfrom {{ source('lav', 'good') }}"), f"{MART}:2", "Did you mean `lab`"),
    Mistake("a model with an unknown table", whole(MART, "select 1 from {{ source('lab', 'gud') }}"), f"{MART}:1", "`good`"),
    Mistake("a model that ends with a semicolon", whole(MART, "select 1 as id\n;\n"), f"{MART}:2", "Remove it"),
    Mistake("a model of two statements", whole(MART, "select 1; select 2"), f"{MART}:1", "One file makes one table"),
    Mistake("a model that deletes", whole(MART, "delete from lab.weights"), f"{MART}:1", "One file makes one table"),
    Mistake("an empty model", whole(MART, "-- to be written\n"), f"{MART}:1", "One file makes one table"),
    Mistake("a model that is not UTF-8", whole(MART, b"select '\xff'"), MART, "Save it as UTF-8"),
    Mistake("dbt's YAML is not YAML", text("dbt/models/lab/_lab__sources.yml", "    tables:", "   tables:"), "dbt/models/lab/_lab__sources.yml:4", "indentation"),
    Mistake(
        "a data test that is not there",
        text("dbt/models/lab/_lab__sources.yml", "      - name: good", "      - name: good\n        columns: [{name: id, data_tests: [not_nul]}]"),
        "dbt/models/lab/_lab__sources.yml:7",
        "Did you mean `not_null`",
    ),
    Mistake("a source query that is not SQL", whole(QUERY, "selct * from lab.weights"), f"{QUERY}:1", "Fix the SQL"),
    Mistake("a column that the model does not have", text(QUERY, "id,", "ident,"), f"{QUERY}:1", "Did you mean one of"),
    Mistake("a column that another model does not have", text(MART, "id,", "weigth,"), f"{MART}:2", "Did you mean one of"),
    Mistake("a source query that creates", whole(QUERY, "create table a as select 1"), f"{QUERY}:1", "One file makes one table"),
    Mistake("two source queries in a file", whole(QUERY, "select 1;\nselect 2"), f"{QUERY}:1", "One file makes one table"),
]  # fmt: skip

PAGES = [
    Mistake("a table that nothing exports", text(PAGE, "lab.weights", "lab.weigths"), f"{PAGE}:5", "Did you mean lab.weights"),
    Mistake("a column that is not there", text(PAGE, "id, weight", "id, wheight"), f"{PAGE}:4", "weight"),
    Mistake("a query that is not SQL", text(PAGE, "where weight", "were weight"), f"{PAGE}:6", "Fix the SQL"),
    Mistake("a query that refers to itself", text(PAGE, "from lab.weights", "from ${heavy}"), f"{PAGE}:4", "Break the circle"),
    Mistake("an empty query", text(PAGE, "select id, weight\nfrom lab.weights\nwhere weight > 1\n", "\n"), PAGE, "Write a SELECT"),
    Mistake("a query called like a language", text(PAGE, "```sql heavy", "```sql python"), f"{PAGE}:3", "Use letters, digits"),
    Mistake("a chart of a column that is not there", text(PAGE, "<DataTable", "<BarChart data={heavy} x=id y={['wieght', 'weight']} fmt={x => x}/>\n\n<DataTable"), f"{PAGE}:9", "Did you mean `weight`"),
    Mistake("a table of a column that is not there", text(PAGE, "<DataTable data={heavy}/>", "<DataTable data={heavy}>\n<Column id=id/>\n<Column id=wight title='W'/>\n</DataTable>"), f"{PAGE}:11", "Did you mean `weight`"),
    Mistake("a component without a query", text(PAGE, "data={heavy}", "data={hevy}"), f"{PAGE}:9", "Did you mean `heavy`"),
    Mistake("a page that is not UTF-8", whole(PAGE, b"# Lab \xff\n"), PAGE, "Save it as UTF-8"),
]  # fmt: skip

ALL = {
    "configuration": CONFIGURATION,
    "notebook": NOTEBOOKS,
    "name": NAMES,
    "SQL": SQL,
    "page": PAGES,
}
