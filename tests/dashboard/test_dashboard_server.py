from __future__ import annotations

import http.client
import json
from urllib.parse import quote, urlsplit

import duckdb
import httpx
import pytest
from dashboard_helpers import write
from projects import write_notebook

from dataflow.dashboard.build import _compress
from dataflow.dashboard.export import export_sources, exported_files, read_manifest
from dataflow.project import Project


@pytest.fixture
def built(project: Project, warehouse) -> Project:
    build = project.evidence / "build"
    write(build / "index.html", "<title>pages</title>")
    write(build / "favicon.ico", "icon")
    write(build / "_app" / "immutable" / "chunk.js", "export {}")
    write(build / "_app" / "immutable" / "engine.wasm", "wasm")
    write(build / ".dataflow-build.json", "{}")
    run = project.runs / "quakes" / "r1"
    write(run / "ingest.html", "<h1>Executed</h1>")
    write_notebook(run / "ingest.ipynb", ["1 + 1"])
    write(
        run / "run.json",
        json.dumps(
            {
                "run_id": "r1",
                "workflow": "quakes",
                "started_at": "2026-01-02T03:04:05+00:00",
                "ended_at": "2026-01-02T03:04:09+00:00",
                "trigger": "cli",
                "steps": {
                    "ingest": {
                        "kind": "stage",
                        "status": "failed",
                        "error": {"message": "cell 3: KeyError: '<mag>'", "source": "d['mag']"},
                    }
                },
            }
        ),
    )
    write(run / ".private.json", "secret")
    write(project.root / ".env", "TOKEN=secret")
    export_sources(project)
    return project


@pytest.fixture
def site(built, serve) -> httpx.Client:
    return httpx.Client(base_url=serve(built))


def raw_get(client: httpx.Client, path: str) -> tuple[int, str]:
    """GET exactly this path: httpx would tidy it up."""
    parts = urlsplit(str(client.base_url))
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read().decode(errors="replace")


@pytest.mark.parametrize("path", ["/", "/quakes", "/quakes/", "/quakes/a/b", "/no-such-page"])
def test_every_page_is_the_single_page(site, path):
    answer = site.get(path)

    assert answer.status_code == 200
    assert "<title>pages</title>" in answer.text
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["/missing.js", "/_app/immutable/missing.js", "/_app/missing", "/quakes/logo.png"]
)
def test_a_missing_file_is_missing_and_not_a_page(site, path):
    assert site.get(path).status_code == 404


def test_what_never_changes_is_kept_by_the_browser(site):
    answer = site.get("/_app/immutable/chunk.js")

    assert "immutable" in answer.headers["cache-control"]
    assert site.get("/_app/immutable/engine.wasm").headers["content-type"] == "application/wasm"
    assert site.get("/favicon.ico").headers["cache-control"] == "no-cache"


