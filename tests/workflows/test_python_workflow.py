"""Workflows written in Python: registered, validated, run, archived and published."""

from __future__ import annotations

import json
import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest
from projects import REPOSITORY, dataflow, make_project, run_data, run_folder

from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.validation.workflow import examine_workflow
from dataflow.workflows.load import load_workflow
from dataflow.workflows.python_workflow import load_registration
from dataflow.workflows.registry import get_workflow, register_workflow

JOB = """
    from dagster import job, op
    from dataflow.workflows.registry import register_workflow

    @op
    def one():
        return 1

    @op
    def two(number):
        print("two got", number)

    @job
    def whole():
        two(one())

    register_workflow(workflow_id="counting", job=whole, description="Counts")
"""


def write_workflow(project: Project, name: str, job: str, **modules: str) -> Path:
    folder = project.notebooks / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(f'workflow:\n  name: "{name}"\n', "utf-8")
    for module, source in {"dagster_job": job, **modules}.items():
        (folder / f"{module}.py").write_text(textwrap.dedent(source).lstrip(), "utf-8")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project", {})


def problems(project: Project, name: str) -> list[tuple[str | None, str, str | None]]:
    found = examine_workflow(project, project.notebooks / name).problems
    return [(p.where(project.root), p.message, p.hint) for p in found]


def test_a_job_is_registered_under_its_folders_name(project: Project):
    write_workflow(project, "counting", JOB)

    registration = load_registration(project, get_workflow(project, "counting"))

    assert registration.description == "Counts"
    assert [node.name for node in registration.job.graph.nodes_in_topological_order] == [
        "one",
        "two",
    ]
    assert problems(project, "counting") == []


def test_ops_are_listed_without_importing_the_job(project: Project):
    write_workflow(project, "counting", JOB + "    raise RuntimeError('imported')\n")

    assert get_workflow(project, "counting").step_names == ["one", "two"]


def test_a_changed_module_is_imported_anew(project: Project):
    job = JOB.replace("return 1", "return NUMBER").replace(
        "from dagster", "from .numbers import NUMBER\n    from dagster"
    )
    folder = write_workflow(project, "counting", job, numbers="NUMBER = 1\n")
    first = load_registration(project, get_workflow(project, "counting"))
    assert load_registration(project, get_workflow(project, "counting")) is first

    (folder / "numbers.py").write_text("NUMBER = 'another'\n", "utf-8")
    again = load_registration(project, get_workflow(project, "counting"))

    [op] = [d for d in again.job.graph.node_defs if d.name == "one"]
    assert op() == "another"


def test_a_decorated_job_stays_what_it_is(project: Project):
    import dagster as dg

    @dg.op
    def work() -> None:
        """Nothing to do."""

    @dg.job
    def my_job() -> None:
        work()

    decorated = register_workflow(name="My Workflow", metadata={"team": "data"})(my_job)

    assert decorated is my_job


def test_what_is_no_job_is_refused_where_it_is_registered(project: Project):
    job = JOB.replace("job=whole", "job=42")
    write_workflow(project, "counting", job)
    line = (
        textwrap.dedent(job)
        .lstrip()
        .splitlines()
        .index('register_workflow(workflow_id="counting", job=42, description="Counts")')
    )

    [(where, message, hint)] = problems(project, "counting")

    assert where == f"notebooks/counting/dagster_job.py:{line + 1}"
    assert "not int" in message
    assert "@job" in str(hint)


def test_the_name_of_a_workflow_that_was_imported_is_not_that_of_an_installed_package(
    project: Project,
):
    from dataflow.scaffold.workflow import plan_workflow

    write_workflow(project, "counting", JOB)
    assert problems(project, "counting") == []

    other = make_project(project.root.parent / "other", {})
    assert plan_workflow(other, "counting").workflow_id == "counting"


