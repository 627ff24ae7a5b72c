"""A JupyterLab for tests of its panel, and a browser in which it is open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from browser import Visit, browser_page
from playwright.sync_api import Error, Locator, Page, expect
from projects import Cells, Workflow, add_workflow, dataflow, free_port

from dataflow.project import Project

FIRST = 60_000  # milliseconds for JupyterLab's first page
BUSY = 120_000  # for anything on it, as the machine is busy with other tests
expect.set_options(timeout=BUSY)


@dataclass(frozen=True)
class Lab:
    """A JupyterLab that is running.

    Args:
        project: its project.
        url: its address, with the token.
    """

    project: Project
    url: str

    @property
    def base(self) -> str:
        """The address of its server, without a path."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def headers(self) -> dict[str, str]:
        """What a request needs."""
        return {"Authorization": f"token {urlsplit(self.url).query.removeprefix('token=')}"}

    def api(self, method: str, name: str, **options: object) -> httpx.Response:
        """A request of the panel, with the token."""
        url = f"{self.base}/dataflow/api/{name}"
        return httpx.request(method, url, headers=self.headers, timeout=60, **options)

    def add(self, workflow_id: str, workflow: Workflow | Mapping[str, Cells]) -> None:
        """Put a workflow into its project."""
        add_workflow(self.project, workflow_id, workflow)

    @contextmanager
    def visit(self, path: str = "", size: tuple[int, int] = (1500, 950)) -> Iterator[Visit]:
        """A browser with a file open, or the launcher; nothing is restored from earlier visits."""
        with browser_page(size) as visit:
            visit.page.set_default_timeout(BUSY)
            where = f"/lab/tree/{path}?reset&" if path else "/lab?reset&"
            visit.page.goto(self.url.replace("/lab?", where))
            shown = ".jp-NotebookPanel .jp-Cell" if path.endswith(".ipynb") else ".jp-Launcher"
            try:
                visit.page.wait_for_selector(shown, timeout=FIRST)
                yield visit
            except BaseException as error:
                error.add_note(_what_is_shown(visit.page))
                raise


def _what_is_shown(page: Page) -> str:
    """The text of a page and its frames, for whoever reads of a failure."""
    texts = []
    for frame in page.frames:
        with suppress(Error):  # a frame that is just going
            texts.append(" ".join(frame.locator("body").inner_text(timeout=5000).split())[:3000])
    return "\n".join(["The page showed:", *texts])


def panel(page: Page) -> Locator:
    """DATAFLOW's panel, opened if it is not."""
    tab = page.locator('.jp-SideBar .lm-TabBar-tab[data-id="dataflow-panel"]')
    if "lm-mod-current" not in (tab.get_attribute("class") or ""):
        tab.click()
    return page.locator(".df-Panel")


@contextmanager
def running_lab(project: Project, settings: Path, **variables: str) -> Iterator[Lab]:
    """JupyterLab on a project, with `variables` in its environment.

    Its user's settings are in the folder `settings`, not those of whoever runs the tests.
    """
    port = str(free_port())
    variables["JUPYTERLAB_SETTINGS_DIR"] = str(settings)
    started = dataflow(project, "service", "start", "jupyter", "-d", "--port", port, env=variables)
    try:
        assert started.returncode == 0, started.stderr
        yield Lab(project, started.stdout.strip())
    finally:
        dataflow(project, "service", "stop", "all")
