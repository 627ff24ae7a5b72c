"""Two runs compared: what differs is found, and what always differs is not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import nbformat
import pytest
from made_runs import Made, executed, shows
from projects import dataflow

from dataflow.api import Project as Api
from dataflow.api import Run
from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.review.comparison import RunComparison, StageDiff, last_good_before
from dataflow.runs.record import RunRecord


def stage(comparison: RunComparison, name: str = "ingest") -> StageDiff:
    """The comparison of a stage's notebooks."""
    return next(one for one in comparison.stages if one.step == name)


def test_a_changed_run_differs_in_what_was_changed_and_in_nothing_else(runs: list[Run]):
    """Parameters, code, outputs, rows, figures, checks and commits of a change are all found."""
    found = runs[1].diff(runs[0])

    assert (found.before.run_id, found.after.run_id) == (runs[0].run_id, runs[1].run_id)
    assert [(p.step, p.name, p.before, p.after, p.after_from) for p in found.parameters] == [
        ("ingest", "region", "north", "south", "set"),
        ("ingest", "discount", 0.1, 0.2, "default"),
    ]
    cells = stage(found).notebook.cells
    assert [cell.after for cell in cells if cell.source] == [2, 4]
    assert [(c.after, o.name) for c in cells for o in c.outputs] == [
        (5, "printed"), (6, "table"), (7, "image"),
    ]  # fmt: skip
    printed, table, image = (output for cell in cells for output in cell.outputs)
    assert [(line.mark, line.text) for line in printed.text.lines if line.mark in "+-"] == [
        ("-", "3 rows"), ("+", "4 rows"),
    ]  # fmt: skip
    (grid,) = table.tables
    assert grid.summary == "1 cell changed, 1 row added"
    (changed,) = [row for row in grid.rows if row.mark == "~"]
    assert [(cell.before, cell.after) for cell in changed.cells] == [
        ("<b>Bonn</b>", "<b>Bonn</b>"), ("80", "81"),
    ]  # fmt: skip
    assert changed.cells[1].change == "+1 (+1.2 %)"
    assert image.note.endswith("of the pixels differ")
    assert image.before.uri.startswith("data:image/png;base64,")
    assert [(row.table, row.before, row.after) for row in found.rows] == [("sales", 3, 4)]
    assert [(f.name, f.before, f.after) for f in found.figures] == [("total", 245, 376)]
    assert [(c.name, c.state, c.before, c.after) for c in found.checks] == [
        ("there are sales", "details", "passed", "passed"),
        ("most is sold in Köln", "result", "passed", "warning"),
    ]
    assert [commit.subject for commit in found.commits.gained] == ["Trier <b>has</b> a shop"]
    assert [file.path for file in found.commits.files] == ["notebooks/shop/ingest.ipynb"]
    assert found.summary == (
        "2 parameters, 2 cells' code, 3 outputs, 2 checks, 1 recorded figure and rows of 1 table "
        "differ"
    )
    assert {"addresses", "ids", "moments of the run"} <= set(found.left_out)


def test_two_runs_of_the_same_code_and_data_differ_in_nothing(runs: list[Run]):
    """Moments, addresses and ids in outputs are left out, counted, and shown on demand."""
    found = runs[2].diff(runs[1])

    assert not found.differs
    assert found.summary == "Nothing differs"
    assert found.left_out["addresses"] >= 1
    assert found.same == ("2 parameters", "8 cells", "3 outputs", "1 table's rows", "3 checks")
    assert runs[2].diff(runs[1], everything=True).summary == "1 output differs"


def test_a_failed_run_is_compared_with_the_last_good_one_as_far_as_it_came(runs: list[Run]):
    """Steps, cells and checks that a failed run did not reach are named as such."""
    found = runs[3].diff()

    assert found.before.run_id == runs[2].run_id
    assert [(r.step, r.before, r.after) for r in found.results] == [
        ("ingest", "succeeded", "failed"),
        ("publish", "succeeded", "not run"),
    ]
    assert found.results[0].error == "cell 6: ValueError: no <b>answer</b>"
    assert {check.state for check in found.checks} == {"not reached"}
    assert found.rows == found.figures == ()
    cells = {cell.after: cell for cell in stage(found).notebook.cells}
    assert cells[6].source is not None
    assert [output.name for output in cells[6].outputs] == ["table", "error"]
    assert cells[7].not_executed == cells[8].not_executed == "after"
    assert found.commits.before == found.commits.after
    assert found.commits.dirty_after
    assert [file.path for file in found.commits.files] == ["notebooks/shop/ingest.ipynb"]