@pytest.mark.parametrize(
    ("decorator", "message"),
    [
        ("@job(config=config_mapping(lambda _: {}))", "computes its configuration with a function"),
        ('@job(partitions_def=DailyPartitionsDefinition("2024-01-01"))', "has partitions"),
    ],
)
def test_a_job_with_what_a_run_would_leave_out_is_refused(
    project: Project, decorator: str, message: str
):
    text = JOB.replace("@job", decorator)
    text = text.replace("import job", "import DailyPartitionsDefinition, config_mapping, job")
    write_workflow(project, "counting", text)

    [(where, found, hint)] = problems(project, "counting")

    assert str(where).startswith("notebooks/counting/dagster_job.py:")
    assert message in found
    assert "config_schema" in str(hint)


@pytest.mark.parametrize(
    ("job", "modules", "where", "message", "hint"),
    [
        (
            "import dagster\n\ndagster.nothing_of_this_name\n",
            {},
            "dagster_job.py:3",
            "AttributeError",
            None,
        ),
        ("def broken(:\n", {}, "dagster_job.py:1", "not valid Python", "Fix"),
        (
            "from .parts import missing\n",
            {"parts": "x = 1\n\nraise ValueError('not today')\n"},
            "parts.py:3",
            "not today",
            None,
        ),
        (
            "from parts import anything\n",
            {"parts": "anything = 1\n"},
            "dagster_job.py:1",
            "No module named 'parts'",
            "from .parts import",
        ),
        (
            "import a_package_nobody_has\n",
            {},
            "dagster_job.py:1",
            "No module named",
            "Install",
        ),
        ("x = 1\n", {}, "dagster_job.py", "registers no workflow", 'workflow_id="counting"'),
        (
            textwrap.dedent(JOB).replace('"counting"', '"couting"'),
            {},
            "dagster_job.py",
            "registers `couting`",
            'workflow_id="counting"',
        ),
        (
            textwrap.dedent(JOB).replace('workflow_id="counting", ', ""),
            {},
            "dagster_job.py:16",
            "needs the workflow's name",
            "register_workflow(workflow_id=",
        ),
    ],
)
def test_what_keeps_a_job_from_being_imported_is_named_with_file_and_line(
    project: Project,
    job: str,
    modules: dict[str, str],
    where: str,
    message: str,
    hint: str | None,
):
    write_workflow(project, "counting", job, **modules)

    [(found_where, found_message, found_hint)] = problems(project, "counting")

    assert found_where == f"notebooks/counting/{where}"
    assert message in found_message
    assert hint is None or hint in str(found_hint)


def test_a_workflow_has_notebooks_or_a_job_and_not_both(project: Project):
    folder = write_workflow(project, "counting", JOB)
    config = folder / "config.yaml"
    config.write_text(config.read_text("utf-8") + "stages:\n  - notebook: a.ipynb\n", "utf-8")

    workflow, found = load_workflow(folder)

    assert workflow is None
    assert "has no `stages:`" in found[0].message
    assert found[0].line == 3


def test_notebooks_beside_a_job_are_for_exploring(project: Project):
    folder = write_workflow(project, "counting", JOB)
    (folder / "look.ipynb").write_text("not even a notebook", "utf-8")

    assert get_workflow(project, "counting").stages == ()
    assert problems(project, "counting") == []


def test_a_broken_job_does_not_take_the_others_down(project: Project, caplog):
    from dataflow.orchestration.build import build_definitions

    write_workflow(project, "counting", JOB)
    folder = write_workflow(project, "broken", "import dagster\n1 / 0\n")
    (folder / "config.yaml").write_text(
        'workflow:\n  name: "Broken"\n  schedule: "0 0 * * *"\n', "utf-8"
    )
    counting = project.notebooks / "counting" / "config.yaml"
    counting.write_text('workflow:\n  name: "Counting"\n  schedule: "5 4 * * *"\n', "utf-8")

    repository = build_definitions(project).get_repository_def()

    assert set(repository.job_names) - {"__ASSET_JOB"} == {"broken", "counting"}
    # The broken one keeps its schedule, on which it fails for everyone to see.
    assert {s.cron_schedule for s in repository.schedule_defs} == {"0 0 * * *", "5 4 * * *"}
    assert "notebooks/broken/dagster_job.py:2: ZeroDivisionError" in caplog.text
    assert "ZeroDivisionError" in repository.get_job("broken").description
    assert (
        "one"
        in repository.get_job("counting").graph.node_dict["counting__job"].definition.node_dict
    )


