"""Build the dashboard's pages, and only when something they are made of changed.

The pages are built without data (a single-page build): they read it when they are opened.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dataflow.dashboard.build_errors import build_error
from dataflow.dashboard.install import install, packages_hash
from dataflow.dashboard.node import find_node
from dataflow.dashboard.paths import (
    BUILD_STAMP,
    build_folder,
    build_log,
    lock_file,
    work_folder,
)
from dataflow.project import Project

# Raise it when this module builds differently from the same files.
_FORMAT = 1
_FOLDERS = ("pages", "components", "partials", "queries", "static")
_FILES = ("app.css", "evidence.config.yaml", "svelte.config.js", "tailwind.config.js")
_TEMPLATE = Path("node_modules", "@evidence-dev", "evidence", "template")


@dataclass(frozen=True)
class BuildResult:
    """What `build_pages` did.

    Args:
        built: whether the pages had to be built.
        seconds: how long it took, waiting for another build included.
        path: the folder with the built pages.
    """

    built: bool
    seconds: float
    path: Path


class StagedPages:
    """Pages that were built where nobody sees them yet, if they had to be.

    Args:
        result: what was done.
        folder: the new pages; None when those that are served are the ones.
    """

    def __init__(self, result: BuildResult, folder: Path | None = None) -> None:
        self.result = result
        self._folder = folder

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Serve the pages from here on; those before come back when the body fails."""
        if self._folder is None:
            yield
            return
        with _swapped(self._folder, self.result.path):
            yield


def build_pages(
    project: Project, *, force: bool = False, on_line: Callable[[str], None] | None = None
) -> BuildResult:
    """Build the pages into `evidence/build`, unless they are built already.

    A build takes about a minute and 3 GB. The served build is replaced in one step at the
    end; a failing build leaves it alone. Two builds at once wait for each other.

    Args:
        force: build although nothing changed.
        on_line: called with each line the build prints; all of them go to a log file too.

    Raises:
        ConfigurationError: no Node, or no package list.
        DashboardError: a page does not compile; `where` says the page and line.
    """
    with staged_pages(project, force=force, on_line=on_line) as staged, staged.shown():
        return staged.result


@contextmanager
def staged_pages(
    project: Project, *, force: bool = False, on_line: Callable[[str], None] | None = None
) -> Iterator[StagedPages]:
    """Build the pages aside, unless they are built already; `shown()` has them served.

    Arguments and errors are those of `build_pages`.
    """
    from filelock import FileLock

    start = time.monotonic()
    target = build_folder(project)

    def result(built: bool) -> BuildResult:
        return BuildResult(built, time.monotonic() - start, target)

    if not force and not is_stale(project):
        yield StagedPages(result(False))
        return
    with FileLock(lock_file(project, "build")):
        _recover(target)
        wanted = pages_hash(project)
        if not force and built_hash(project) == wanted:
            yield StagedPages(result(False))
            return
        install(project, on_line=on_line)
        site = _prepare(project)
        try:
            _run(project, site, on_line)
            built = site / "build"
            (built / BUILD_STAMP).write_text(
                json.dumps({"hash": wanted, "seconds": round(time.monotonic() - start, 1)}),
                encoding="utf-8",
            )
            yield StagedPages(result(True), built)
        finally:
            shutil.rmtree(work_folder(project), ignore_errors=True)


def is_stale(project: Project) -> bool:
    """Whether the pages changed since they were built, or never were."""
    return built_hash(project) != pages_hash(project)


