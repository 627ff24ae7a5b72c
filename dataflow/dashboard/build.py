"""Build the dashboard's pages, and only when something they are made of changed.

The pages are built without data (a single-page build): they read it when they are opened.
"""

from __future__ import annotations

import filecmp
import gzip
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dataflow.base.files import write_whole
from dataflow.base.process import is_alive, this_process
from dataflow.dashboard.build_errors import PAGE_ERROR, build_error
from dataflow.dashboard.install import ensure_node, install, installed_hash, packages_hash
from dataflow.dashboard.kept import forget_builds, keep_build, stamp_of, take_build
from dataflow.dashboard.node import Stopped, run_limited
from dataflow.dashboard.patches import FIRST_PAGE, OWN, TEMPLATE
from dataflow.dashboard.paths import (
    BUILD_STAMP,
    build_folder,
    build_log,
    lock_file,
    work_folder,
)
from dataflow.dashboard.progress import progress
from dataflow.errors import DashboardError
from dataflow.project import Project
from dataflow.workflows.ids import slug_of
from dataflow.workflows.registry import other_workflows

# Raise it when this module builds differently from the same files.
_FORMAT = 2
# How they are built: less work than Evidence's own way, for the same pages.
_CONFIGURATION = OWN / "build.vite.js"
_FOLDERS = ("pages", "components", "partials", "queries", "static")
_FILES = ("app.css", "evidence.config.yaml", "svelte.config.js", "tailwind.config.js")
# In the build, hidden from readers: the pages it was made from.
_BUILT_FROM = ".dataflow-pages"
_COMPRESSED = {".css", ".html", ".js", ".json", ".svg", ".wasm"}
_SMALL = 1024


