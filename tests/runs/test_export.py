"""A run as a zip file that can be passed on: complete or not there, and it tells nothing it should not."""

from __future__ import annotations

import html
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
import zipfile
from pathlib import Path

import nbformat
import pytest
from browser import PHONE, browser_page
from projects import dataflow, environment, make_project, start_dataflow, wait_until, write_notebook

from dataflow.api import Project as Api
from dataflow.api import Run
from dataflow.errors import ConfigurationError, DataflowError
from dataflow.project import Project
from dataflow.runs.record import RunRecord

SECRET = "abcdefgh12345678"


def a_run(project: Project, **parameters: object) -> Run:
    """A run of two stages as the recorder writes it, with an output, a check, and an error."""
    steps = [{"name": name, "kind": "stage"} for name in ("index", "use")]
    record = RunRecord(project, "flow", uuid.uuid4().hex)
    record.begin(steps, parameters={"index": parameters}, trigger="cli", git=None)
    for stage in ("index", "use"):
        output = nbformat.v4.new_output("stream", name="stdout", text=f"this is {stage}\n")
        cell = nbformat.v4.new_code_cell("print()", outputs=[output])
        write_notebook(record.executed_notebook(stage), [cell])
        record.step_started(stage)
    checks = [{"name": "rows <are> there", "passed": True, "severity": "error", "metadata": {}}]
    record.step_ended("index", "succeeded", notebook="index.ipynb", rows={"n": 1234}, checks=checks)
    error = {"message": f"no file {project.root}/x in cell 1", "source": "open('x')"}
    record.step_ended("use", "failed", notebook="use.ipynb", error=error)
    record.end()
    return Api(project).find_run(record.run_id)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = make_project(tmp_path / "pröject", {"flow": {"index": ["1"], "use": ["1"]}})
    config = made.notebooks / "flow" / "config.yaml"
    config.write_text(config.read_text("utf-8") + "token: ${API_TOKEN}\n")
    monkeypatch.setenv("API_TOKEN", SECRET)
    return made


def test_the_zip_has_everything_of_the_run_and_nothing_of_the_machine(
    project: Project, tmp_path: Path
):
    """Files, pages and record are in it; no secret, folder, hidden file or link of the machine."""
    run = a_run(project).pin().add_note("look here")
    (run.folder / "dbt.log").write_text(f"token {SECRET} in {project.root}/dbt\n")
    (run.folder / "plots").mkdir()
    (run.folder / "plots" / "map.png").write_bytes(os.urandom(99) + SECRET.encode())
    (run.folder / ".hidden").write_text("x")
    (run.folder / "passwords.txt").symlink_to("/etc/passwd")

    made = run.export(tmp_path)

    assert made.path.name == f"flow_{run.folder.name}.zip"
    with zipfile.ZipFile(made.path) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        texts = {n: archive.read(n).decode("utf-8", "replace") for n in names if "png" not in n}
        assert SECRET.encode() in archive.read("run/plots/map.png"), "what is no text is copied"
    own = ["dbt.log", "index.html", "index.ipynb", "plots/map.png", "run.json"]
    own += ["use.html", "use.ipynb"]
    assert sorted(names) == ["index.html", *(f"run/{name}" for name in own)]
    assert made.files == len(names)
    for name, text in texts.items():
        assert SECRET not in text, name
        assert str(project.root) not in text, name
    assert texts["run/index.ipynb"] == (run.folder / "index.ipynb").read_text("utf-8")
    assert texts["run/dbt.log"] == "token ${API_TOKEN} in ${DATAFLOW_PROJECT}/dbt\n"
    assert json.loads(texts["run/run.json"])["notes"][0]["text"] == "look here"
    assert "default-src 'none'" in html.unescape(texts["index.html"])


def test_names_are_such_that_every_system_can_unpack_them(project: Project, tmp_path: Path):
    """Names that Windows refuses are replaced, and two that would then be one are told apart."""
    run = a_run(project)
    odd = ("a:b.txt", "a?b.txt", "A_B.txt", "con.txt", "dots. ", "<i>ü<\u2215i>\\x", "\udcff.txt")
    for name in odd:
        (run.folder / name).write_text("x")

    with zipfile.ZipFile(run.export(tmp_path / "x.zip").path) as archive:
        names = archive.namelist()
        page = archive.read("index.html").decode()

    assert len({name.lower() for name in names}) == len(names)
    assert {"run/A_B.txt", "run/_con.txt", "run/_i_ü_\u2215i__x", "run/_.txt"} <= {*names}
    assert len([name for name in names if name.lower().startswith("run/a_b")]) == 3
    assert "<i>ü" not in page