def test_the_command_says_what_differs_and_ends_with_0_unless_asked(shop: Project, runs: list[Run]):
    """A terminal gets differences as unified lines, programs JSON, and scripts an exit code."""
    ids = [run.run_id[:8] for run in runs]
    shown = dataflow(shop, "runs", "diff", ids[0], ids[1])
    same = dataflow(shop, "runs", "diff", ids[2], "--exit-code")
    differs = dataflow(shop, "runs", "diff", "last", "--exit-code", "--json")

    assert shown.returncode == 0, shown.stderr
    assert "    - discount: float = 0.1\n    + discount: float = 0.2\n" in shown.stdout
    assert "~ <b>Bonn</b>: sold 80 → 81 +1 (+1.2 %)" in shown.stdout
    assert "+ Trier | 130" in shown.stdout
    assert "Trier <b>has</b> a shop" in shown.stdout
    assert "Left out as noise: " in shown.stdout
    assert same.returncode == 0
    assert "Nothing differs." in same.stdout
    assert differs.returncode == 1
    data = json.loads(differs.stdout)
    assert data["differs"] is True
    assert data["results"][0]["after"] == "failed"
    assert '"data"' not in differs.stdout  # images are named by their hash


def test_a_tolerance_decides_when_numbers_differ(runs: list[Run]):
    """With a wide tolerance numbers of tables and text count as the same."""
    found = runs[1].diff(runs[0], tolerance=0.5)

    outputs = [o for cell in stage(found).notebook.cells for o in cell.outputs]
    assert [output.name for output in outputs] == ["table", "image"]
    assert outputs[0].tables[0].summary == "1 row added"


def test_runs_that_cannot_be_compared_are_refused(shop: Project, runs: list[Run], tmp_path: Path):
    """Another workflow's run, the same run, and a first run without a good one before are errors."""
    other = RunRecord(shop, "other", "f" * 32)
    try:
        other.begin([{"name": "a", "kind": "stage"}])
        other.end()
        done = dataflow(shop, "runs", "diff", runs[0].run_id, "f" * 32)
    finally:
        shutil.rmtree(shop.runs / "other")
    assert done.returncode == 2
    assert "only runs of one workflow can be compared" in done.stderr
    with pytest.raises(ConfigurationError, match="is the same run twice"):
        runs[0].diff(runs[0])
    with pytest.raises(ConfigurationError, match=r"no run of shop before .* succeeded"):
        runs[0].diff()


def test_cells_are_matched_although_some_came_went_and_moved(made: Made):
    """Cells belong together by id, by equal code, and by code that is alike."""
    code = [
        "a = load()\nshow(a)",
        "import os",
        "for x in range(9):\n    print(x)",
        "%whos",
        "end()",
    ]
    a, b, c, d, e = map(nbformat.v4.new_code_cell, code)
    alike = nbformat.v4.new_code_cell(c.source.replace("print", "display"))
    other = nbformat.v4.new_code_cell("json = None")

    found = made.diff(executed(a, b, c, d, e), executed(other, b, alike, e, a))

    cells = stage(found, "read").notebook.cells
    assert [(cell.before, cell.after, cell.state) for cell in cells] == [
        (None, 1, "added"), (3, 3, "changed"), (4, None, "removed"), (1, 5, "moved"),
    ]  # fmt: skip


def test_many_cells_are_compared_within_seconds_and_the_comparison_says_how(made: Made):
    """Beyond 400 cells only ids and equal code match; no notebook takes minutes."""
    cells = [f"x_{n} = {n}\n" + "y = 1\n" * 20 for n in range(900)]
    found = made.diff(executed(*cells), executed(*[c + "z = 2" for c in cells]))

    read = stage(found, "read")
    assert "more than 400 cells" in read.note
    assert len(read.notebook.cells) == 1_800