@dataclass(frozen=True)
class StagedPages:
    """Pages that were built where nobody sees them yet, if they had to be.

    Args:
        served: the folder of the pages that are served.
        seconds: how long it took, waiting for another build included.
        folder: the new pages; None when the served ones are up to date.
        warnings: what is wrong with other workflows' pages, and how it was handled.
    """

    served: Path
    seconds: float
    folder: Path | None = None
    warnings: Sequence[str] = ()

    @property
    def built(self) -> bool:
        """Whether the pages had to be built."""
        return self.folder is not None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Serve the pages from here on; those before come back when the body fails."""
        with _swapped(self.folder, self.served) if self.folder else nullcontext():
            yield


def build_pages(
    project: Project, *, force: bool = False, on_line: Callable[[str], None] = lambda line: None
) -> StagedPages:
    """Build the pages into `evidence/build`, unless they are built already.

    A build takes about a minute and 2.7 GB. The served build is replaced in one step at the
    end; a failing build leaves it alone. Only one build runs at a time.

    Args:
        force: build although nothing changed.
        on_line: called with each line the build prints; all of them go to a log file too.

    Raises:
        ConfigurationError: no Node, or no package list.
        DashboardError: a page does not compile; `where` says the page and line.
    """
    with staged_pages(project, force=force, on_line=on_line) as staged, staged.shown():
        return staged


@contextmanager
def staged_pages(
    project: Project,
    workflow_id: str | None = None,
    *,
    force: bool = False,
    on_line: Callable[[str], None] = lambda line: None,
    on_progress: Callable[[str], None] = lambda text: None,
    until: Callable[[], bool] | None = None,
) -> Iterator[StagedPages]:
    """Build the pages aside, unless they are built already; `shown()` has them served.

    A build that is not shown is kept for the next call that wants it, and so is the one that was
    served before.

    Arguments and errors are those of `build_pages`, and:

    Args:
        on_progress: told in words what is done, and every few seconds that it goes on.
        workflow_id: build for this workflow: the pages of others are included as they were
            last built, so that an author's mistake affects their own workflow only.
        until: build in the background, behind everything else the machine has to do, and only
            until this says so.

    Raises:
        Stopped: `until` said so, or the files changed meanwhile, which only ends a build in the
            background.
    """
    start = time.monotonic()
    target = build_folder(project)

    def kept(*warnings: str) -> StagedPages:
        return StagedPages(target, time.monotonic() - start, warnings=warnings)

    if not force and not is_stale(project, workflow_id):
        yield kept()
        return
    with _build_lock(project, on_progress, until):
        _recover(target)
        files = _chosen(project, workflow_id)
        wanted = _hash(project, files)
        if not force and built_hash(project) == wanted:
            yield kept()
            return
        # Then the error is not in this workflow's files.
        own_are_built = workflow_id is not None and _is_built(project, workflow_id)
        if force:
            forget_builds(project)
        elif error := _refusal(project, wanted, lasting=own_are_built):
            if not own_are_built:
                raise error
            yield kept(_stay(error))
            return
        built = work_folder(project) / "taken"
        try:
            if take_build(project, wanted, built) is None:
                before = _signature(files)

                def is_over() -> bool:
                    try:
                        changed = before != _signature(_chosen(project, workflow_id))
                    except OSError:
                        changed = True
                    return changed or bool(until and until())

                try:
                    built = _made(
                        project, workflow_id, files, on_line, on_progress, until and is_over
                    )
                except DashboardError as error:
                    if PAGE_ERROR in error.message and (own_are_built or until is not None):
                        _refuse(project, wanted, error, lasting=own_are_built)
                    if not own_are_built:
                        raise
                    yield kept(_stay(error))
                    return
            warnings = stamp_of(built).get("warnings", [])
            yield StagedPages(target, time.monotonic() - start, built, warnings)
        finally:
            for left in (built, *_beside(target)):
                keep_build(project, left)
            shutil.rmtree(work_folder(project), ignore_errors=True)


@contextmanager
def _build_lock(
    project: Project, on_progress: Callable[[str], None], until: Callable[[], bool] | None
) -> Iterator[None]:
    """The one build that goes on, in whatever process."""
    lock = FileLock(lock_file(project, "build"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if until is not None:
            try:
                lock.acquire(poll_interval=0.2, cancel_check=until)
            except Timeout:
                raise Stopped from None
        else:
            what = "waiting for the dashboard's pages, which are being built"
            with progress(what, last_seconds(project), on_progress):
                lock.acquire(poll_interval=0.2)
    try:
        yield
    finally:
        lock.release()


def _made(
    project: Project,
    workflow_id: str | None,
    files: dict[Path, Path],
    on_line: Callable[[str], None],
    on_progress: Callable[[str], None],
    until: Callable[[], bool] | None,
) -> Path:
    """Build from `files`; returns the folder of a complete build."""
    start = time.monotonic()
    if installed_hash(project) != packages_hash(project):
        with progress("installing the dashboard's packages", None, on_progress) as part:
            install(project, on_line=on_line, on_part=part)
    with progress("building the dashboard's pages", last_seconds(project), on_progress):
        made_from, left_out = _build(project, workflow_id, files, on_line, until)
    built = _site(project) / "build"
    # Of what was laid out: the files themselves may have changed meanwhile.
    laid_out = _laid_out(project, files)
    _keep_sources(laid_out, built)
    _compress(built, build_folder(project))
    stamp = {
        "hash": _hash(project, laid_out),
        "made_from": made_from,
        "seconds": round(time.monotonic() - start, 1),
        "left_out": {slug: _hash_of(_pages_of(project, slug)) for slug in left_out},
        "warnings": list(left_out.values()),
    }
    (built / BUILD_STAMP).write_text(json.dumps(stamp), "utf-8")
    return built


def is_stale(project: Project, workflow_id: str | None = None) -> bool:
    """Whether the pages changed since they were built, or never were.

    Args:
        workflow_id: ignore the pages of other workflows than this one.
    """
    return built_hash(project) != _hash(project, _chosen(project, workflow_id))


def last_seconds(project: Project) -> float | None:
    """How long the build of the pages that are served took; None when that is not known."""
    return _stamp(project).get("seconds")


def pages_hash(project: Project) -> str:
    """A hash of everything the pages are made of; data and source queries are not."""
    return _hash(project, _chosen(project, None))


def _hash(project: Project, files: Mapping[Path, Path]) -> str:
    how = hashlib.sha256(_CONFIGURATION.read_bytes()).hexdigest()
    text = f"{_FORMAT} {how} {packages_hash(project)} {_hash_of(files)}"
    return hashlib.sha256(text.encode()).hexdigest()


def _hash_of(files: Mapping[Path, Path]) -> str:
    digest = hashlib.sha256()
    for relative, path in sorted(files.items()):
        digest.update(f"\0{relative.as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def built_hash(project: Project) -> str | None:
    """What `pages_hash` was when the served pages were built; None when there are none."""
    built = _stamp(project).get("hash")
    return None if built is None else str(built)


def _stamp(project: Project) -> dict[str, Any]:
    return stamp_of(build_folder(project))


def _signature(files: Mapping[Path, Path]) -> list[tuple[Path, int, int]]:
    """What differs when files changed."""
    found = [(path, path.stat()) for path in files.values()]
    return [(path, about.st_mtime_ns, about.st_size) for path, about in found]


def _chosen(project: Project, workflow_id: str | None) -> dict[Path, Path]:
    """What the pages are built from: each file's place below `evidence/`, and the file.

    Built for a workflow, the pages of the others are those of the last build; if that has
    none, the current ones, unless they were left out because they do not compile.
    """
    # Evidence looks for every page among those of the project, too.
    files = {Path("pages", FIRST_PAGE.name): FIRST_PAGE}
    files |= _files_below(project.evidence, _FOLDERS)
    files |= {Path(name): path for name in _FILES if (path := project.evidence / name).is_file()}
    if workflow_id is None:
        return files
    left_out = _stamp(project).get("left_out", {})
    for slug in _other_slugs(project, workflow_id):
        now = _pages_of(project, slug)
        last = _built_pages_of(project, slug)
        if now and (last or left_out.get(slug) == _hash_of(now)):
            files = {relative: path for relative, path in files.items() if relative not in now}
            files |= last
    return files


def _files_below(root: Path, folders: Iterable[str | Path]) -> dict[Path, Path]:
    return {
        path.relative_to(root): path
        for folder in folders
        for path in sorted((root / folder).rglob("*"))
        if path.is_file() and ".ipynb_checkpoints" not in path.parts
    }


def _other_slugs(project: Project, workflow_id: str) -> list[str]:
    """The slugs of the other workflows' pages."""
    return [slug_of(name) for name in sorted(other_workflows(project, workflow_id))]