def pages_hash(project: Project) -> str:
    """A hash of everything the pages are made of; data and source queries are not."""
    digest = hashlib.sha256(f"{_FORMAT} {packages_hash(project)}".encode())
    for path in _inputs(project):
        digest.update(f"\0{path.relative_to(project.evidence).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def built_hash(project: Project) -> str | None:
    """What `pages_hash` was when the served pages were built; None when there are none."""
    try:
        stamp = (build_folder(project) / BUILD_STAMP).read_text(encoding="utf-8")
        return str(json.loads(stamp)["hash"])
    except (OSError, ValueError, KeyError):
        return None


def _inputs(project: Project) -> Iterator[Path]:
    yield from _folder_files(project)
    for name in _FILES:
        if (path := project.evidence / name).is_file():
            yield path


def _folder_files(project: Project) -> Iterator[Path]:
    for folder in _FOLDERS:
        for path in sorted((project.evidence / folder).rglob("*")):
            if path.is_file() and ".ipynb_checkpoints" not in path.parts:
                yield path


def _prepare(project: Project) -> Path:
    """Lay out what Evidence's own command lays out, in a folder of this build's own.

    Evidence's command works in `evidence/.evidence`, which `evidence dev` uses too, copies
    the pages by a file watcher that races with the build, and starts it through npx.
    """
    work = work_folder(project)
    shutil.rmtree(work, ignore_errors=True)
    site = work / ".evidence" / "template"
    shutil.copytree(project.evidence / _TEMPLATE, site)
    (work / "node_modules").symlink_to(project.evidence / "node_modules", target_is_directory=True)
    for name in (*_FILES, "package.json"):
        if (path := project.evidence / name).is_file():
            shutil.copy(path, work / name)
            if name == "app.css":
                shutil.copy(path, site / "src" / name)
    for path in _folder_files(project):
        relative = path.relative_to(project.evidence)
        folder = relative.parts[0]
        # Evidence reads the author's pages too, besides SvelteKit's version of them.
        targets = [work / relative]
        if folder == "pages":
            targets.append(site / "src" / _route(relative))
        else:
            targets.append(site / ("src" if folder == "components" else "") / relative)
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return site


def _route(page: Path) -> Path:
    """Where SvelteKit wants a page: `a/index.md` and `a.md` are both `a/+page.md`."""
    if page.suffix != ".md":
        return page
    folder = page.parent if page.name == "index.md" else page.with_suffix("")
    return folder / "+page.md"


def _run(project: Project, site: Path, on_line: Callable[[str], None] | None) -> None:
    node = find_node(project)
    environment = node.environment(
        VITE_EVIDENCE_SPA="true",
        EVIDENCE_IS_BUILDING="true",
        EVIDENCE_DATA_DIR="./static/data",
        EVIDENCE_DATA_URL_PREFIX="static/data",
    )
    # More than Node's own limit, as Evidence sets it.
    environment.setdefault("NODE_OPTIONS", "--max-old-space-size=4096")
    vite = project.evidence / "node_modules" / "vite" / "bin" / "vite.js"
    log = build_log(project)
    lines: list[str] = []
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(
            [node.path, vite, "build"],
            cwd=site,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                lines.append(line.rstrip())
                file.write(line)
                if on_line:
                    on_line(lines[-1])
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0 or not (site / "build" / "index.html").is_file():
        raise build_error(project, lines, process.returncode)


@contextmanager
def _swapped(new: Path, target: Path) -> Iterator[None]:
    """Put `new` in the place of `target`, by renames that are undone when the body fails."""
    ready, old = _beside(target)
    ready.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(ready, ignore_errors=True)
    # The state folder may lie on another file system than evidence/: a rename must not.
    shutil.move(new, ready)
    if target.exists():
        target.rename(old)
    try:
        ready.rename(target)
        yield
    except BaseException:
        if target.exists():
            target.rename(ready)
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _recover(target: Path) -> None:
    """Bring the old build back when a swap was killed between its two renames."""
    _, old = _beside(target)
    if old.is_dir() and not target.exists():
        old.rename(target)


def _beside(target: Path) -> tuple[Path, Path]:
    """Where the new and the old build wait: same file system as `target`, ignored by git."""
    folder = target.parent / ".evidence" / "swap"
    return folder / "new", folder / "old"