def test_numbers_of_a_count_are_no_names_of_rows(made: Made):
    """A row put in at the top of a table without an index is one row that was added."""
    before = "<table><thead><tr><th></th><th>a</th></tr></thead><tbody>%s</tbody></table>"
    rows = ["".join(f"<tr><th>{n}</th><td>{v}</td></tr>" for n, v in enumerate(values))
            for values in ("xyz", "wxyz")]  # fmt: skip
    found = made.diff(*(executed(shows("a", {"text/html": before % row})) for row in rows))

    (output,) = stage(found, "read").notebook.cells[0].outputs
    assert output.tables[0].summary == "1 row added"
    assert [cell.after for cell in output.tables[0].rows[0].cells] == ["0", "w"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("100%|████| 9/9 [00:01<00:00, 5.1it/s]", "100%|████| 9/9 [00:03<00:00, 2.2it/s]"),
        ("done in 3.2 s", "done in 41 s"),
        ("CPU times: user 3 ms, sys: 0 ns", "CPU times: user 5 ms, sys: 1 ns"),
        ("1.2 ms ± 3 µs per loop (mean ± std)", "1.4 ms ± 5 µs per loop (mean ± std)"),
        ("<A at 0x7f2b8c0d1e50>", "<A at 0x7f9b8c0d1a10>"),
        ("{'b': {2, 1}, 'a': (1, 2)}", "{'a': (1, 2), 'b': {1, 2}}"),
        ("/tmp/tmpab12/x.csv read", "/tmp/tmpzz99/x.csv read"),
        ("job 5f0c1f0e-7a51-4a9c-9d4f-0f6f2a7f9f10", "job 0f0c1f0e-7a51-4a9c-9d4f-0f6f2a7f9fff"),
        ("at 2026-11-26 10:01:07", "at 2026-11-26 10:02:09.123"),
        ("at 2026-11-26T11:01:07+01:00", "at 2026-11-26T10:02:09Z"),
        ("[10:01:07] read", "[10:02:10] read"),
        ("sum 0.30000000000000004", "sum 0.3"),
        ("\x1b[31mred\x1b[0m", "red"),
    ],
)
def test_noise_is_no_difference(made: Made, before: str, after: str):
    """What differs between any two runs is left out."""
    assert not made.diff(executed(shows("a", before)), executed(shows("a", after))).differs


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("newest 2026-11-25 10:01:07", "newest 2026-11-26 09:00:00"),  # of the data
        ("day 2018-01-31 10:01:07", "day 2018-01-31 10:02:09"),
        ("45%|██  | 45/100 [00:01<00:02]", "45%|██  | 46/100 [00:01<00:02]"),
        ("depth 10 m", "depth 11 m"),
        ("{'a': 1, 'b': 2}", "{'a': 2, 'b': 1}"),
        ("wallet 0x00000000000000000000000a", "wallet 0x00000000000000000000000b"),
        ("1,707 rows", "1,708 rows"),
        ("9" * 400, "9" * 399 + "8"),
    ],
)
def test_what_only_looks_like_noise_is_a_difference(made: Made, before: str, after: str):
    """Moments, orders and numbers of the data are compared."""
    assert made.diff(executed(shows("a", before)), executed(shows("a", after))).differs


def test_a_project_adds_what_it_does_not_want_to_see(made: Made):
    """Patterns of `diff_ignore` are left out, too."""
    notebooks = [executed(shows("a", f"request {n} answered")) for n in ("a1", "b2")]
    assert made.diff(*notebooks).differs

    file = made.project.root / "pyproject.toml"
    file.write_text(file.read_text().replace(
        "[tool.dataflow]\n", "[tool.dataflow]\ndiff_ignore = ['request \\w+']\n"))  # fmt: skip
    made.project = Project(made.project.root)

    found = made.diff(*notebooks)
    assert not found.differs
    assert found.left_out == {"what diff_ignore names": 1}