def _pages_of(project: Project, slug: str, root: Path | None = None) -> dict[Path, Path]:
    """The files of a workflow's pages: `pages/<slug>/` and `pages/<slug>.md`."""
    root = root or project.evidence
    files = _files_below(root, [Path("pages", slug)])
    single = Path("pages", f"{slug}.md")
    return files | ({single: root / single} if (root / single).is_file() else {})


def _built_pages_of(project: Project, slug: str) -> dict[Path, Path]:
    return _pages_of(project, slug, build_folder(project) / _BUILT_FROM)


def built_slugs(project: Project) -> set[str]:
    """What the pages that are served are called: the first part of their addresses."""
    folder = build_folder(project) / _BUILT_FROM / "pages"
    return {path.name.removesuffix(".md") for path in folder.glob("*") if _is_page(path)}


def _is_page(path: Path) -> bool:
    return path.is_dir() or (path.suffix == ".md" and path.name != "index.md")


def _is_built(project: Project, workflow_id: str) -> bool:
    """Whether the served pages include the workflow's current ones; it may have none."""
    slug = slug_of(workflow_id)
    last, now = _built_pages_of(project, slug), _pages_of(project, slug)
    return built_hash(project) is not None and _hash_of(last) == _hash_of(now)


def _keep_sources(files: Mapping[Path, Path], built: Path) -> None:
    """Put the sources of the pages beside them: the next build for another workflow uses them."""
    for relative, path in files.items():
        if relative.parts[0] == "pages":
            target = built / _BUILT_FROM / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _compress(built: Path, served: Path) -> None:
    """Put a compressed copy beside each file that benefits, so that serving costs nothing.

    Args:
        built: the build.
        served: another one; what is the same there has a copy already, as 40 MB of DuckDB.
    """
    for path in [path for path in built.rglob("*") if path.suffix in _COMPRESSED]:
        if path.is_file() and path.stat().st_size >= _SMALL and _BUILT_FROM not in path.parts:
            copy, there = Path(f"{path}.gz"), served / path.relative_to(built)
            if Path(f"{there}.gz").is_file() and filecmp.cmp(path, there, shallow=False):
                shutil.copyfile(f"{there}.gz", copy)
            else:
                copy.write_bytes(gzip.compress(path.read_bytes(), 6))


def _refusals(project: Project) -> Path:
    return work_folder(project).with_name("refused.json")


def _refuse(project: Project, wanted: str, error: DashboardError, *, lasting: bool) -> None:
    """Note that files do not compile; if not `lasting`, for as long as this process goes on."""
    known = {
        "hash": wanted,
        "error": {"message": error.message, "where": error.where, "hint": error.hint},
        "process": None if lasting else this_process(),
    }
    write_whole(_refusals(project), json.dumps(known))


def _refusal(project: Project, wanted: str, *, lasting: bool) -> DashboardError | None:
    """Why exactly these files did not compile last time; None when that is not known.

    Args:
        lasting: whether what was noted for good counts, too.
    """
    try:
        known = json.loads(_refusals(project).read_text(encoding="utf-8"))
        counts = is_alive(known["process"]) if known["process"] else lasting
        return DashboardError(**known["error"]) if counts and known["hash"] == wanted else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _stay(error: DashboardError) -> str:
    return f"the pages stay as they were built last: {error}"


