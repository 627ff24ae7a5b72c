"""`dataflow doctor` and `dataflow config`: what they say about a project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version

import pytest
from projects import REPOSITORY, Workflow, dataflow, make_project, parameters, write_files

from dataflow.doctor.machine import check_jupyterlab, check_packages
from dataflow.doctor.own_packages import check_own_packages
from dataflow.doctor.project import examine
from dataflow.project import Project
from dataflow.services.jupyter import EXTENSION, PANEL


@pytest.fixture
def project(tmp_path) -> Project:
    return make_project(
        tmp_path / "project",
        {
            "sales": Workflow(
                notebooks={"orders": [parameters("token: str = ''  # the service's key")]},
                stages=[{"notebook": "orders.ipynb", "parameters": {"token": "${SHOP_TOKEN}"}}],
            )
        },
    )


def test_the_doctor_finds_what_is_wrong_and_says_how_to_fix_it(project, monkeypatch):
    monkeypatch.delenv("SHOP_TOKEN", raising=False)
    project.warehouse.parent.mkdir(parents=True)
    project.warehouse.write_text("not a database, however long this text is" * 100)
    project.warehouse.chmod(0o644)
    project.root.chmod(0o2775)

    findings = {finding.subject: finding for finding in examine(project)}

    assert findings["Python"].status == "ok"
    assert findings["kernel"].status == "ok"
    assert findings["warehouse"].status == "broken"
    assert ".duckdb/dataflow.duckdb" in findings["shared folder"].detail
    assert "SHOP_TOKEN" in findings["variables"].detail
    assert all(f.hint for f in findings.values() if f.status != "ok")


def test_the_doctor_ends_with_1_when_something_is_broken(project):
    project.warehouse.parent.mkdir(parents=True)
    project.warehouse.write_text("not a database" * 1000)

    result = dataflow(project, "doctor", "--json")

    assert result.returncode == 1, result.stderr
    statuses = {finding["subject"]: finding["status"] for finding in json.loads(result.stdout)}
    assert statuses["warehouse"] == "broken"


def test_a_secret_is_shown_as_its_name_and_whether_it_is_set(project):
    unset = dataflow(project, "config", "show", "sales")
    assert unset.returncode == 0, unset.stderr
    assert "not set" in unset.stdout

    value = "sk-very-secret-value"
    for arguments in (["show", "sales"], ["show", "sales", "--json"], ["list"]):
        shown = dataflow(project, "config", *arguments, env={"SHOP_TOKEN": value})
        assert shown.returncode == 0, shown.stderr
        assert "SHOP_TOKEN" in shown.stdout
        assert value not in shown.stdout + shown.stderr


def test_an_unset_variable_makes_the_configuration_invalid(project):
    result = dataflow(project, "config", "validate", "sales")

    assert result.returncode == 2
    assert "SHOP_TOKEN" in result.stderr
    assert "config.yaml:" in result.stderr
    fine = dataflow(project, "config", "validate", "sales", env={"SHOP_TOKEN": "x"})
    assert fine.returncode == 0, fine.stderr


def test_packages_are_compared_with_the_lock(project):
    lock = project.root / "requirements.lock"
    lock.write_text(
        "duckdb==0.0.1 \\\n    --hash=sha256:00\n"
        "pandas==0.0.1 ; sys_platform == 'no-such-system'\n"
        f"httpx=={version('httpx')}\n    # via nothing\n",
        encoding="utf-8",
    )

    (finding,) = check_packages(project)

    assert finding.status == "warning"
    assert f"duckdb {version('duckdb')} (locked: 0.0.1)" in finding.detail
    assert "httpx" not in finding.detail
    assert "pandas" not in finding.detail, "the lock is for every system"
    lock.write_text(f"duckdb=={version('duckdb')}\n", encoding="utf-8")
    assert [one.status for one in check_packages(project)] == ["ok"]


def package(name: str, *requires: str) -> dict[str, str]:
    """The files of a package with one module of its name, as they are installed."""
    info = f"{name}-1.0.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
    return {
        f"{name}.py": "",
        f"{info}/METADATA": "\n".join([*lines, *(f"Requires-Dist: {r}" for r in requires), ""]),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n",
    }


def test_the_doctor_names_packages_that_a_colleagues_clone_would_miss(
    project, tmp_path, monkeypatch
):
    """Imported or just installed, and asked for by no file; or asked for and not installed."""
    write_files(tmp_path / "site", package("ownunits", "ownparts") | package("ownparts"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    lock, own = (project.root / f"requirements{end}" for end in (".lock", "-own.txt"))
    lock.write_text("".join(f"{name}=={version(name)}\n" for name in ("pandas", "httpx")))
    folder = project.notebooks / "sales"
    (folder / "helper.py").write_text("try:\n    import maybe\nexcept ImportError:\n    pass\n")

    def found(start: str) -> list[tuple[str, str, str]]:
        findings = [(f.status, f.detail, str(f.hint)) for f in check_own_packages(project)]
        return [each for each in findings if each[1].startswith(start)]

    ((status, detail, _),) = found("installed here")
    assert status == "warning"
    assert "ownunits 1.0" in detail
    assert "ownparts" not in detail, "it comes with the other"
    (folder / "more.py").write_text("import json, pandas, helper, ownunits.x, nosuchmodule\n")
    missing, unasked = found("notebooks/sales/more.py imports")
    assert (missing[0], "nosuchmodule" in missing[1]) == ("broken", True)
    assert (unasked[0], unasked[2]) == (
        "warning",
        "Add a line to requirements-own.txt: ownunits==1.0",
    )
    own.write_text("# ours\nownunits==1.0  # for lengths\n./packages/none\nownparts>=2\n")
    assert [each[1] for each in found("notebooks/")] == [missing[1]]
    ((status, detail, hint),) = found("requirements-own.txt asks")
    assert (status, hint) == ("broken", "make setup")
    assert detail.endswith("not installed: ./packages/none, ownparts>=2")


def test_own_packages_cannot_change_those_of_the_lock(project):
    """pip is held to the lock's versions, and its reason is shown when that does not work out."""
    (project.root / "requirements.lock").write_text(f"duckdb=={version('duckdb')}\n")
    for name, needs in (("ownfine", "duckdb>=1"), ("ownnewer", "duckdb>=99")):
        with zipfile.ZipFile(project.root / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            for path, text in package(name, needs).items():
                wheel.writestr(path, text)
    own = project.root / "requirements-own.txt"

    def install() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dataflow.doctor.own_packages"],
            cwd=project.root,
            env=os.environ
            | {"PIP_DRY_RUN": "1", "PIP_NO_INDEX": "1", "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
        )

    assert (install().returncode, install().stdout) == (0, ""), "there is no such file"
    own.write_text("./ownfine-1.0-py3-none-any.whl\n")
    assert install().returncode == 0
    own.write_text("./ownnewer-1.0-py3-none-any.whl\n")
    failed = install()
    assert failed.returncode == 1
    assert "depends on duckdb>=99" in failed.stderr
    assert "error: requirements-own.txt could not be installed" in failed.stderr


@pytest.mark.parametrize(
    ("is_enabled", "is_disabled_by_page", "version", "said", "hint"),
    [
        (True, False, "", "installed and enabled", None),
        (True, True, "", "is disabled", "jupyter labextension enable dataflow-jupyterlab"),
        (False, False, "", "the server's part", "jupyter server extension enable"),
        (True, False, "another", "another version of it", "make setup"),
    ],
)
def test_the_doctor_says_when_a_jupyterlab_does_not_load_the_panel(
    is_enabled, is_disabled_by_page, version, said, hint, project, tmp_path, monkeypatch
):
    config, shared = tmp_path / "config", tmp_path / "share"
    shutil.copytree(PANEL, shared / "labextensions")
    with (shared / "labextensions" / "dataflow-jupyterlab" / "package.json").open("a") as file:
        file.write(version)
    (config / "labconfig").mkdir(parents=True)
    (config / "labconfig" / "page_config.json").write_text(
        json.dumps({"disabledExtensions": {"dataflow-jupyterlab": is_disabled_by_page}})
    )
    (config / "jupyter_server_config.json").write_text(
        json.dumps({"ServerApp": {"jpserver_extensions": {EXTENSION: is_enabled}}})
    )
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(config))
    monkeypatch.setenv("JUPYTER_PATH", str(shared))

    (finding,) = check_jupyterlab(project)

    assert said in finding.detail
    assert (finding.hint is None) == (hint is None)
    assert hint is None or hint in str(finding.hint)
