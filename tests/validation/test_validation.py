"""A corpus of mistakes: each one is named with its place and its fix, and changes no file."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import mistakes
import pytest
from mistakes import Mistake
from projects import REPOSITORY, dataflow

from dataflow.cli.main import run
from dataflow.dashboard.paths import data_folder
from dataflow.errors import EXIT_OK, EXIT_USAGE
from dataflow.project import Project
from dataflow.validation.pages import check_workflow_pages
from dataflow.warehouse.store import Connection, publish

# What commands keep for themselves: locks, the time of a check.
OWN = {".dataflow", ".duckdb", ".dagster", "__pycache__"}


def files_of(root: Path) -> dict[str, str]:
    """Every file of the project by its content."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and not OWN & set(path.relative_to(root).parts)
    }


def assert_explained(error: str, where: str, fix: str) -> None:
    """The text names the place, says what to do, and is no traceback."""
    flat = " ".join(error.split())
    assert where in flat, error
    assert fix in flat, error
    assert "→" in error, "a hint says what to do next"
    assert "Traceback" not in error
    assert "bug in DATAFLOW" not in error


def test_the_right_project_is_right(lab: Project, capsys):
    before = files_of(lab.root)

    assert run(["workflow", "validate"]) == EXIT_OK

    out, err = capsys.readouterr()
    assert "✓ lab" in out
    assert err == ""
    assert files_of(lab.root) == before


@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param(mistake, id=f"{kind}: {mistake.name}")
        for kind, several in mistakes.ALL.items()
        for mistake in several
    ],
)
def test_a_mistake_is_named_with_its_place_and_its_fix(lab: Project, capsys, mistake: Mistake):
    mistake.change(lab)
    before = files_of(lab.root)

    code = run(["workflow", "validate"])

    error = capsys.readouterr().err
    assert code == EXIT_USAGE, error
    assert_explained(error, mistake.where, mistake.fix)
    assert mistakes.SECRET not in error
    assert files_of(lab.root) == before


