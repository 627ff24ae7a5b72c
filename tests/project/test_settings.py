"""Settings: where each comes from, and what is said about wrong ones."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from projects import REPOSITORY, dataflow, make_project

from dataflow.errors import ConfigurationError
from dataflow.orchestration.instance import ensure_home
from dataflow.project import Project
from dataflow.settings import SETTINGS, read_settings, value_text, variable_of


@pytest.fixture(autouse=True)
def _nothing_set_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*map(variable_of, SETTINGS), "DATAFLOW_NO_BUILD", "DATAFLOW_PROJECT"]:
        monkeypatch.delenv(name, raising=False)


def write_settings(root: Path, *lines: str) -> None:
    (root / "pyproject.toml").write_text("\n".join(["[tool.dataflow]", *lines, ""]))


def test_the_environment_overrides_env_file_and_that_pyproject_and_that_the_default(
    tmp_path: Path,
):
    project = make_project(tmp_path, {})
    write_settings(tmp_path, "keep_runs = 3", "keep_days = 3", "max_runs = 3")
    (tmp_path / ".env").write_text("A=1\nDATAFLOW_KEEP_DAYS=2\nexport DATAFLOW_MAX_RUNS=2\n")

    shown = dataflow(project, "config", "show", "--json", env={"DATAFLOW_MAX_RUNS": "1"})

    found = {row["name"]: (row["value"], row["from"]) for row in json.loads(shown.stdout)}
    assert found["keep_runs"] == (3, "pyproject.toml:2")
    assert found["keep_days"] == (2, ".env:2")
    assert found["max_runs"] == (1, "environment: DATAFLOW_MAX_RUNS")
    assert found["max_parallel_stages"] == (4, "default")


def test_the_older_variable_switches_pages_off_whatever_a_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_settings(tmp_path, "build_pages = true")
    (tmp_path / ".env").write_text("DATAFLOW_BUILD_PAGES=yes\n")
    assert read_settings(tmp_path).build_pages

    monkeypatch.setenv("DATAFLOW_NO_BUILD", "1")

    assert not read_settings(tmp_path).build_pages


@pytest.mark.parametrize("given", [r"in \d+ ms", r"['in \d+ ms']"])
def test_a_list_in_the_environment_is_written_as_in_the_file_or_as_its_only_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
):
    write_settings(tmp_path, "diff_ignore = ['of the file']")
    monkeypatch.setenv("DATAFLOW_DIFF_IGNORE", given)

    assert read_settings(tmp_path).diff_ignore == (r"in \d+ ms",)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ('timezon = "UTC"', "pyproject.toml:3: [tool.dataflow] has no setting `timezon`\n"
         "    → Did you mean `timezone`?"),
        ("[tool.dataflow.ports]\ndagster = 1", "pyproject.toml:3: [tool.dataflow] has no setting"),
        ('timezone = "Tokio"', "pyproject.toml:3: `timezone` is 'Tokio', which is not a time zone"),
        ('dagster_port = "3000"', "pyproject.toml:3: `dagster_port` is '3000', which is not a port"),
        ("dagster_port = 70000", "`dagster_port` is 70000, which is not a port"),
        ("keep_runs = true", "`keep_runs` is true, which is not a whole number above 0"),
        ("dbt_timeout = nan", "`dbt_timeout` is nan, which is not a number of seconds"),
        ("memory_limit = 8", "`memory_limit` is 8, which is not an amount of memory"),
        ("build_pages = 0", "`build_pages` is 0, which is not true or false"),
        ("diff_ignore = ['(']", "`diff_ignore` is ['('], which is not a list of regular expressions"),
        ("diff_ignore = 'x'", "`diff_ignore` is 'x', which is not a list of regular expressions"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named_with_its_line(tmp_path: Path, written: str, message: str):
    write_settings(tmp_path, "max_runs = 2", written)

    with pytest.raises(ConfigurationError, match=re.escape(message)):
        Project.find(tmp_path)


def test_every_command_refuses_wrong_settings_and_names_all_of_them(tmp_path: Path):
    project = make_project(tmp_path, {"one": {"read": ["1"]}})
    write_settings(tmp_path, "keep_rums = 3")
    (tmp_path / ".env").write_text("DATAFLOW_DBT_TIMEOUT=soon\n")

    for command in (["doctor"], ["workflow", "validate"], ["config", "show"]):
        done = dataflow(project, *command)

        assert done.returncode == 2
        assert ".env:1: DATAFLOW_DBT_TIMEOUT is 'soon'" in done.stderr
        assert "pyproject.toml:2: [tool.dataflow] has no setting `keep_rums`" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_project_file_that_is_not_toml_is_named_rather_than_no_project(tmp_path: Path):
    write_settings(tmp_path, "keep_runs = 3", 'timezone = "UTC')
    (tmp_path / "notebooks").mkdir()

    with pytest.raises(ConfigurationError, match=r"pyproject\.toml:3: not valid TOML"):
        Project.find(tmp_path / "notebooks")

    # One of something else, on the way up to the project, is not our business.
    (tmp_path / "notebooks" / "pyproject.toml").write_text("[project\n")
    write_settings(tmp_path, "keep_runs = 3")
    assert Project.find(tmp_path / "notebooks").root == tmp_path


def test_a_warehouse_is_found_from_the_root_wherever_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_settings(tmp_path, 'warehouse = "../data/dataflow.duckdb"')
    monkeypatch.chdir("/")

    assert Project(tmp_path).warehouse == tmp_path.parent / "data" / "dataflow.duckdb"


def test_dagsters_limit_of_runs_follows_the_setting_until_its_line_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    project = make_project(tmp_path, {})
    configuration = project.dagster_home / "dagster.yaml"

    def limit() -> str:
        monkeypatch.delenv("DAGSTER_HOME", raising=False)
        ensure_home(project)
        return re.findall(r"max_concurrent_runs: (\d+)", configuration.read_text())[0]

    assert limit() == "4"
    write_settings(tmp_path, "max_runs = 2")
    assert limit() == "2"
    configuration.write_text("concurrency: {runs: {max_concurrent_runs: 9}}\n")
    assert limit() == "9"
    monkeypatch.delenv("DAGSTER_HOME")


def test_the_documentation_lists_every_setting_with_its_default():
    text = (REPOSITORY / "docs" / "configuration.md").read_text("utf-8")
    section = text.partition("| Setting | Default | Means |\n|---|---|---|\n")[2].partition("\n\n")[
        0
    ]

    assert section.split("\n") == [
        f"| `{name}` | {value_text(name, one.default)} | {one.metadata['help']} |"
        for name, one in SETTINGS.items()
    ]


def test_the_documented_table_is_valid(tmp_path: Path):
    text = (REPOSITORY / "docs" / "configuration.md").read_text("utf-8")
    (tmp_path / "pyproject.toml").write_text(text.partition("```toml\n")[2].partition("```")[0])

    assert read_settings(tmp_path).keep_runs == 50