def test_files_of_the_build_come_compressed_to_who_takes_that(built, site):
    text = "export const x = 1;\n" * 500
    for name in ("chunk.js", "engine.wasm"):
        write(built.evidence / "build" / "_app" / "immutable" / name, text)
    _compress(built.evidence / "build", built.root / "no other")

    packed = site.get("/_app/immutable/chunk.js", headers={"Accept-Encoding": "br, gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(text) / 5
    assert packed.text == text
    assert packed.headers["content-type"].startswith("text/javascript")
    assert "immutable" in packed.headers["cache-control"]
    again = site.get(
        "/_app/immutable/chunk.js",
        headers={"Accept-Encoding": "gzip", "If-None-Match": packed.headers["etag"]},
    )
    assert again.status_code == 304
    wasm = site.get("/_app/immutable/engine.wasm")
    assert wasm.headers["content-type"] == "application/wasm"
    assert wasm.headers["vary"] == "Accept-Encoding"
    for refusing in ({"Accept-Encoding": "gzip;q=0"}, {"Accept-Encoding": "identity"}):
        plain = site.get("/_app/immutable/chunk.js", headers=refusing)
        assert "content-encoding" not in plain.headers
        assert plain.text == text
    assert "content-encoding" not in site.get("/favicon.ico").headers, "too small to gain"


def test_the_manifest_is_asked_for_each_time_and_tables_are_kept(built, site):
    manifest = site.get("/data/manifest.json")
    assert manifest.headers["cache-control"] == "no-cache"
    assert manifest.json()["renderedFiles"] == read_manifest(built)

    (url,) = read_manifest(built)["quakes"]
    table = site.get(url.removeprefix("static"))
    assert table.content[:4] == b"PAR1"
    assert "immutable" in table.headers["cache-control"]


def test_parts_of_a_table_can_be_asked_for(built, site):
    (url,) = read_manifest(built)["quakes"]
    path = url.removeprefix("static")
    whole = site.get(path).content

    head = site.head(path)
    assert head.headers["accept-ranges"] == "bytes"
    assert int(head.headers["content-length"]) == len(whole)
    part = site.get(path, headers={"Range": "bytes=4-9"})
    assert part.status_code == 206
    assert part.content == whole[4:10]
    assert site.get(path, headers={"Range": f"bytes={len(whole)}-"}).status_code == 416


def test_a_workflow_that_was_broken_since_the_last_export_is_listed_as_broken(built, site):
    write(built.notebooks / "quakes" / "config.yaml", "workflow:\n  nme: Quakes\n")

    manifest = site.get("/data/manifest.json").json()

    table = exported_files(built)["dataflow"]["workflows"]
    [(workflow_id, problem)] = duckdb.sql(f"SELECT id, problem FROM '{table}'").fetchall()
    assert workflow_id == "quakes"
    assert "workflow.name" in problem
    assert site.get("/data/manifest.json").json() == manifest  # made anew after changes only


def test_new_data_is_served_without_a_restart(built, site, warehouse):
    before = site.get("/data/manifest.json").json()
    export_sources(built)

    assert site.get("/data/manifest.json").json() != before


def test_executed_notebooks_are_shown_and_offered_for_download(site):
    page = site.get("/runs/quakes/r1/ingest.html")
    assert page.headers["content-type"].startswith("text/html")

    notebook = site.get("/runs/quakes/r1/ingest.ipynb")
    assert notebook.headers["content-disposition"] == 'attachment; filename="ingest.ipynb"'


def test_an_executed_notebook_without_a_page_gets_one_when_it_is_asked_for(built, site):
    write_notebook(built.runs / "quakes" / "r1" / "transform.ipynb", ["print('killed here')"])

    page = site.get("/runs/quakes/r1/transform.html")

    assert page.status_code == 200
    assert "killed here" in page.text


def test_the_runs_are_listed_with_their_results(site):
    for address in ("/runs", "/runs/quakes"):
        answer = site.get(address, follow_redirects=True)
        assert 'href="/runs/quakes/r1/"' in answer.text
        assert 'class="failed"' in answer.text


def test_a_run_shows_its_steps_its_error_and_its_files(site):
    answer = site.get("/runs/quakes/r1", follow_redirects=True)

    assert 'href="ingest.html"' in answer.text
    assert "cell 3: KeyError: &#39;&lt;mag&gt;&#39;" in answer.text
    assert "private" not in answer.text


def test_an_address_with_a_runs_id_leads_to_its_folder(built, site):
    old = built.runs / "quakes" / "r1"
    moved = old.rename(old.with_name("20260102T030405Z_r1"))

    for rest in ("", "/", "/ingest.html"):
        answer = site.get(f"/runs/quakes/r1{rest}", follow_redirects=True)
        assert answer.status_code == 200
        assert answer.url.path.startswith(f"/runs/quakes/{moved.name}/")
    assert site.get("/runs/quakes/r1/gone.html", follow_redirects=True).status_code == 404


@pytest.mark.parametrize("path", ["/runs/quakes/r2", "/runs/quakes/r2/", "/runs/quakes/r2/a.html"])
def test_a_run_whose_folder_was_removed_is_a_page_that_says_so(site, path):
    answer = site.get(path, follow_redirects=True)

    assert answer.status_code == 404
    assert "There is no folder <code>runs/quakes/r2</code>" in answer.text
    assert 'href="/runs/quakes/"' in answer.text


def test_a_file_that_a_run_does_not_have_is_a_page_that_leads_to_the_run(site):
    answer = site.get("/runs/quakes/r1/<b>.ipynb")

    assert answer.status_code == 404
    assert "&lt;b&gt;.ipynb" in answer.text
    assert 'href="/runs/quakes/r1/"' in answer.text


def test_the_list_of_runs_stands_whatever_lies_in_the_archive(built, site):
    whole = json.loads((built.runs / "quakes" / "r1" / "run.json").read_text())
    odd = {
        "half": '{"run_id": ',
        "list": "[]",
        "steps": json.dumps({**whole, "steps": ["ingest"]}),
        "no-steps": json.dumps({**whole, "steps": None}),
        "time": json.dumps({**whole, "ended_at": "yesterday"}),
        "no-zone": json.dumps({**whole, "started_at": "2026-01-02T03:04:06", "ended_at": None}),
        "facts": json.dumps({**whole, "parameters": [1], "git": {"commit": 7}}),
        "a #1 ü?%20": json.dumps({**whole, "run_id": "<i>copy</i>"}),
    }
    for name, text in odd.items():
        write(built.runs / "quakes" / name / "run.json", text)
    (built.runs / "quakes" / "empty").mkdir()
    write(built.runs / "notes.txt", "mine")
    (built.runs / "quakes" / "a #1 ü?%20" / "folder").mkdir()

    for address in ("/runs/", "/runs/quakes/"):
        answer = site.get(address)
        assert answer.status_code == 200
        assert 'href="/runs/quakes/r1/"' in answer.text
        assert 'href="/runs/quakes/no-zone/"' in answer.text
        assert "<i>copy" not in answer.text
    assert site.get("/runs/quakes/a%20%231%20%C3%BC%3F%2520/").status_code == 200
    assert 'href="/runs/quakes/a%20%231%20%C3%BC%3F%2520/"' in answer.text
    for name in odd:
        page = site.get(f"/runs/quakes/{quote(name)}/")
        assert page.status_code in (200, 404)
        assert "<h1>" in page.text
    assert "cannot be read" in site.get("/runs/quakes/half/").text
    assert "There are no runs of **" in site.get("/runs/**/").text
    assert site.get("/runs/notes.txt").text == "mine"


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml",
        "/runs/../.env",
        "/runs/../../.env",
        "/runs/%2e%2e/.env",
        "/runs/..%2f.env",
        "/runs/quakes/..%5c..%5c.env",
        "/data/../../../.env",
        "/data/%2e%2e/%2e%2e/%2e%2e/pyproject.toml",
        "/runs//etc/passwd",
        "/runs/%2fetc/passwd",
        "//etc/passwd",
        "/.dataflow-build.json",
        "/runs/quakes/r1/.private.json",
        "/data/.hidden/x",
    ],
)
def test_nothing_outside_the_served_folders_can_be_read(site, path):
    status, body = raw_get(site, path)

    assert "secret" not in body
    assert "tool.dataflow" not in body
    assert "root:x:" not in body
    assert status in (400, 404) or "<title>pages</title>" in body