@pytest.mark.browser
def test_it_is_read_from_the_disk_without_dataflow(project: Project, tmp_path: Path):
    """index.html shows facts, steps, checks and error, and leads to the notebooks' pages."""
    run = a_run(project, place="<b>Ü & 'x'</b>").add_note("was in order <script>alert(1)</script>")
    with zipfile.ZipFile(run.export(tmp_path / "run.zip").path) as archive:
        archive.extractall(tmp_path / "unpacked #1")

    with browser_page(PHONE) as visit:
        visit.open((tmp_path / "unpacked #1" / "index.html").as_uri(), "1 of 1 passed")
        visit.page.click("text=1 of 1 passed")
        visit.wait_for_text("rows <are> there")
        text = visit.text()
        assert "place = <b>Ü & 'x'</b>" in text
        assert "was in order <script>alert(1)</script>" in text
        assert "no file ${DATAFLOW_PROJECT}/x in cell 1" in text
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        links = visit.page.eval_on_selector_all("a", "all => all.map(a => a.href)")
        assert all(link.startswith((tmp_path / "unpacked #1").as_uri()) for link in links)
        visit.page.click("tbody a >> text=index")
        visit.wait_for_text("this is index")
        for way in ("nav >> text=This run", "dl a"):
            visit.page.click(way)
            visit.wait_for_text("1 of 1 passed")
            visit.page.go_back()
            visit.wait_for_text("this is index")
        links = visit.page.eval_on_selector_all("a", "all => all.map(a => a.href)")
        assert all(link.split("#")[0].endswith(".html") for link in links), links
        visit.assert_clean()


def test_an_existing_file_stays_unless_it_is_to_be_replaced(project: Project, tmp_path: Path):
    """Without --force an existing file is an error; the run's own folder is no place for it."""
    run = a_run(project)
    target = tmp_path / "run.zip"
    target.write_text("mine")

    refused = dataflow(project, "runs", "export", run.run_id[:8], str(target))
    assert refused.returncode == 2
    assert "exists already" in refused.stderr
    assert target.read_text() == "mine"
    forced = dataflow(project, "runs", "export", run.run_id[:8], str(target), "--force")
    assert forced.returncode == 0, forced.stderr
    assert zipfile.is_zipfile(target)
    with pytest.raises(ConfigurationError, match="part of the run"):
        run.export(run.folder)
    with pytest.raises(DataflowError, match="cannot be written"):
        run.export(Path("/proc/run.zip"))


@pytest.mark.slow
def test_a_killed_export_leaves_no_half_file_and_the_next_one_none_of_its_own(
    project: Project, tmp_path: Path
):
    """The zip has its name when it is complete; what a kill left is removed by the next export."""
    run = a_run(project)
    with (run.folder / "big.csv").open("wb") as file:
        for _ in range(10):
            file.write(os.urandom(500_000).hex().encode() + b"\n")
    target = tmp_path / "out" / "run.zip"
    arguments = ("runs", "export", run.run_id[:8], str(target))

    process = start_dataflow(project, *arguments)
    (draft,) = wait_until(lambda: list(target.parent.glob(".run.zip.*")), every=0.01)
    wait_until(lambda: draft.stat().st_size > 1_000_000, every=0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not target.exists()
    assert draft.exists()

    assert dataflow(project, *arguments).returncode == 0
    assert [path.name for path in target.parent.iterdir()] == ["run.zip"]


def test_a_full_disk_is_said_and_leaves_nothing(project: Project, tmp_path: Path):
    """Where the file does not fit, the command says so, and the folder is as it was."""
    limit = shutil.which("prlimit")
    assert limit, "util-linux is on every machine that tests"
    run = a_run(project)
    (run.folder / "big.parquet").write_bytes(os.urandom(3_000_000))
    (tmp_path / "out").mkdir()

    done = subprocess.run(
        [limit, "--fsize=2000000", sys.executable, "-m", "dataflow", "runs", "export",
         run.run_id[:8], str(tmp_path / "out" / "run.zip")],
        cwd=project.root, env=environment(), capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 1
    assert "the zip file cannot be written: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_a_notebook_that_cannot_be_read_is_named_and_the_rest_exported(
    project: Project, tmp_path: Path
):
    """A broken executed notebook has no page; the file itself and all the rest are there."""
    run = a_run(project)
    (run.folder / "use.ipynb").write_text("{ broken")
    (run.folder / "data.json").write_text('{"tables": 7}')

    made = run.export(tmp_path / "run.zip")

    assert list(made.left_out) == ["use.html"]
    with zipfile.ZipFile(io.BytesIO(made.path.read_bytes())) as archive:
        assert "run/use.ipynb" in archive.namelist()
        assert "run/index.html" in archive.namelist()
        assert "run/data.json" in archive.namelist()
        assert 'href="run/use.html"' not in archive.read("index.html").decode()