@pytest.mark.parametrize(
    ("notebook", "note"),
    [
        (None, "the later run's: the executed notebook is gone"),
        ("{", "the later run's: not a valid notebook: "),
        ('{"cells": ' + "[" * 5000, "the later run's: not a valid notebook: "),
    ],
)
def test_a_notebook_that_cannot_be_read_is_said_and_the_rest_compared(
    made: Made, notebook: str | None, note: str
):
    """Without one of the notebooks rows and set parameters are still compared."""
    one = made.run(executed(nbformat.v4.new_code_cell("a: int = 1", metadata={"tags": ["parameters"]})),
                   rows={"t": 1}, values={"a": 2})  # fmt: skip
    other = made.run(notebook, rows={"t": 2}, values={"a": 3})

    found = other.diff(one)

    assert stage(found, "read").note.startswith(note)
    assert [(p.name, p.before, p.after) for p in found.parameters] == [("a", 2, 3)]
    assert found.summary == "1 parameter and rows of 1 table differ"
    assert not found.is_complete
    assert one.diff(made.run(notebook, values={"a": 2}, rows={"t": 1})).summary == (
        "Nothing differs as far as it could be compared"
    )


def test_columns_and_rows_are_compared_as_they_were_recorded(made: Made):
    """Columns of tables that stages wrote, and rows of models, come from the runs' folders."""

    def data(rows: int, kind: str) -> str:  # fmt: skip
        column = {"name": "day", "old_type": None, "new_type": kind}
        model = {"schema": "made", "name": "daily", "in_new": True, "new_rows": rows}
        gone = {"schema": "made", "name": "old", "in_new": False, "new_rows": None}
        return json.dumps({"tables": [{**model, "columns": [column]}, {**gone, "columns": []}]})

    columns = {"id": "BIGINT", "price": "DOUBLE"}, {"id": "VARCHAR", "sold": "BIGINT"}
    runs = [
        made.run(executed("a"), writes={"made_raw.sales": {"columns": one, "cells": [1]}})
        for one in columns
    ]
    for run, rows, kind in zip(runs, (7, 9), ("DATE", "TIMESTAMP"), strict=True):
        (run.folder / "data.json").write_text(data(rows, kind))

    found = runs[1].diff(runs[0])

    assert [(one.table, one.column, one.before, one.after) for one in found.schema] == [
        ("made_raw.sales", "id", "BIGINT", "VARCHAR"),
        ("made_raw.sales", "sold", None, "BIGINT"),
        ("made_raw.sales", "price", "DOUBLE", None),
        ("made.daily", "day", "DATE", "TIMESTAMP"),
    ]
    assert [(row.table, row.before, row.after) for row in found.rows] == [("made.daily", 7, 9)]
    assert found.summary == "rows of 1 table and columns of 2 tables differ"
    (runs[0].folder / "data.json").write_text("[" * 9_999)
    assert len(runs[1].diff(runs[0]).schema) == 3


def test_logs_of_ops_and_code_beside_notebooks_are_compared(made: Made):
    """What has no notebook is compared by its log, and by the version of its code."""
    runs = []
    for number, version in enumerate(("a1", "b2"), start=1):
        record = RunRecord(made.project, "made", f"{number:08}" + "d" * 24)
        record.begin(
            [{"name": name, "kind": kind} for name, kind in (("op", "op"), ("dbt", "dbt"))]
        )
        record.step_ended("op", "succeeded", log="op.log", code_version="same")
        record.step_ended("dbt", "succeeded", log="dbt.log", code_version=version)
        record.end()
        (record.folder / "op.log").write_text(f"{number} rows\n<object at 0x7f00000{number}0000>\n")
        (record.folder / "dbt.log").write_text(f"took {number} s, and {number}")
        runs.append(Api(made.project).find_run(record.run_id))

    found = runs[1].diff(runs[0])

    assert found.code == ("dbt",)
    assert [stage.title for stage in found.stages] == ["op, its log"]
    marks = [(line.mark, line.text) for line in found.stages[0].log.lines if line.mark in "-+"]
    assert marks == [("-", "1 rows"), ("+", "2 rows")]
    assert found.summary == "1 step's other files and 1 output differ"


def test_a_record_that_somebody_changed_leads_nowhere_else(made: Made, tmp_path: Path):
    """Paths, commits and shapes of run.json are not believed."""
    (tmp_path / "secret.ipynb").write_text(nbformat.writes(executed("top = 'secret'")))
    one = made.run(executed("a = 1"), checks="none", rows=[1], recorded={"t": 3}, values="x")
    other = made.run(None, "../../../secret.ipynb")
    for run, commit in ((one, "--output=/tmp/x"), (other, ["x"])):
        data = {
            **run.data,
            "git": {"commit": commit},
            "steps": {**run.data["steps"], "odd": "text"},
        }
        (run.folder / "run.json").write_text(json.dumps(data))
    one, other = (Api(made.project).find_run(run.run_id) for run in (one, other))

    found = other.diff(one)

    assert "secret" not in json.dumps(found.to_json()).replace("secret.ipynb", "")
    assert found.commits.before is None
    assert not list(tmp_path.glob("x"))