def test_workflows_may_have_ops_of_the_same_names(project: Project):
    from dataflow.orchestration.build import build_definitions

    write_workflow(project, "counting", JOB)
    write_workflow(project, "counting_too", JOB.replace('"counting"', '"counting_too"'))

    repository = build_definitions(project).get_repository_def()

    assert {"counting", "counting_too"} <= {job.name for job in repository.get_all_jobs()}
    for name in ("counting", "counting_too"):
        nodes = repository.get_job(name).graph.node_dict[f"{name}__job"].definition.node_dict
        assert set(nodes) == {"one", "two", "tables"}


def test_of_two_resources_of_one_name_the_later_workflow_is_broken_in_dagster_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
):
    from dataflow.orchestration.build import BROKEN_TAG, ONLY_VARIABLE, build_definitions

    job = JOB.replace(
        "@op\n    def one()", '@op(required_resource_keys={"db"})\n    def one(context)'
    )
    job = job.replace("@job\n", '@job(resource_defs={"db": ResourceDefinition.none_resource()})\n')
    job = job.replace("import job, op", "import ResourceDefinition, job, op")
    write_workflow(project, "counting", job)
    write_workflow(project, "counting_too", job.replace('"counting"', '"counting_too"'))

    jobs = {job.name: job for job in build_definitions(project).get_repository_def().get_all_jobs()}

    assert BROKEN_TAG not in jobs["counting"].tags
    assert "db" in jobs["counting_too"].description
    monkeypatch.setenv(ONLY_VARIABLE, "counting_too")  # as a run from the command line
    alone = build_definitions(project).get_repository_def().get_job("counting_too")
    assert BROKEN_TAG not in alone.tags


# -- runs ------------------------------------------------------------------------------------

VARIED = """
    import asyncio
    import os
    from pathlib import Path

    import pandas as pd
    from dagster import Config, In, Nothing, Out, Output, RetryPolicy, graph, job, op

    from dataflow import stage
    from dataflow.shared.config import load_config
    from dataflow.shared.db import get_duckdb_connection, write_table
    from dataflow.shared.logging import get_logger
    from dataflow.workflows.registry import register_workflow

    from .parts import double

    logger = get_logger(__name__)


    class Many(Config):
        rows: int = 3


    @op
    def extract(context, config: Many) -> dict:
        context.log.info("hello from the context")
        logger.info("hello from the logger")
        print("token", load_config("varied")["ingestion"]["source"]["token"], Path.cwd().name)
        return {"data": list(range(config.rows)), "metadata": {"asked": config.rows}}


    @op(out={"numbers": Out(), "sum": Out()})
    async def split(extracted: dict):
        await asyncio.sleep(0)
        print("split in its own log")
        yield Output([double(n) for n in extracted["data"]], "numbers")
        yield Output(sum(extracted["data"]), "sum")


    @op
    async def note(context, total: int) -> None:
        if context.retry_number == 0:
            raise ConnectionError("not at once")
        print("total", total)


    @op
    def store(numbers: list) -> int:
        with get_duckdb_connection() as conn:
            print(conn)
            rows = write_table(conn, pd.DataFrame({"n": numbers}), "numbers", mode="replace")
        stage.record(table="numbers", rows=rows, run=os.environ["DATAFLOW_RUN_ID"])
        stage.check("few numbers", rows < 50, rows=rows)
        return rows


    @graph
    def storing(numbers):
        return store(numbers)


    @op(ins={"stored": In(Nothing)})
    def finish():
        stage.skip("nothing is left to do")


    @job(op_retry_policy=RetryPolicy(max_retries=1))
    def varied_job():
        numbers, total = split(extract())
        note(total)
        finish(stored=storing(numbers))


    register_workflow(workflow_id="varied", job=varied_job, metadata={"contact": "data-team"})
"""


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose workflow has ops of every kind; models read what they wrote."""
    project = make_project(tmp_path_factory.mktemp("varied") / "project", {})
    folder = write_workflow(project, "varied", VARIED, parts="def double(n):\n    return 2 * n\n")
    (folder / "config.yaml").write_text(
        'workflow:\n  name: "Varied"\n  owner: "data-team"\n  tags: [example]\n'
        'ingestion:\n  source: {type: api, token: "${VARIED_TOKEN}"}\n',
        "utf-8",
    )
    shutil.copytree(
        REPOSITORY / "dbt",
        project.dbt,
        ignore=shutil.ignore_patterns("target", "logs", "earthquakes"),
    )
    models = project.dbt / "models" / "varied"
    models.mkdir(parents=True)
    (models / "_varied__sources.yml").write_text(
        "sources:\n  - name: varied\n    schema: varied_raw\n    tables:\n      - name: numbers\n",
        "utf-8",
    )
    (models / "varied__sums.sql").write_text(
        "{{ config(alias='sums') }}\nselect sum(n) as total from {{ source('varied', 'numbers') }}\n",
        "utf-8",
    )
    return project


def run_varied(project: Project, *arguments: str) -> Any:
    return dataflow(
        project,
        "workflow",
        "run",
        "varied",
        *arguments,
        env={"VARIED_TOKEN": "opensesame-1234"},
        timeout=300,
    )


@pytest.fixture(scope="module")
def ran(varied: Project) -> dict[str, Any]:
    """The archive of a first run with a parameter; the command's output beside it."""
    done = run_varied(varied, "-p", "extract.rows", "4")
    assert done.returncode == 0, done.stderr
    folder = run_folder(varied, "varied")
    return {
        "run": run_data(varied, "varied"),
        "folder": folder,
        "err": done.stderr,
        "out": done.stdout,
    }


