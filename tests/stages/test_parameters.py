"""Parameters: what a notebook declares, which values it takes, and how they get into a run."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import nbformat
import pytest
from dagster._config import process_config, resolve_to_config_type
from projects import (
    REPOSITORY,
    Workflow,
    dataflow,
    make_project,
    markdown,
    parameters,
    write_notebook,
)

from dataflow.errors import ParameterError
from dataflow.orchestration.notebooks.config_schema import config_schema, from_config, to_config
from dataflow.orchestration.run import RunPlan, plan_run
from dataflow.project import Project
from dataflow.stages.notebook import (
    declared_parameters,
    injected_source,
    prepare_notebook,
    read_notebook,
)
from dataflow.stages.parameters import REQUIRED, Declaration, convert, read_declaration
from dataflow.stages.result import plain
from dataflow.stages.values import check_values
from dataflow.workflows.registry import get_workflow

EVERY_TYPE = """\
from_file: str = "events.csv"  # where the events are
rows: int = 100
# the least magnitude,
# on any scale
magnitude: float = 4.5
dry: bool = False
day: date = date(2018, 2, 5)
moment: datetime = datetime(2018, 2, 5, 12, 30)
names: list[str] = ["a"]
days: list[date] = []
weights: dict[str, float] = {"a": 0.5}
limit: Optional[int] = None
least: float | None = None
source: Literal["file", "api"] = "file"
level: Literal[1, 2, 3] = 1
plain = 3
anything = None
quoted: "int | None" = None"""


def declare(tmp_path: Path, source: str) -> Declaration:
    """The declaration of a notebook whose second cell is tagged."""
    path = write_notebook(tmp_path / "stage.ipynb", [markdown("# Stage"), parameters(source)])
    return declared_parameters(path)


def messages(error: pytest.ExceptionInfo[ParameterError]) -> list[str]:
    return [problem.message for problem in error.value.problems]


# -- what is declared ------------------------------------------------------------------


def test_names_defaults_and_comments_are_read_from_the_tagged_cell(tmp_path: Path) -> None:
    declaration = declare(tmp_path, EVERY_TYPE + "\nsince: date")
    assert declaration.problems == []
    found = declaration.parameters
    assert found["from_file"].help == "where the events are"
    assert found["magnitude"].help == "the least magnitude, on any scale"
    assert found["rows"].help == ""
    assert found["day"].default == datetime.date(2018, 2, 5)
    assert found["moment"].default == datetime.datetime(2018, 2, 5, 12, 30)
    assert found["weights"].default == {"a": 0.5}
    assert found["plain"].type is int
    assert found["since"].default is REQUIRED
    assert found["since"].required
    assert not found["least"].required


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("from_file", "a.csv", "a.csv"),
        ("from_file", "007", "007"),
        ("from_file", 7, "7"),
        ("from_file", datetime.date(2018, 2, 5), "2018-02-05"),
        ("rows", "12", 12),
        ("rows", 12, 12),
        ("magnitude", "4", 4.0),
        ("magnitude", 4, 4.0),
        ("magnitude", "1e-3", 0.001),
        ("dry", "true", True),
        ("dry", "no", False),
        ("dry", True, True),
        ("day", "2020-01-31", datetime.date(2020, 1, 31)),
        ("day", datetime.date(2020, 1, 31), datetime.date(2020, 1, 31)),
        ("moment", "2020-01-31T10:00:00", datetime.datetime(2020, 1, 31, 10)),
        ("names", "[a, b]", ["a", "b"]),
        ("names", ["a"], ["a"]),
        ("days", "[2020-01-31]", [datetime.date(2020, 1, 31)]),
        ("weights", "{a: 1.5, b: 2}", {"a": 1.5, "b": 2.0}),
        ("limit", "null", None),
        ("limit", "5", 5),
        ("least", "2.5", 2.5),
        ("least", None, None),
        ("source", "api", "api"),
        ("level", "2", 2),
        ("plain", "4", 4),
        ("anything", {"any": ["thing"]}, {"any": ["thing"]}),
        ("quoted", "6", 6),
    ],
)
def test_a_value_is_read_as_people_mean_it(
    tmp_path: Path, name: str, given: Any, wanted: Any
) -> None:
    value = convert(declare(tmp_path, EVERY_TYPE).parameters[name], given)
    assert value == wanted
    assert type(value) is type(wanted)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("rows", "4.5"),
        ("rows", 4.5),
        ("rows", True),
        ("rows", "many"),
        ("rows", None),
        ("magnitude", "strong"),
        ("magnitude", False),
        ("dry", "perhaps"),
        ("dry", 2),
        ("day", "2018-02-30"),
        ("day", "yesterday"),
        ("moment", "noon"),
        ("names", "a"),
        ("days", ["2018-02-30"]),
        ("weights", {"a": "heavy"}),
        ("weights", "[1]"),
        ("limit", "some"),
        ("source", "ftp"),
        ("level", "4"),
        ("from_file", ["a"]),
    ],
)
def test_a_value_of_another_type_is_refused(tmp_path: Path, name: str, given: Any) -> None:
    parameter = declare(tmp_path, EVERY_TYPE).parameters[name]
    with pytest.raises(ValueError, match="is not of type"):
        convert(parameter, given)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a = 1\nprint(a)", "line 2: `print(a)` is not an assignment"),
        ("import os\na = 1", "line 1: `import os` is not an assignment"),
        ("a = 1\nfor b in []:\n    pass", "line 2: `for b in []:` is not an assignment"),
        ("a = b = 1", "line 1: `a = b = 1` is not an assignment"),
        ("a = 1 + len('x')", "the default of `a` is not a literal"),
        ("a: int = 'x'", "the default of `a` 'x' is not of type int"),
        ("a: Frame = None", "the type of `a`: `Frame` is not a type that parameters can have"),
        ("a: __import__('os') = 1", "the type of `a`"),
        ("a = 1\na = 2", "line 2: `a` is assigned twice, first in line 1"),
        ("a = (", "not valid Python"),
        ("day: date = date(2018, 2, 30)", "the default of `day` is not a literal"),
        # Half-written, as an editor has it.
        ("a: Literal", "the type of `a`: it lacks what belongs in its brackets"),
        ("a: list[Optional] = [1]", "the type of `a`: it lacks what belongs in its brackets"),
        ("a: dict[int] = {}", "the type of `a`: it lacks what belongs in its brackets"),
        ("a: Union[Literal, int] = 1", "the type of `a`"),
        ("a: Literal | int = 1", "the type of `a`"),
        ("a = {[]: 1}", "the default of `a` is not a literal"),
        ("a: list = '" + "[" * 1500 + "'", "is not of type list"),
        ("a = " + "-" * 5000 + "1", "not valid Python: nested too deeply"),
    ],
)
def test_a_cell_that_holds_more_than_assignments_is_a_mistake_with_its_line(
    tmp_path: Path, source: str, message: str
) -> None:
    declaration = declare(tmp_path, source)
    found = [f"{problem.where()}: {problem.message}" for problem in declaration.problems]
    assert any(message in one for one in found)
    assert all(problem.hint for problem in declaration.problems)
    with pytest.raises(ParameterError):
        check_values(declaration, {}, stage="stage")


def test_text_and_comments_between_assignments_are_fine(tmp_path: Path) -> None:
    declaration = declare(tmp_path, '"""Of this stage."""\n\n# one\na = 1\n')
    assert declaration.problems == []
    assert declaration.parameters["a"].help == "one"


def test_two_tagged_cells_or_a_tagged_text_are_mistakes(tmp_path: Path) -> None:
    text = markdown("a = 1")
    text["metadata"]["tags"] = ["parameters"]
    assert "is not code" in read_declaration(tmp_path, [text]).problems[0].message
    both = read_declaration(tmp_path, [parameters("a = 1"), parameters("b = 1")])
    assert "cells 1, 2 are all tagged" in both.problems[0].message


def test_a_notebook_without_the_cell_is_wrong_only_when_it_is_given_values(tmp_path: Path) -> None:
    declaration = read_declaration(tmp_path, [nbformat.v4.new_code_cell("print(1)")])
    assert check_values(declaration, {}, stage="stage") == {}
    with pytest.raises(ParameterError) as error:
        check_values(declaration, {"a": 1}, stage="stage")
    assert messages(error) == ["no cell is tagged `parameters`"]


# -- checking a run --------------------------------------------------------------------


def demo(tmp_path: Path) -> Project:
    """Two stages that share a parameter; running one would leave a file behind."""
    began = "open('began', 'w').close()"
    return make_project(
        tmp_path / "project",
        {
            "demo": Workflow(
                {
                    "load": [
                        parameters(
                            'source: Literal["file", "api"] = "file"\n'
                            "min_magnitude: float | None = None  # drop weaker events\n"
                            "since: date"
                        ),
                        began,
                    ],
                    "count": [parameters("min_magnitude: float = 1.0\nrows: int = 5"), began],
                },
                stages=[
                    {
                        "notebook": "load.ipynb",
                        "parameters": {"since": "2018-02-05", "min_magnitude": 2.5},
                    },
                    {"notebook": "count.ipynb"},
                ],
            )
        },
    )


def plan(project: Project, **values: Any) -> RunPlan:
    return plan_run(project, get_workflow(project, "demo"), values)


def test_a_name_goes_to_every_stage_that_declares_it(tmp_path: Path) -> None:
    planned = plan(demo(tmp_path), min_magnitude="4", rows="7")
    assert planned.values == {
        "load": {"min_magnitude": 4.0},
        "count": {"min_magnitude": 4.0, "rows": 7},
    }


def test_a_name_with_a_stage_goes_to_that_stage_only(tmp_path: Path) -> None:
    planned = plan(demo(tmp_path), **{"count.min_magnitude": "4"})
    assert planned.values == {"count": {"min_magnitude": 4.0}}


def test_a_secret_given_in_clear_goes_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_TOKEN", "s3cret-of-ours")
    workflow = Workflow(
        {"load": [parameters('header: str = ""\nmode: Literal["a"] = "a"')]},
        config={"ingestion": {"source": {"token": "${THE_TOKEN}"}}},
    )
    project = make_project(tmp_path / "project", {"demo": workflow})
    planned = plan(project, header="Bearer s3cret-of-ours", mode="a")
    assert planned.values == {"load": {"header": "Bearer ${THE_TOKEN}", "mode": "a"}}


def test_all_mistakes_in_all_stages_are_told_at_once(tmp_path: Path) -> None:
    project = demo(tmp_path)
    config = project.notebooks / "demo" / "config.yaml"
    config.write_text(config.read_text().replace("    since: '2018-02-05'\n", ""))
    write_notebook(
        project.notebooks / "demo" / "count.ipynb",
        [parameters("min_magnitude: float = 1.0\nrows: int = 5\nprint(rows)")],
    )
    given = {
        "min_magnitud": "3",
        "source": "ftp",
        "rows": "4.5",
        "cuont.rows": "1",
        "load.min_magnitude": "strong",
    }
    with pytest.raises(ParameterError) as error:
        plan(project, **given)
    text = "\n".join(f"{p.where()}: {p.message} | {p.hint}" for p in error.value.problems)
    for expected in (
        "no stage of demo has a parameter `min_magnitud` | Did you mean `min_magnitude`?",
        "there is no stage `cuont` | Did you mean `count`?",
        "parameter `source` of stage `load`: 'ftp' is not of type Literal['file', 'api']",
        "parameter `min_magnitude` of stage `load`: 'strong' is not of type float | None",
        "parameter `since` of stage `load` has no default and no value was given",
        "parameter `rows` of stage `count`: '4.5' is not of type int",
        "cell 1, line 3: `print(rows)` is not an assignment",
    ):
        assert expected in text
    assert len(error.value.problems) == 7
    assert "min_magnitude: drop weaker events" in text  # the comment helps


def test_an_unset_variable_is_a_mistake_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_VARIABLE", raising=False)
    with pytest.raises(ParameterError) as error:
        plan(demo(tmp_path), source="${NO_SUCH_VARIABLE}")
    assert messages(error) == [
        "parameter `source` needs the environment variable NO_SUCH_VARIABLE, which is not set"
    ]


def test_the_command_ends_with_two_and_starts_no_kernel(tmp_path: Path) -> None:
    project = demo(tmp_path)
    done = dataflow(project, "workflow", "run", "demo", "-p", "min_magnitud", "3", "-p", "rows=x")
    assert done.returncode == 2
    assert "Did you mean `min_magnitude`?" in done.stderr
    assert "'x' is not of type int" in done.stderr
    assert not (project.notebooks / "demo" / "began").exists()
    assert not list(project.runs.glob("demo/*"))


@pytest.mark.slow
def test_the_command_line_wins_over_the_file_the_configuration_and_the_notebook(
    tmp_path: Path,
) -> None:
    show = "print(json.dumps([notebook, configured, filed, given]))"
    names = ["notebook", "configured", "filed", "given"]
    project = make_project(
        tmp_path / "project",
        {
            "demo": Workflow(
                {
                    "show": [
                        parameters("\n".join(f'{name}: str = "notebook"' for name in names)),
                        f"import json\n{show}",
                    ]
                },
                stages=[
                    {
                        "notebook": "show.ipynb",
                        "parameters": dict.fromkeys(names[1:], "config.yaml"),
                    }
                ],
            )
        },
    )
    file = tmp_path / "values.yaml"
    file.write_text("show.filed: file\ngiven: file\n")
    done = dataflow(project, "workflow", "run", "demo", "-f", str(file), "-p", "given", "command")
    assert done.returncode == 0, done.stderr
    assert json.dumps(["notebook", "config.yaml", "file", "command"]) in done.stderr
    (path,) = project.runs.glob("demo/*/show.ipynb")
    nb = nbformat.read(path, as_version=4)
    assert nb.cells[0].source.count('"notebook"') == 4  # the defaults stay
    assert nb.cells[1].metadata.tags == ["injected-parameters"]
    assert nb.cells[1].source.splitlines()[1:] == [
        'configured = "config.yaml"',
        'filed = "file"',
        'given = "command"',
    ]
    assert nb.metadata.papermill.parameters["given"] == "command"


# -- the injected cell -----------------------------------------------------------------


def injected(tmp_path: Path, values: dict[str, Any]) -> str:
    """The source of the cell that is put in for `values`."""
    declaration = declare(tmp_path, EVERY_TYPE)
    nb = read_notebook(declaration.notebook)
    prepared = prepare_notebook(nb, declaration, check_values(declaration, values, stage="stage"))
    assert prepared.cells[1].source == EVERY_TYPE
    assert prepared.cells[2].metadata.tags == ["injected-parameters"]
    return str(prepared.cells[2].source)


def test_values_of_every_type_arrive_as_they_were_meant(tmp_path: Path) -> None:
    values = {
        "from_file": 'odd "name"\n\\ é.csv',
        "rows": "3",
        "magnitude": "inf",
        "dry": "true",
        "day": "2020-01-31",
        "moment": "2020-01-31T10:00:00",
        "names": '["a", "b"]',
        "days": "[2020-01-31]",
        "weights": {"a": 1},
        "limit": "null",
        "source": "api",
    }
    source = injected(tmp_path, values)
    assert "day = date(2020, 1, 31)" in source
    namespace: dict[str, Any] = {"date": datetime.date, "datetime": datetime.datetime}
    exec(source, namespace)
    assert namespace["from_file"] == values["from_file"]
    assert namespace["magnitude"] == float("inf")
    assert namespace["moment"] == datetime.datetime(2020, 1, 31, 10)
    assert namespace["days"] == [datetime.date(2020, 1, 31)]
    assert namespace["weights"] == {"a": 1.0}
    assert (namespace["dry"], namespace["limit"], namespace["rows"]) == (True, None, 3)


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("moment", "2020-01-31T10:00:00Z", datetime.datetime(2020, 1, 31, 10, tzinfo=datetime.UTC)),
        ("pair", "[3, 4]", (3, 4)),
        ("one", "[3]", (3,)),
        ("from_file", "$${HOME}/a", "${HOME}/a"),
        ("level", "2", 2),
    ],
)
def test_a_value_arrives_in_the_notebook_and_in_dagster_alike(
    tmp_path: Path, name: str, given: str, wanted: Any
) -> None:
    declaration = declare(tmp_path, EVERY_TYPE + "\npair = (1, 2)\none = (1,)")
    values = check_values(declaration, {name: given}, stage="stage")
    schema = resolve_to_config_type(dg.Shape(config_schema(declaration.parameters, "demo")))
    assert process_config(schema, {name: plain(values[name])}).success
    namespace: dict[str, Any] = {"datetime": datetime.datetime}
    exec(injected_source(declaration, values), namespace)
    assert namespace[name] == wanted


def test_a_variable_can_stand_for_a_value_of_any_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"rows": "3", "magnitude": "4.5", "dry": "true", "level": "2", "source": "api",
             "limit": "7"}  # fmt: skip
    for name, text in given.items():
        monkeypatch.setenv(name.upper(), text)
    declaration = declare(tmp_path, EVERY_TYPE)
    by_name = {name: f"${{{name.upper()}}}" for name in given}
    values = check_values(declaration, by_name, stage="stage")
    schema = resolve_to_config_type(dg.Shape(config_schema(declaration.parameters, "demo")))
    checked = process_config(schema, to_config(values))
    assert checked.success, checked.errors
    assert from_config(checked.value) == by_name
    namespace: dict[str, Any] = {}
    exec(injected_source(declaration, values), namespace)
    found = {name: namespace[name] for name in given}
    assert found == {"rows": 3, "magnitude": 4.5, "dry": True, "level": 2, "source": "api",
                     "limit": 7}  # fmt: skip


def test_a_notebook_of_an_older_format_stays_a_valid_one(tmp_path: Path) -> None:
    declaration = declare(tmp_path, EVERY_TYPE)
    nb = read_notebook(declaration.notebook)
    nb.nbformat_minor = 4
    for cell in nb.cells:
        del cell["id"]
    prepared = prepare_notebook(nb, declaration, {"rows": 3})
    assert prepared.cells[2].source.endswith("rows = 3")
    nbformat.validate(prepared)


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("from_file", "a b", "a b"),
        ("rows", "12", 12),
        ("least", "2.5", 2.5),
        ("dry", "true", True),
        ("dry", "false", False),
        ("day", "2020-01-31", datetime.date(2020, 1, 31)),
        ("source", "api", "api"),
    ],
)
def test_a_variable_is_resolved_in_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, wanted: Any
) -> None:
    monkeypatch.setenv("THE_VALUE", text)
    source = injected(tmp_path, {name: "${THE_VALUE}"})
    assert 'resolve("${THE_VALUE}")' in source
    assert text not in source
    namespace: dict[str, Any] = {"date": datetime.date, "datetime": datetime.datetime}
    exec(source, namespace)
    assert namespace[name] == wanted


# -- Dagster's launchpad ---------------------------------------------------------------


def test_the_launchpad_knows_types_and_helps(tmp_path: Path) -> None:
    fields = config_schema(declare(tmp_path, EVERY_TYPE + "\nsince: date").parameters, "demo_stage")
    assert fields["from_file"].description == "where the events are. default: 'events.csv'"
    assert fields["since"].description == "required"
    kinds = {name: field.config_type.key for name, field in fields.items()}
    assert kinds["rows"] == "Int"
    assert kinds["magnitude"] == "Float"
    assert kinds["dry"] == "Bool"
    assert kinds["names"] == "Array.String"
    assert kinds["least"] == "Noneable.Float"
    assert kinds["day"] == "String"
    schema = resolve_to_config_type(dg.Shape(fields))
    good = {"rows": 3, "source": "api", "names": ["a"], "limit": None, "weights": {"a": 1.5}}
    assert process_config(schema, good).success
    for bad in ({"rows": "x"}, {"source": "ftp"}, {"names": "a"}, {"tokn": 1}):
        assert not process_config(schema, bad).success


# -- plain papermill -------------------------------------------------------------------

PAPERMILL = """
import sys
{imports}
import papermill
papermill.execute_notebook(sys.argv[1], sys.argv[2], {{"a": [1, None, True], "b": "x"}},
                           prepare_only=True, progress_bar=False)
