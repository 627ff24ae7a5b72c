"""What the tests of the dashboards share: files, and a running server."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from projects import wait_until

from dataflow.dashboard.build import pages_hash, staged_pages
from dataflow.dashboard.paths import build_folder
from dataflow.project import Project
from dataflow.services.evidence_web import create_app


@contextmanager
def servers() -> Iterator[Callable[[Project], str]]:
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(project: Project) -> str:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(create_app(project), log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        running.append((server, thread))
        wait_until(lambda: server.started, every=0.02)
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    try:
        yield start
    finally:
        for server, thread in running:
            server.should_exit = True
            thread.join(timeout=10)


def write(path: Path, text: str) -> Path:
    """Write a file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def mark_as_built(project: Project) -> None:
    """Have the pages count as built."""
    stamp = json.dumps({"hash": pages_hash(project)})
    write(build_folder(project) / ".dataflow-build.json", stamp)
    write(build_folder(project) / "index.html", "old build")


# Stands in for vite: a build is the text of the pages.
VITE = """
const fs = require("fs"), path = require("path");
const files = fs.readdirSync("src/pages", {recursive: true}).filter((name) => name.endsWith(".md"));
const pages = Object.fromEntries(
    files.map((name) => [name, fs.readFileSync(path.join("src/pages", name), "utf-8")])
);
for (const [name, text] of Object.entries(pages)) {
    if (text.includes("SLOW")) return setInterval(() => console.log("still building"), 50);
    if (text.includes("BROKEN")) {
        console.log("error during build:\\n[vite-plugin-svelte] 'y' is not defined");
        console.log(`file: /x/.evidence/template/src/pages/${name}`);
        process.exit(1);
    }
}
const write = () => {
    fs.mkdirSync("build");
    fs.writeFileSync("build/index.html", JSON.stringify(pages));
};
setTimeout(write, JSON.stringify(pages).includes("PATIENCE") ? 1500 : 0);
"""


def page_of(project: Project, workflow: str) -> Path:
    """The page of a workflow."""
    return project.evidence / "pages" / workflow.replace("_", "-") / "index.md"


def build_for(project: Project, workflow: str) -> list[str]:
    """Build for a workflow and show it; returns the warnings."""
    with staged_pages(project, workflow) as pages, pages.shown():
        return pages.warnings


def served(project: Project, workflow: str) -> str | None:
    """The text of a workflow's page in the build that is served, made by `VITE`."""
    pages = json.loads((build_folder(project) / "index.html").read_text())
    return pages.get(f"{workflow.replace('_', '-')}/+page.md")
