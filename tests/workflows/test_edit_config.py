"""Changes of config.yaml: the lines concerned and no others, valid or not written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from projects import REPOSITORY, write_notebook

from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.scaffold.workflow import TEMPLATES
from dataflow.workflows.edit import ConfigEditor, seen_hash

Edit = Callable[[ConfigEditor], None]

CONFIGS = [
    REPOSITORY / "notebooks" / "earthquakes" / "config.yaml",
    *sorted(TEMPLATES.glob("*/notebooks/my_workflow/config.yaml")),
]
COMMENTED = """\
workflow:
  name: Pegel  # as people say
  schedule: '0 6 * * *'  # before the office opens
  # whom to ask: Jürgen
  owner: team

# Read by the notebooks.
other: {a: 1,   b: yes}

stages:
- notebook: ingest.ipynb
  # both come from the same file
  writes:
  - levels  # in cm
  # since 2024
  - gauges
- notebook: report.ipynb   # last

# the end
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "pyproject.toml").write_text("[tool.dataflow]\n")
    return Project(tmp_path)


def folder_with(
    project: Project, config: str | bytes, *notebooks: str, name: str = "sales"
) -> Path:
    folder = project.notebooks / name
    folder.mkdir(parents=True)
    content = config if isinstance(config, bytes) else config.encode()
    (folder / "config.yaml").write_bytes(content)
    for notebook in notebooks or ("ingest.ipynb", "report.ipynb"):
        write_notebook(folder / notebook, ["1 + 1"])
    return folder


def changed(project: Project, folder: Path, edit: Edit) -> list[str]:
    """The lines that an edit takes and adds; it is written."""
    editor = ConfigEditor(project, folder)
    edit(editor)
    change = editor.change()
    change.write()
    assert (folder / "config.yaml").read_bytes() == change.after
    return [line for line in change.diff if line[0] in "+-"]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.parts[-4])
def test_a_change_touches_only_its_own_lines(project: Project, config: Path):
    names = [path.name for path in config.parent.glob("*.ipynb")]
    folder = folder_with(project, config.read_bytes(), *names)
    before = config.read_text()

    lines = changed(project, folder, lambda e: e.set_schedule("30 7 * * 1-5", "Europe/Berlin"))
    lines += changed(project, folder, lambda e: e.set_after("ingest", []))

    assert [line for line in lines if line[0] == "-"] == (
        ['-  schedule: "0 6 * * *"'] if '\n  schedule: "0 6 * * *"\n' in before else []
    )
    assert [line for line in lines if line[0] == "+"] == [
        '+  schedule: "30 7 * * 1-5"',
        '+  timezone: "Europe/Berlin"',
        "+    after: []",
    ]


@pytest.mark.parametrize(
    ("edit", "lines"),
    [
        (
            lambda e: e.set_schedule("@daily", "UTC"),
            [
                "-  schedule: '0 6 * * *'  # before the office opens",
                "+  schedule: '@daily'  # before the office opens",
            ],
        ),
        (
            lambda e: e.set_schedule(None),
            ["-  schedule: '0 6 * * *'  # before the office opens"],
        ),
        (lambda e: e.set_writes("ingest", ["levels", "gauges", "new"]), ["+  - new"]),
        (
            lambda e: e.set_writes("ingest", ["levels"]),
            ["-  # since 2024", "-  - gauges"],
        ),
        (lambda e: e.set_writes("report", ["totals"]), ["+  writes: [totals]"]),
        (
            lambda e: e.add_stage("ingest2.ipynb", ["x"], ["ingest", "report"]),
            ["+- notebook: ingest2.ipynb", "+  writes: [x]", "+  after: [ingest, report]"],
        ),
        (lambda e: e.set_writes("ingest", ["levels", "gauges"]), []),
        (lambda e: e.set_after("ingest", None), []),
    ],
)
def test_comments_quotes_and_layout_stay(project: Project, edit: Edit, lines: list[str]):
    folder = folder_with(project, COMMENTED)
    write_notebook(folder / "ingest2.ipynb", ["1"])

    assert changed(project, folder, edit) == lines


def test_line_ends_and_byte_order_mark_stay(project: Project):
    content = ("\ufeff" + COMMENTED).replace("\n", "\r\n").removesuffix("\r\n").encode()
    folder = folder_with(project, content)

    changed(project, folder, lambda e: e.set_writes("report", ["totals"]))

    expected = content.replace(b"# last\r\n", b"# last\r\n  writes: [totals]\r\n")
    assert (folder / "config.yaml").read_bytes() == expected


def test_stages_that_only_follow_from_the_notebooks_are_written_out_when_needed(project: Project):
    folder = folder_with(project, "workflow:\n  name: S  # no end of line")

    assert changed(project, folder, lambda e: e.set_writes("report", [])) == []
    changed(project, folder, lambda e: e.set_writes("report", ["totals"]))

    assert (folder / "config.yaml").read_text() == (
        "workflow:\n  name: S  # no end of line\n\nstages:\n"
        "  - notebook: ingest.ipynb\n  - notebook: report.ipynb\n    writes: [totals]"
    )