def _build(
    project: Project,
    workflow_id: str | None,
    files: dict[Path, Path],
    on_line: Callable[[str], None],
    until: Callable[[], bool] | None,
) -> tuple[str, dict[str, str]]:
    """Build from `files`, without the new pages of other workflows that do not compile.

    Returns:
        The hash of what was to be built, and what was left out of it, and why; that is taken out
        of `files` too.
    """
    left_out: dict[str, str] = {}
    made_from = ""
    while True:
        _lay_out(project, files)
        made_from = made_from or _hash(project, _laid_out(project, files))
        try:
            _run_vite(project, on_line, until)
            return made_from, left_out
        except DashboardError as error:
            parts = Path((error.where or "").split(":")[0]).parts[1:]
            slug = Path(parts[1]).stem if len(parts) > 1 and parts[0] == "pages" else None
            if workflow_id is None or slug not in _other_slugs(project, workflow_id):
                raise
            pages = _pages_of(project, slug)
            if _built_pages_of(project, slug) or not pages.keys() & files.keys():
                raise
            left_out[slug] = f"the pages of {slug} are left out: {error}"
            for relative in pages:
                files.pop(relative, None)


def _laid_out(project: Project, files: Iterable[Path]) -> dict[Path, Path]:
    """The copies of files that a build is made from."""
    return {relative: work_folder(project) / relative for relative in files}


def _site(project: Project) -> Path:
    """The SvelteKit project of a build."""
    return work_folder(project) / ".evidence" / "template"


def _lay_out(project: Project, files: Mapping[Path, Path]) -> None:
    """Lay out what Evidence's own command lays out, in a folder of this build's own.

    Evidence's command works in `evidence/.evidence`, which `evidence dev` uses too, copies
    the pages by a file watcher that races with the build, and starts it through npx.
    """
    work = work_folder(project)
    shutil.rmtree(work, ignore_errors=True)
    site = _site(project)
    modules = project.evidence / "node_modules"
    shutil.copytree(modules / TEMPLATE, site)
    shutil.copyfile(_CONFIGURATION, site / _CONFIGURATION.name)
    (work / "node_modules").symlink_to(modules, target_is_directory=True)
    for relative, path in files.items():
        folder = relative.parts[0]
        targets = [work / relative]
        # Evidence reads the author's pages too, besides SvelteKit's version of them.
        if folder == "pages":
            targets.append(site / "src" / _route(relative))
        elif folder in ("components", "app.css"):
            targets.append(site / "src" / relative)
        elif len(relative.parts) > 1:
            targets.append(site / relative)
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _route(page: Path) -> Path:
    """Where SvelteKit wants a page: `a/index.md` and `a.md` are both `a/+page.md`."""
    if page.suffix != ".md":
        return page
    folder = page.parent if page.name == "index.md" else page.with_suffix("")
    return folder / "+page.md"


def _run_vite(
    project: Project, on_line: Callable[[str], None], until: Callable[[], bool] | None
) -> None:
    node, site = ensure_node(project, on_line), _site(project)
    environment = node.environment(
        VITE_EVIDENCE_SPA="true",
        EVIDENCE_IS_BUILDING="true",
        EVIDENCE_DATA_DIR="./static/data",
        EVIDENCE_DATA_URL_PREFIX="static/data",
    )
    # More than Node's own limit, as Evidence sets it.
    environment.setdefault("NODE_OPTIONS", "--max-old-space-size=4096")
    vite = project.evidence / "node_modules" / "vite" / "bin" / "vite.js"
    with build_log(project).open("w", encoding="utf-8") as log:

        def take(line: str) -> None:
            log.write(f"{line}\n")
            on_line(line)

        what = "the build of the dashboard's pages"
        seconds = project.settings.node_timeout
        command: list[str | Path] = [node.path, vite, "build", "--config", _CONFIGURATION.name]
        code, lines = run_limited(command, what, site, environment, take, seconds, until)
    if code != 0 or not (site / "build" / "index.html").is_file():
        raise build_error(project, lines, code)


@contextmanager
def _swapped(new: Path, target: Path) -> Iterator[None]:
    """Put `new` in the place of `target`, by renames that are undone when the body fails.

    What was there before stays beside it, and so does `new` when the body fails.
    """
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


def _recover(target: Path) -> None:
    """Bring the old build back when a swap was killed between its two renames; clear the rest."""
    ready, old = _beside(target)
    if old.is_dir() and not target.exists():
        old.rename(target)
    for left in (ready, old):  # which may lack files
        shutil.rmtree(left, ignore_errors=True)


def _beside(target: Path) -> tuple[Path, Path]:
    """Where the new and the old build wait: same file system as `target`, ignored by git."""
    folder = target.parent / ".evidence" / "swap"
    return folder / "new", folder / "old"