CALLS = {
    "an unknown workflow": (["workflow", "validate", "lba"], "Did you mean `lab`"),
    "running an unknown workflow": (["workflow", "run", "lba"], "Did you mean `lab`"),
    "testing an unknown workflow": (["workflow", "test", "lba"], "Did you mean `lab`"),
    "testing without tests": (["workflow", "test", "lab"], "tests/workflows/lab/test_lab.py"),
    "a parameter without a value": (["workflow", "run", "lab", "-p", "least"], "-p"),
    "an unknown parameter": (["workflow", "run", "lab", "-p", "lest", "3"], "`least`"),
    "a parameter of the wrong type": (["workflow", "run", "lab", "-p", "least", "x"], "lighter"),
    "a file of parameters that is not there": (
        ["workflow", "run", "lab", "-f", "p.yaml"],
        "Create",
    ),
    "an unknown stage": (["workflow", "run", "lab", "--only", "claen"], "clean"),
    "an unknown stage to start from": (["workflow", "run", "lab", "--from", "claen"], "clean"),
    "an unknown command": (["workflow", "rum", "lab"], "--help"),
    "an unknown group": (["workflows", "list"], "--help"),
    "an unknown option": (["workflow", "run", "lab", "--fast"], "--help"),
    "a missing argument": (["workflow", "run"], "--help"),
    "an unknown run": (["runs", "show", "4711"], "Nothing has run yet"),
    "an unknown service": (["service", "start", "jupiter"], "--help"),
    "a port that is none": (["service", "start", "jupyter", "--port", "99999"], "--help"),
    "an unknown database": (["db", "tables", "--database", "public"], "--help"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_wrong_call_says_what_to_do(lab: Project, capsys, call):
    arguments, fix = call
    before = files_of(lab.root)

    code = run(arguments)

    error = capsys.readouterr().err
    assert code == EXIT_USAGE, error
    assert_explained(error, "error:", fix)
    assert files_of(lab.root) == before


def test_everything_wrong_is_listed_at_once(lab: Project, capsys):
    for change in (
        mistakes.config("0 6 * * *", "daily"),
        mistakes.cell(3, "if"),
        mistakes.text(mistakes.MART, "stg_lab__good", "stg_lab__god"),
        mistakes.text(mistakes.PAGE, "data={heavy}", "data={hevy}"),
    ):
        change(lab)

    assert run(["workflow", "validate", "lab"]) == EXIT_USAGE

    error = capsys.readouterr().err
    assert "4 problems found" in error
    for place in (f"{mistakes.CONFIG}:3", "cell 3, line 1", f"{mistakes.MART}:3", "index.md:9"):
        assert place in error


RUN_FIRST = {
    "a cell that is not Python": (mistakes.cell(3, "if"), "cell 3, line 1"),
    "a variable that is not set": (mistakes.config("${LAB_TOKEN}", "${LAB_KEY}"), "LAB_KEY"),
    "a model's reference": (mistakes.text(mistakes.MART, "stg_lab__good", "stg_good"), "stg_good"),
    "a source query that is not SQL": (mistakes.text(mistakes.QUERY, "from", "form"), "not valid"),
    "a column of the page": (mistakes.text(mistakes.PAGE, "id, weight", "id, wheight"), "wheight"),
}


@pytest.mark.parametrize(("change", "said"), RUN_FIRST.values(), ids=RUN_FIRST)
def test_a_run_names_mistakes_before_anything_runs(lab: Project, capsys, change, said):
    change(lab)
    before = files_of(lab.root)

    assert run(["workflow", "run", "lab"]) == EXIT_USAGE

    error = capsys.readouterr().err
    assert said in error
    assert "nothing was run" in error
    assert files_of(lab.root) == before


def problems_of_pages(lab: Project, *, now: bool) -> list[str]:
    return [one.message for one in check_workflow_pages(lab, "lab", now=now)]


def test_columns_of_a_page_are_checked_before_anything_was_exported(lab: Project):
    shutil.rmtree(data_folder(lab))
    assert problems_of_pages(lab, now=True) == []
    mistakes.text(mistakes.PAGE, "id, weight", "id, wheight")(lab)

    missing = 'query heavy: Referenced column "wheight" not found in FROM clause'
    assert problems_of_pages(lab, now=True) == [missing]
    assert problems_of_pages(lab, now=False) == [missing]

    # What the data alone can tell is taken as it was published, and no run waits for it.
    mistakes.text(mistakes.QUERY, "id, weight", "*")(lab)
    mistakes.text(mistakes.MART, "id, weight", "*")(lab)
    mistakes.text("dbt/models/lab/staging/stg_lab__good.sql", "id, weight", "*")(lab)
    assert problems_of_pages(lab, now=True) == []
    with Connection(lab, "working") as conn:
        conn.execute("CREATE SCHEMA lab; CREATE TABLE lab.weights AS SELECT 'a' AS id, 2 AS weight")
    publish(lab, "lab", ["lab"])
    assert problems_of_pages(lab, now=True) == [missing]
    assert problems_of_pages(lab, now=False) == []


def test_components_in_comments_and_listings_of_a_page_are_not_judged(lab: Project):
    wrong = "<BarChart data={heavy} x=nothing/>\n<LineChart data={nothing}/>"
    page = lab.root / mistakes.PAGE
    page.write_text(f"{page.read_text()}\n<!-- {wrong} -->\n\n```html\n{wrong}\n```\n")
    assert problems_of_pages(lab, now=True) == []

    page.write_text(f"{page.read_text()}\n{wrong}\n")
    assert len(problems_of_pages(lab, now=True)) == 2


def test_a_folder_of_models_with_an_odd_name_is_nobody_elses_trouble(lab: Project, capsys):
    mistakes.more("dbt/models/system/x.sql", "select 1 as a")(lab)

    assert run(["workflow", "validate", "lab"]) == EXIT_OK

    assert "bug in DATAFLOW" not in capsys.readouterr().err


def test_a_column_that_model_query_and_page_get_together_is_no_mistake(lab: Project):
    for path in ("dbt/models/lab/staging/stg_lab__good.sql", mistakes.MART, mistakes.QUERY):
        mistakes.text(path, "weight", "weight, height")(lab)
    mistakes.text(mistakes.PAGE, "weight > 1", "height > '2' and weight > 1")(lab)

    assert problems_of_pages(lab, now=True) == []

    mistakes.text(mistakes.QUERY, "weight, height", "weight")(lab)  # now it comes to no page
    assert "height" in problems_of_pages(lab, now=False)[0]


def test_outside_of_a_project_the_command_says_what_a_project_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    assert run(["workflow", "validate"]) == EXIT_USAGE

    assert_explained(capsys.readouterr().err, "no DATAFLOW project in", "[tool.dataflow]")


@pytest.mark.parametrize(
    ("change", "where", "fix"),
    [
        (mistakes.cell(3, "least = 1", tags=["injected-parameters"]), "cell 3", "Delete the cell"),
        (mistakes.config("${LAB_TOKEN}", "abc"), f"{mistakes.CONFIG}:10", "Write ${TOKEN} here"),
        (mistakes.config("writes: [good]", "writes: [fine]"), "lab_raw.good", "`writes:`"),
        (mistakes.more("notebooks/other/a.ipynb", "{}"), "notebooks/other", "Add a config.yaml"),
    ],
)
def test_what_works_but_should_be_otherwise_is_a_warning(lab, capsys, change, where, fix):
    change(lab)

    assert run(["workflow", "validate"]) == EXIT_OK

    out, err = capsys.readouterr()
    assert "✓ lab" in out
    assert_explained(err, where, fix)
    assert "warning:" in err


def test_json_has_every_problem_with_place_and_hint(lab: Project, capsys):
    import json

    mistakes.config("0 6 * * *", "daily")(lab)
    mistakes.cell(3, "least = 1", tags=["injected-parameters"])(lab)

    assert run(["workflow", "validate", "--json"]) == EXIT_USAGE

    found = json.loads(capsys.readouterr().out)["lab"]
    places = [[one[key] for key in ("severity", "where", "path", "cell", "line")] for one in found]
    assert places == [
        ["error", f"{mistakes.CONFIG}:3", mistakes.CONFIG, None, 3],
        ["warning", f"{mistakes.INGEST}, cell 3", mistakes.INGEST, 3, None],
    ]
    assert all(one["hint"] for one in found)
    assert [one["fix"] and one["fix"]["label"] for one in found] == [None, "Delete the cell"]


def test_saved_outputs_are_named_once_and_only_where_git_would_keep_them(lab: Project, capsys):
    mistakes.saved_output("1 row\n")(lab)
    shutil.copy(lab.root / mistakes.INGEST, lab.root / "notebooks/lab/clean.ipynb")

    def said() -> str:
        assert run(["workflow", "validate"]) == EXIT_OK
        return capsys.readouterr().err

    assert said() == ""
    subprocess.run(["git", "init", "-q", str(lab.root)], check=True)
    both = "notebooks/lab/ingest.ipynb, notebooks/lab/clean.ipynb"
    warned = said()
    assert warned.count("warning:") == 1
    assert f"outputs are saved in {both}" in warned
    assert f"nbstripout --keep-id {both.replace(',', '')}" in warned
    (lab.root / ".git/hooks/pre-commit").write_text("#!/bin/sh\n")
    assert said() == ""


def test_scratch_notebooks_beside_the_stages_are_not_the_workflows(lab: Project, capsys):
    config = lab.root / mistakes.CONFIG
    config.write_text(config.read_text().partition("stages:")[0])
    for name in ("Untitled", "Untitled3", "ingest-Copy1"):
        (lab.root / f"notebooks/lab/{name}.ipynb").write_text("{")

    assert run(["workflow", "validate"]) == EXIT_OK
    assert run(["workflow", "list", "--json"]) == EXIT_OK

    out, err = capsys.readouterr()
    assert "Untitled" not in out + err
    assert "ingest-Copy1" not in out + err


def test_the_command_itself_ends_with_code_2_and_no_traceback(lab: Project):
    mistakes.config("0 6 * * *", "daily")(lab)

    done = dataflow(lab, "workflow", "validate")

    assert done.returncode == EXIT_USAGE
    assert_explained(done.stderr, f"{mistakes.CONFIG}:3", "Five fields")
    assert done.stdout == ""


@pytest.mark.slow
def test_with_dbt_what_only_dbt_can_read_is_named_too(lab: Project, capsys):
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(REPOSITORY / "dbt" / name, lab.dbt / name)
    mart = lab.root / mistakes.MART
    mart.write_text("select {% if 1 %} 1 as a\n{{ config(alias='b' }}", encoding="utf-8")

    assert run(["workflow", "validate"]) == EXIT_OK
    capsys.readouterr()
    assert run(["workflow", "validate", "--dbt"]) == EXIT_USAGE

    error = capsys.readouterr().err
    assert_explained(error, f"{mistakes.MART}:2", "Fix the file")
    assert "RuntimeWarning" not in error