def test_a_retried_stage_is_compared_by_its_last_try(made: Made):
    """The notebook that the record names is read, and the try is said."""
    one = made.run(executed("a = 1"))
    other = made.run(executed("a = 2"), "read.try2.ipynb")

    read = stage(other.diff(one), "read")

    assert read.note == "the later run's is that of try 2"
    assert [cell.number for cell in read.notebook.cells] == ["cell 1"]


def test_hostile_outputs_cost_little_and_stay_text(made: Made):
    """Broken and huge HTML is read in time, and nothing of it is more than text."""
    hostile = ["<!" * 200_000, "<table>" * 50_000, "<table><td colspan=9999 rowspan=9999>x" * 1_000,
               "<table><tr><td>" + "&" * 200_000, "<a " * 100_000, "in" + " " * 200_000]  # fmt: skip
    before = executed(
        *(shows(f"a{n}", {"text/html": text + "1"}) for n, text in enumerate(hostile))
    )
    after = executed(*(shows(f"a{n}", {"text/html": text + "2"}) for n, text in enumerate(hostile)))
    start = os.times()

    found = made.diff(before, after)

    assert stage(found, "read").changed_outputs >= 4
    assert os.times().user - start.user < 20


def test_images_that_are_none_are_text(made: Made):
    """What claims to be an image and is none can be compared and is shown as nothing else."""
    found = made.diff(
        executed(shows("a", {"image/png": '"><script>alert(1)</script>', "text/plain": "b"})),
        executed(shows("a", {"image/png": "iVBORw0KGgo=", "text/plain": "c"})),
    )

    for output in stage(found, "read").notebook.cells[0].outputs:
        for image in filter(None, (output.before, output.after)):
            assert "<" not in image.uri


def test_a_run_of_the_first_version_is_compared(tmp_path: Path):
    """A run of format 1, which knows neither its end nor its user, is compared with a later one."""
    import tarfile

    with tarfile.open(Path(__file__).parents[1] / "runs" / "project_0.1.0.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    project = Api(Project(tmp_path))
    (old,) = project.runs("sample")
    copied = project.paths.runs / "sample" / "20990101T000000Z_0123abcd"
    shutil.copytree(old.folder, copied)
    data = {**old.data, "run_id": "0123abcd" + "0" * 24, "started_at": "2099-01-01T00:00:00"}
    (copied / "run.json").write_text(json.dumps(data))

    found = project.find_run("0123abcd").diff(old)

    assert found.summary == "Nothing differs"
    assert "cells" in " ".join(found.same)


def test_the_last_good_run_is_one_that_did_as_much(made: Made):
    """A later run of a part of the workflow is no measure for a whole one, if there is a whole one."""
    project = made.project

    def run(number: int, steps: dict[str, str]) -> Run:
        record = RunRecord(project, "made", f"{number:08}" + "b" * 24)
        record.begin([{"name": name, "kind": "op"} for name in steps], selection=[
            name for name, status in steps.items() if status != "left out"])  # fmt: skip
        for name, status in steps.items():
            if status != "left out":
                record.step_ended(name, status)
        record.end()
        data = record.read() | {"started_at": f"2026-11-26T10:{number:02}:00+00:00"}
        (record.folder / "run.json").write_text(json.dumps(data))
        return Api(project).find_run(record.run_id)

    part, whole = {"a": "succeeded", "b": "left out"}, {"a": "succeeded", "b": "skipped"}
    alone, first, second, third = run(10, part), run(11, whole), run(12, part), run(13, whole)

    assert last_good_before(project, third).run_id == first.run_id
    assert last_good_before(project, second).run_id == first.run_id
    assert last_good_before(project, alone) is None
    found = second.diff()
    assert not found.differs
    assert found.notes == ("The later run was one without b.",)
    other = run(14, {"a": "succeeded", "c": "failed"}).diff()
    assert [(one.step, one.before, one.after) for one in other.results] == [
        ("c", None, "failed"), ("b", "skipped", None),
    ]  # fmt: skip