@pytest.mark.slow
def test_every_op_is_a_step_of_the_archived_run(ran: dict[str, Any]):
    steps = ran["run"]["steps"]

    assert {name: step["status"] for name, step in steps.items()} == {
        "extract": "succeeded",
        "split": "succeeded",
        "note": "succeeded",
        "storing.store": "succeeded",
        "finish": "skipped",
        "tables": "succeeded",
        "dbt": "succeeded",
        "publish": "succeeded",
    }
    assert steps["extract"]["kind"] == "op"
    assert steps["extract"]["result"] == {
        "type": "dict",
        "sizes": {"data": 4, "metadata": 1},
        "metadata": {"asked": 4},
    }
    assert steps["storing.store"]["rows"] == {"numbers": 4}
    assert steps["storing.store"]["recorded"]["numbers"]["run"] == ran["run"]["run_id"]
    assert steps["storing.store"]["checks"][0]["passed"] is True
    assert (steps["extract"]["attempt"], steps["note"]["attempt"]) == (1, 2)
    assert steps["finish"]["skipped"] == "nothing is left to do"
    assert ran["run"]["parameters"] == {"extract": {"rows": 4}}


@pytest.mark.slow
def test_what_an_op_printed_and_logged_is_its_log_without_secrets(ran: dict[str, Any]):
    log = (ran["folder"] / "extract.log").read_text("utf-8")

    assert "INFO hello from the context" in log
    assert "hello from the logger" in log
    assert "token ${VARIED_TOKEN} varied" in log
    assert "opensesame" not in log + json.dumps(ran["run"]) + ran["err"] + ran["out"]
    assert "extract │ token ${VARIED_TOKEN} varied" in ran["err"]
    assert "total 6" in (ran["folder"] / "note.log").read_text("utf-8")
    assert "working warehouse" in (ran["folder"] / "storing.store.log").read_text("utf-8")


@pytest.mark.slow
def test_models_are_built_after_a_job_that_builds_none_and_published(
    varied: Project, ran: dict[str, Any]
):
    from dataflow.shared.db import get_duckdb_connection

    assert ran["run"]["steps"]["dbt"]["models"]["varied.sums"]["status"] == "success"
    with get_duckdb_connection(read_only=True, project=varied) as conn:
        assert conn.execute("select total from varied.sums").fetchone() == (12,)
        assert conn.execute("select count(*) from varied_raw.numbers").fetchone() == (4,)


