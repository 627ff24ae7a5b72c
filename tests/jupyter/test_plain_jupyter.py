"""A `jupyter lab` of one's own, or JupyterHub's: not DATAFLOW's service, and started anywhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from projects import REPOSITORY, environment, free_port, make_project, write_notebook

pytestmark = pytest.mark.slow

BASE = "/user/ana/"  # as JupyterHub gives one
TOKEN = "a-token"
STAGES = {"water & läden": "levels", "<b>Bahn": "trains"}
SECONDS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two projects below one folder, and files that are in none."""
    folder = tmp_path_factory.mktemp("files")
    for name, stage in STAGES.items():
        make_project(folder / name, {"gauges": {stage: ["print(1)"]}})
    write_notebook(folder / "loose" / "levels.ipynb", ["print(1)"])
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A Jupyter server in that folder, with the configuration that a wheel installs."""
    config = tmp_path_factory.mktemp("config")
    (config / "jupyter_server_config.d").mkdir()
    shutil.copy(
        REPOSITORY / "lab" / "jupyter_server_config.json",
        config / "jupyter_server_config.d" / "dataflow.lab.extension.json",
    )
    port, log = free_port(), config / "log"
    options = {
        "port": port, "base_url": BASE, "open_browser": False, "allow_root": True,
        "token": TOKEN, "root_dir": folder,
    }  # fmt: skip
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_server"]
            + [f"--ServerApp.{name}={value}" for name, value in options.items()],
            cwd=folder, stdout=output, stderr=subprocess.STDOUT,
            env=environment({"JUPYTER_CONFIG_PATH": str(config), "HOME": str(config)}),
        )  # fmt: skip
    headers = {"Authorization": f"token {TOKEN}"}
    url = f"http://127.0.0.1:{port}{BASE}"
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=SECONDS) as client:
            deadline = time.monotonic() + SECONDS
            while not _answers(client):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield client
    finally:
        process.terminate()
        process.wait(SECONDS)
    assert "Traceback" not in log.read_text()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("api").status_code == 200
    except httpx.TransportError:
        return False


def test_each_of_several_projects_below_one_jupyter_is_itself(server: httpx.Client):
    for name, stage in STAGES.items():
        path = f"{name}/notebooks/gauges/{stage}.ipynb"
        view = server.get("dataflow/api/notebook", params={"path": path}).json()

        assert (view["project"]["home"], view["stage"]) == (name, stage)


def test_where_there_is_no_project_nothing_fails(server: httpx.Client, folder: Path):
    for path in ("loose/levels.ipynb", "", "gone/at/all.ipynb"):
        answer = server.get("dataflow/api/notebook", params={"path": path})
        assert (answer.status_code, answer.json()["project"]) == (200, None)
    assert server.get("dataflow/dagster").status_code == 404


def test_a_project_that_somebody_else_keeps_to_themselves_is_none(
    server: httpx.Client, folder: Path
):
    theirs = make_project(folder / "theirs", {"gauges": {"levels": ["print(1)"]}})
    (theirs.root / "pyproject.toml").unlink()
    (theirs.root / "pyproject.toml").symlink_to("/proc/self/mem")  # not even root can read it

    path = "theirs/notebooks/gauges/levels.ipynb"
    answer = server.get("dataflow/api/notebook", params={"path": path})

    assert (answer.status_code, answer.json()["project"]) == (200, None)
