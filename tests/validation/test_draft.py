"""What is told about a notebook that is being written, before it is saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mistakes
import pytest

from dataflow.errors import ConfigurationError, Fix, Problem
from dataflow.project import Project
from dataflow.validation.draft import MOST, examine_draft
from dataflow.validation.workflow import examine_workflow

# What can only be wrong with a saved file.
SAVED = {
    "an empty notebook", "not JSON", "JSON that is no notebook", "a format of the future", "not UTF-8",
    "merge marks in the file", "a kernel that is not installed", "a notebook in R",
    "a notebook without a kernel", "a secret in a saved output", "a module with a syntax error",
}  # fmt: skip


def ingest(project: Project) -> Path:
    return project.root / mistakes.INGEST


def draft(project: Project, content: Any = None) -> list[Problem]:
    """What is told about ingest.ipynb with an unsaved content; by default the saved one."""
    path = ingest(project)
    found = examine_draft(project, path, content or json.loads(path.read_text("utf-8")))
    assert found is not None
    return found.problems + found.warnings


def code(source: str, *tags: str) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "metadata": {"tags": list(tags)}}


def test_while_writing_one_is_told_what_the_command_finds_after_a_save(lab: Project):
    path, right = ingest(lab), ingest(lab).read_bytes()
    assert draft(lab) == []
    lab.load_environment()  # as the command does

    for mistake in mistakes.NOTEBOOKS:
        if mistake.name in SAVED:
            continue
        mistake.change(lab)
        found = examine_workflow(lab, path.parent)
        saved = [one for one in found.problems + found.warnings if one.path == path]
        content = json.loads(path.read_text("utf-8"))
        path.write_bytes(right)
        assert saved, mistake.name
        assert draft(lab, content) == saved, mistake.name


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (mistakes.config("least: 2", "least: two"), f"{mistakes.CONFIG}:14"),
        (mistakes.config("0 6 * * *", "daily"), f"{mistakes.CONFIG}:3"),
        (mistakes.config("[good]", "[samples]"), f"{mistakes.CONFIG}:18"),
        (mistakes.config("    after: [ingest]", "    timeout: -1"), None),
        (mistakes.config("[small]", "[small"), f"{mistakes.CONFIG}:6"),
        (mistakes.config("${LAB_TOKEN}", "abc"), f"{mistakes.CONFIG}:10"),
    ],
)
def test_of_config_yaml_one_is_told_what_concerns_the_stage(
    lab: Project, change: Callable[[Project], Any], place: str | None
):
    change(lab)

    found = [one for one in draft(lab) if one.path and one.path.name == "config.yaml"]

    assert [one.where(lab.root) for one in found] == ([place] if place else [])


def test_a_secret_is_told_by_its_name_alone(lab: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LAB_TOKEN", raising=False)  # .env has it
    content = {
        "cells": [code("least: int = 1", "parameters"), code(f"a = 1\nb = {mistakes.SECRET!r}")]
    }

    [problem] = draft(lab, content)

    assert (problem.cell, problem.line) == (2, 2)
    assert "LAB_TOKEN" in problem.message
    # Messages that quote the code do not quote it.
    content["cells"][0]["source"] += (
        f"\nday: date = {mistakes.SECRET!r}\nprint({mistakes.SECRET!r})"
    )
    found = draft(lab, content)
    assert len(found) == 4
    assert mistakes.SECRET not in repr(found)


@pytest.mark.parametrize(
    ("source", "fix"),
    [
        ("least: flaot = 2", Fix("replace", "Replace `flaot` by `float`", "flaot", "float")),
        ("least: list[Flot] = []", Fix("replace", "Replace `Flot` by `float`", "Flot", "float")),
        ("least: flot | flot = 2", None),  # which of the two?
        ("least: number = 2", None),
    ],
)
def test_a_fix_is_offered_where_it_is_certain(lab: Project, source: str, fix: Fix | None):
    found = draft(lab, {"cells": [code(source, "parameters")]})

    assert [one.fix for one in found if one.cell] == [fix]


def test_a_misspelt_value_is_fixed_in_config_yaml_and_a_left_cell_is_deleted(lab: Project):
    mistakes.config("      least: 2", "      lest: 2")(lab)
    content = json.loads(ingest(lab).read_text("utf-8"))
    content["cells"].append(code("least = 3", "injected-parameters"))

    first, second = draft(lab, content)

    assert first.where(lab.root) == f"{mistakes.CONFIG}:14"
    assert first.fix == Fix("replace", "Replace `lest` by `least`", "lest", "least")
    assert (second.cell, second.fix) == (len(content["cells"]), Fix("delete", "Delete the cell"))


@pytest.mark.parametrize(
    ("change", "fix"),
    [
        (mistakes.config("schedule:", "shedule:"), ("shedule", "schedule")),
        (mistakes.config("clean.ipynb", "claen.ipynb"), ("claen.ipynb", "clean.ipynb")),
        (mistakes.config("[ingest]", "[ingst]"), ("ingst", "ingest")),
        (mistakes.config("[small]", "[small]\n  tag: [big]"), None),  # there are tags already
        (mistakes.config("[ingest]", "[ingest_b]"), None),
    ],
)
def test_a_slip_in_config_yaml_has_a_fix(lab: Project, change: Any, fix: tuple[str, str] | None):
    change(lab)
    lab.load_environment()

    [problem] = examine_workflow(lab, lab.notebooks / "lab", execute=False).problems

    assert problem.fix == (fix and Fix("replace", f"Replace `{fix[0]}` by `{fix[1]}`", *fix))


def test_the_one_cell_with_the_parameters_is_tagged_by_the_fix(lab: Project):
    cells = [code("import os"), code("least: int = 1"), code("least = 3", "injected-parameters")]

    problem, _ = draft(lab, {"cells": cells})

    assert (problem.cell, problem.fix) == (2, Fix("tag", "Tag the cell as `parameters`"))
    unclear, _ = draft(lab, {"cells": [*cells, code("least = 2")]})
    assert (unclear.cell, unclear.fix) == (None, None)


@pytest.mark.parametrize(
    "content",
    [None, [], "x", {}, {"cells": {}}, {"cells": [1]}, {"cells": [{"cell_type": "code"}]},
     {"cells": [{"cell_type": 3, "source": ""}]}, {"cells": [{"cell_type": "code", "source": 3}]}],
)  # fmt: skip
def test_what_is_no_notebook_is_refused_in_words(lab: Project, content: Any):
    with pytest.raises(ConfigurationError, match="this is no notebook"):
        examine_draft(lab, ingest(lab), content)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = " + "-" * 20_000 + "1", "nested too deeply"),
        ("x = " + "(" * 5_000, "too many nested parentheses"),
        ("x" * (MOST + 1), "is not checked as it is written"),
        ("# nothing\n" * 15_000 + "print(1)", "is not an assignment"),
        ("\n" * 150_000 + "if", "not valid Python"),
        ('"' * 100_001, "unterminated"),
        ("'\"" * 50_000, "unterminated"),
        ("a = '\ud800'", "surrogates not allowed"),
    ],
)
def test_nothing_that_somebody_writes_breaks_the_check(lab: Project, source: str, said: str):
    found = draft(lab, {"cells": [code(source, "parameters")]})

    assert any(said in one.message for one in found), found


def test_notebooks_that_are_no_stages_are_left_alone(lab: Project):
    content = {"cells": [code("if")]}
    for path in ("notebooks/lab/scratch.ipynb", "notebooks/none/a.ipynb", "a.ipynb"):
        assert examine_draft(lab, lab.root / path, content) is None