@pytest.mark.slow
def test_dagster_knows_the_tables_the_lineage_and_the_metadata(
    varied: Project, ran: dict[str, Any]
):
    from dagster import AssetKey

    from dataflow.orchestration.build import build_definitions

    graph = build_definitions(varied).get_repository_def().asset_graph
    numbers, sums = AssetKey(["varied_raw", "numbers"]), AssetKey(["varied", "sums"])

    assert graph.get(sums).parent_keys == {numbers}
    assert graph.get(AssetKey(["published", "varied_published"])).parent_keys == {sums}
    assert graph.get(numbers).metadata["contact"] == "data-team"
    assert graph.get(numbers).owners == ["team:data-team"]
    assert "example" in graph.get(numbers).tags


@pytest.mark.slow
def test_changed_runs_the_job_again_only_for_other_code_or_parameters(
    varied: Project, ran: dict[str, Any]
):
    same = run_varied(varied, "-q", "--changed", "-p", "rows", "4")
    assert same.returncode == 0, same.stderr
    assert "nothing was run" in same.stderr

    other = run_varied(varied, "-q", "--changed", "-p", "rows", "5")

    assert other.returncode == 0, other.stderr
    assert run_data(varied, "varied")["steps"]["storing.store"]["rows"] == {"numbers": 5}


@pytest.mark.slow
def test_a_failed_check_fails_the_op_and_publishes_nothing(varied: Project, ran: dict[str, Any]):
    from dataflow.warehouse.store import published_path

    before = published_path(varied)

    done = run_varied(varied, "-q", "-p", "rows", "60")

    steps = run_data(varied, "varied")["steps"]
    assert done.returncode == 1
    assert "check failed: few numbers" in done.stderr
    assert steps["storing.store"]["status"] == "failed"
    assert steps["publish"]["status"] == "not run"
    assert published_path(varied) == before


@pytest.mark.slow
def test_an_error_is_archived_with_file_and_line(varied: Project, ran: dict[str, Any]):
    parts = varied.notebooks / "varied" / "parts.py"
    before = parts.read_text("utf-8")
    parts.write_text("def double(n):\n    return n / 0\n", "utf-8")
    try:
        done = run_varied(varied, "-q")
    finally:
        parts.write_text(before, "utf-8")

    step = run_data(varied, "varied")["steps"]["split"]
    assert done.returncode == 1
    assert step["status"] == "failed"
    assert step["error"]["message"] == "ZeroDivisionError: division by zero (parts.py:2)"
    assert "split failed: ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr
    log = (run_folder(varied, "varied") / "split.log").read_text("utf-8")
    assert "return n / 0" in log


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "row", "4"], "Did you mean `rows`?"),
        (["-p", "extrakt.rows", "4"], "Did you mean `extract`?"),
        (["-p", "split.rows", "4"], "op `split` has no parameter `rows`"),
        (["-p", "rows", "many"], "op `extract`"),
        (["--only", "split"], "cannot be run by itself"),
    ],
)
@pytest.mark.slow
def test_wrong_parameters_of_ops_are_refused_before_anything_runs(
    varied: Project, ran: dict[str, Any], arguments: list[str], message: str
):
    runs = len(list(varied.runs.glob("varied/*")))

    done = run_varied(varied, *arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert len(list(varied.runs.glob("varied/*"))) == runs


def test_a_workflow_in_python_is_listed_with_its_ops(varied: Project):
    done = dataflow(varied, "workflow", "list", "--json")

    [entry] = json.loads(done.stdout)
    assert entry["stages"] == ["extract", "split", "note", "store", "finish"]


def test_dbt_models_are_not_built_outside_of_a_run():
    from dataflow.shared.dbt import run_dbt_models

    with pytest.raises(ConfigurationError, match="in an op that a run executes"):
        run_dbt_models(None, workflow="varied")