print("dagstermill" in sys.modules)
"""


@pytest.mark.parametrize("import_papermill_first", [True, False])
@pytest.mark.slow
def test_importing_this_package_leaves_plain_papermill_as_it_is(
    tmp_path: Path, import_papermill_first: bool
) -> None:
    ours = (
        "import dataflow.engine.client, dataflow.stages.execute, dataflow.stages.kernel\n"
        "import dataflow.orchestration.notebooks.stage, dataflow.definitions"
    )
    project = demo(tmp_path)
    source = write_notebook(tmp_path / "in.ipynb", [parameters("a = 1"), "print(a)"])
    cells = []
    for imports in ("", f"import papermill\n{ours}" if import_papermill_first else ours):
        output = tmp_path / "out.ipynb"
        done = subprocess.run(
            [sys.executable, "-c", PAPERMILL.format(imports=imports), source, output],
            env={
                **os.environ,
                "PYTHONPATH": str(REPOSITORY),
                "DATAFLOW_PROJECT": str(project.root),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        cells.append(nbformat.read(output, as_version=4).cells[1].source)
        if imports:
            assert done.stdout.strip().endswith("False")  # dagstermill replaces the translator
    assert cells[0] == cells[1] == '# Parameters\na = [1, None, True]\nb = "x"\n'


@pytest.mark.slow
def test_papermills_own_command_can_use_the_engine(tmp_path: Path) -> None:
    source = write_notebook(tmp_path / "in.ipynb", [parameters("a = 1"), "print(a + 1)", "1 / 0"])
    output = tmp_path / "out.ipynb"
    command = [sys.executable, "-m", "papermill", "--engine", "dataflow", "--no-progress-bar"]
    done = subprocess.run(
        [*command, source, output, "-p", "a", "41"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    nb = nbformat.read(output, as_version=4)
    printed = [out.text for cell in nb.cells for out in cell.get("outputs", []) if "text" in out]
    assert printed == ["42\n"]
    assert [cell.metadata.papermill.status for cell in nb.cells if cell.cell_type == "code"][
        -1
    ] == "failed"