def test_a_link_that_leads_out_of_the_archive_is_not_followed(built, site):
    (built.runs / "quakes" / "out.txt").symlink_to(built.root / ".env")
    (built.runs / "out").symlink_to(built.root)

    assert site.get("/runs/quakes/out.txt").status_code == 404
    assert site.get("/runs/out/.env").status_code == 404
    assert site.get("/runs/out/pyproject.toml").status_code == 404


def test_only_names_of_this_machine_are_answered(site):
    assert site.get("/", headers={"Host": "evil.example"}).status_code == 400
    assert site.get("/data/manifest.json", headers={"Host": "evil.example"}).status_code == 400
    port = urlsplit(str(site.base_url)).port
    assert site.get("/", headers={"Host": f"localhost:{port}"}).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/", "/data/manifest.json", "/runs/", "/runs/quakes/r1/ingest.html", "/_dataflow/health"],
)
def test_a_page_elsewhere_cannot_read_what_is_served_here(site, path):
    """Rebinding its own name to this machine, or asking from its own origin."""
    port = urlsplit(str(site.base_url)).port
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", ""):
        for origin in ("http://127.0.0.1:9000", f"http://127.0.0.1:{port}", "http://evil.example"):
            answer = site.get(path, headers={"Host": host, "Origin": origin})
            assert answer.status_code == 400, (host, origin)
            assert "quakes" not in answer.text
    for method in ("GET", "OPTIONS"):
        answer = site.request(method, path, headers={"Origin": "http://evil.example"})
        assert not any(name.startswith("access-control") for name in answer.headers)
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_answers_carry_the_headers_that_protect_the_reader(site):
    page = site.get("/quakes")
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert site.get("/data/manifest.json").headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(site, method):
    assert site.request(method, "/data/manifest.json").status_code == 405
    assert site.request(method, "/runs/quakes/r1/ingest.html").status_code == 405


def test_before_the_first_build_a_page_says_what_to_do(project, serve):
    answer = httpx.get(serve(project) + "/quakes")

    assert answer.status_code == 503
    assert "dataflow workflow run" in answer.text
    data = httpx.get(serve(project) + "/data/manifest.json")
    assert data.json() == {"renderedFiles": {}}


def test_its_health_names_the_project(built, site):
    health = site.get("/_dataflow/health").json()

    assert health == {"service": "evidence", "project": str(built.root), "built": True}