@pytest.mark.parametrize(
    "config",
    [
        '{workflow: {name: x}, "stages": [{notebook: ingest.ipynb, writes: [a, "b"]}]}',
        "workflow:\n  name: x\nstages:\n  -\n    notebook: ingest.ipynb\n    writes:\n    - a\n...\n",
        "w: &w [a]\nworkflow:\n  name: x\nstages:\n- writes: *w\n  notebook: ingest.ipynb\n",
        "d: &d {timeout: 5}\nworkflow:\n  name: x\nstages:\n- notebook: ingest.ipynb\n  <<: *d\n",
    ],
    ids=["flow", "dash alone", "alias", "merge key"],
)
def test_every_layout_of_yaml_says_what_was_meant_afterwards(project: Project, config: str):
    folder = folder_with(project, config)
    expected = yaml.safe_load(config)
    expected["workflow"].update(schedule="5 5 * * *", timezone="Europe/Berlin")
    expected["stages"][0] = {**expected["stages"][0], "writes": ["b", "c_d"]}
    expected["stages"].append({"notebook": "report.ipynb", "after": []})

    def edit(editor: ConfigEditor) -> None:
        editor.set_schedule("5 5 * * *", "Europe/Berlin")
        editor.set_writes("ingest", ["b", "c_d"])
        editor.add_stage("report.ipynb", after=[])

    changed(project, folder, edit)

    assert yaml.safe_load((folder / "config.yaml").read_text()) == expected


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda e: e.set_schedule("0 6 * *"), "it has 4 fields, not 5"),
        (lambda e: e.set_schedule("0 6 * * *", "Europe/Bärlin"), "is not a time zone"),
        (lambda e: e.set_writes("ingest", ["No table"]), "`No table` is not a table's name"),
        (lambda e: e.set_writes("report", ["levels"]), "is written by `ingest` and `report`"),
        (lambda e: e.set_writes("ingest", ["other_raw.t"]), "also belongs to workflow other"),
        (lambda e: e.set_after("ingest", ["report"]), "the stages wait for each other"),
        (lambda e: e.set_after("ingest", ["reprot"]), "Did you mean `report`?"),
        (lambda e: e.set_after("reprot", []), "Did you mean `report`?"),
        (lambda e: e.add_stage("absent.ipynb"), "there is no notebook `absent.ipynb`"),
        (lambda e: e.add_stage("../ingest.ipynb"), "is not a notebook here"),
    ],
)
def test_what_would_not_be_valid_is_not_written(project: Project, edit: Edit, words: str):
    folder = folder_with(project, COMMENTED)
    folder_with(project, "workflow: {name: Other}", name="other")

    with pytest.raises(ConfigurationError) as error:
        changed(project, folder, edit)

    assert words in str(error.value)
    assert (folder / "config.yaml").read_text() == COMMENTED


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("workflow: [\n", "config.yaml:2: not valid YAML"),
        ("workflow:\n  name: a\n  name: b\n", "config.yaml:3: `name` is given twice"),
        ("", "the file is empty"),
        ("workflow:\n", "config.yaml:1"),
        (b"workflow:\n  name: \xe4\n", "not UTF-8"),
        ("workflow:\n  name: a\n  schedule: &s '@daily'\nb: *s\n", "config.yaml:3"),
        (
            "workflow: {name: a,\n  schedule: [ # why\n 1]}\n",
            "config.yaml:2: config.yaml cannot be changed here",
        ),
    ],
)
def test_a_file_that_cannot_be_changed_safely_stays_and_the_error_names_the_line(
    project: Project, config: str | bytes, words: str
):
    folder = folder_with(project, config)
    before = (folder / "config.yaml").read_bytes()

    with pytest.raises(ConfigurationError) as error:
        changed(project, folder, lambda e: e.set_schedule("0 6 * * *"))

    assert words in str(error.value)
    assert (folder / "config.yaml").read_bytes() == before


def test_a_file_that_somebody_changed_meanwhile_is_not_overwritten(project: Project):
    folder = folder_with(project, COMMENTED)
    seen = seen_hash(folder)
    editor = ConfigEditor(project, folder, seen)
    editor.set_schedule(None)
    change = editor.change()
    theirs = COMMENTED + "# theirs\n"
    (folder / "config.yaml").write_text(theirs)

    with pytest.raises(ConfigurationError, match="somebody has changed it"):
        change.write()
    with pytest.raises(ConfigurationError, match="somebody has changed it"):
        ConfigEditor(project, folder, seen)

    assert (folder / "config.yaml").read_text() == theirs
    assert [path.name for path in folder.glob(".*")] == []


def test_a_change_is_undone_to_the_byte_and_keeps_the_permissions(project: Project):
    folder = folder_with(project, COMMENTED)
    (folder / "config.yaml").chmod(0o640)
    editor = ConfigEditor(project, folder)
    editor.set_writes("ingest", [])
    change = editor.change()

    change.write()
    assert seen_hash(folder) == change.seen
    change.undone.write()

    assert (folder / "config.yaml").read_text() == COMMENTED
    assert (folder / "config.yaml").stat().st_mode & 0o777 == 0o640


def test_links_and_read_only_files_are_refused(project: Project):
    folder = folder_with(project, COMMENTED)
    (folder / "config.yaml").rename(project.root / "shared.yaml")
    (folder / "config.yaml").symlink_to(project.root / "shared.yaml")

    with pytest.raises(ConfigurationError, match="is a link to"):
        ConfigEditor(project, folder)

    (folder / "config.yaml").unlink()
    (project.root / "shared.yaml").rename(folder / "config.yaml")
    (folder / "config.yaml").chmod(0o444)
    with pytest.raises(ConfigurationError, match="read-only"):
        ConfigEditor(project, folder)
    assert (folder / "config.yaml").read_text() == COMMENTED


def test_a_workflow_written_in_python_has_a_schedule_and_no_stages(project: Project):
    folder = folder_with(project, "workflow:\n  name: P\n")
    (folder / "dagster_job.py").write_text("")

    assert changed(project, folder, lambda e: e.set_schedule("@daily")) == ["+  schedule: '@daily'"]
    with pytest.raises(ConfigurationError, match=r"written in dagster_job\.py"):
        changed(project, folder, lambda e: e.set_writes("ingest", ["a"]))
