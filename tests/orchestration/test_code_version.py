"""A stage's code version changes with its code and parameters, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from dataflow.orchestration.code_version import code_version


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "sales"
    folder.mkdir()
    (folder / "places.py").write_text("from helpers import x\n")
    (folder / "helpers.py").write_text("x = 1\n")
    return folder


def cells(*sources: str) -> list:
    prose = nbformat.v4.new_markdown_cell("What this does.")
    return [prose, *(nbformat.v4.new_code_cell(source) for source in sources)]


CODE = "from places import x\n\ny = x + 1"


def test_prose_outputs_comments_and_formatting_do_not_count(folder):
    before = code_version(cells(CODE), {}, folder)
    other = cells("from places import x  # where\ny   =  x+1")
    other[0].source = "Other words."
    other[1].outputs = [nbformat.v4.new_output("stream", text="2")]

    assert code_version(other, {}, folder) == before


def test_code_and_parameters_count(folder):
    before = code_version(cells(CODE), {}, folder)

    assert code_version(cells(CODE.replace("1", "2")), {}, folder) != before
    assert code_version(cells(CODE), {"n": 1}, folder) != before


def test_modules_beside_the_notebook_count_also_those_they_import(folder):
    before = code_version(cells(CODE), {}, folder)
    (folder / "helpers.py").write_text("x = 2\n")

    assert code_version(cells(CODE), {}, folder) != before


def test_other_files_do_not_count(folder):
    before = code_version(cells(CODE), {}, folder)
    (folder / "unrelated.py").write_text("z = 1\n")

    assert code_version(cells(CODE), {}, folder) == before


def test_magics_are_no_obstacle(folder):
    assert code_version(cells("%matplotlib inline\n!ls\nx = 1"), {}, folder)
