"""A run as one zip file, for people without DATAFLOW: `index.html` in it leads to all the rest.

::

    index.html       what ran, when, and how its steps and checks ended
    run/run.json     the record
    run/ingest.html  the executed notebooks as pages, and themselves
    run/...          what else the run's folder has

Nothing in it names a folder of this machine, or has the value of a secret.
"""

from __future__ import annotations

import contextlib
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from jinja2 import TemplateError
from markupsafe import Markup

from dataflow.base.files import whole_file
from dataflow.base.words import seconds_text, size_text
from dataflow.engine.secrets import Scrubber
from dataflow.errors import ConfigurationError, DataflowError
from dataflow.project import Project
from dataflow.runs.html import copy_page, page_of
from dataflow.runs.record import RUN_FILE, SHORT, Run, step_seconds
from dataflow.services.data_section import data_section
from dataflow.services.pages import render
from dataflow.stages.execute import machine_paths
from dataflow.variables import secrets_of

FOLDER = "run"
PIECE = 1 << 23  # bytes
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; "
    "base-uri 'none'"
)
# Scrubbed once more, by what is secret now. Executed notebooks and their pages are passed on as
# they are, since they were scrubbed when they were written.
_TEXT = {".csv", ".diff", ".json", ".log", ".md", ".patch", ".sql", ".txt"}
_PACKED = {".gz", ".jpeg", ".jpg", ".parquet", ".png", ".zip"}
# What a name may not have on some system that unpacks it.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f\ud800-\udfff<>:"\\|?*]|[. ]+$')
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Exported:
    """A zip file with a run in it.

    Args:
        path: the file.
        files: how many files are in it.
        left_out: files of the run, or pages of its notebooks, that could not be read, with why.
    """

    path: Path
    files: int
    left_out: dict[str, str] = field(default_factory=dict)


def export_run(project: Project, run: Run, target: Path, *, overwrite: bool = False) -> Exported:
    """Put a run into a zip file.

    Files are copied in pieces, so that a run may be larger than the memory. The zip file has its
    name when it is complete.

    Args:
        project: the project.
        run: the run.
        target: the file to create, or a folder, where it gets a name of its own.
        overwrite: replace an existing file.

    Raises:
        ConfigurationError: the file exists already, or is to be in the run's own folder.
        DataflowError: it cannot be written; nothing is left of it.
    """
    if target.is_dir():
        began = f"{run.started_at:%Y%m%dT%H%M%SZ}"
        target = target / f"{_safe(run.workflow_id)}_{began}_{run.run_id[:SHORT]}.zip"
    if target.exists() and not overwrite:
        raise ConfigurationError(
            "the file exists already", where=str(target), hint="Choose another, or use --force."
        )
    if target.resolve().is_relative_to(run.folder.resolve()):
        raise ConfigurationError(
            "the file would be part of the run that it holds", where=str(target),
            hint="Choose a place outside of the run's folder.",
        )  # fmt: skip
    left_out = _fresh_pages(run)
    try:
        with whole_file(target) as draft, zipfile.ZipFile(draft, "w") as archive:
            files = _write(project, run, archive, left_out)
    except OSError as error:
        raise DataflowError(
            f"the zip file cannot be written: {error.strerror or error}",
            where=str(target),
            hint="Choose a place with free space, where your user may write.",
        ) from error
    return Exported(target, files, left_out)


def _fresh_pages(run: Run) -> dict[str, str]:
    """Write the pages that executed notebooks lack; returns those that cannot be, with why."""
    failed = {}
    for notebook in run.notebooks:
        try:
            page_of(notebook)
        except Exception as error:  # whatever there is in the file
            failed[f"{notebook.stem}.html"] = f"{type(error).__name__}: {error}"
    return {name: why for name, why in failed.items() if not (run.folder / name).is_file()}


def _write(project: Project, run: Run, archive: zipfile.ZipFile, left_out: dict[str, str]) -> int:
    project.load_environment()
    secrets = secrets_of(project.notebooks / run.workflow_id)
    scrub = Scrubber(secrets).with_paths(machine_paths(project))
    names: dict[str, str] = {}  # in the archive, by the name in the run's folder
    sizes: dict[str, str] = {}
    for path, name in _files(run.folder):
        inside = f"{FOLDER}/{_unique(_safe(name), names.values())}"
        try:
            _add(archive, path, inside, scrub if path.suffix.lower() in _TEXT else None)
        except FileNotFoundError:
            continue  # of a run that goes on
        except PermissionError as error:
            left_out[name] = str(error.strerror)
            continue
        names[name] = inside
        sizes[name] = size_text(path.stat().st_size)
    page = _page(project, run, names, sizes)
    text = scrub.text(page).encode("utf-8", "backslashreplace")
    archive.writestr("index.html", text, zipfile.ZIP_DEFLATED)
    return len(names) + 1


def _page(project: Project, run: Run, names: dict[str, str], sizes: dict[str, str]) -> str:
    try:
        return render(
            "exported_run.html",
            title=f"{run.workflow_id} {run.run_id[:SHORT]}",
            policy=POLICY,
            run=run,
            data=_data(project, run),
            names=names,
            sizes=sizes,
            pages={
                path.stem.split(".")[0]: names[f"{path.stem}.html"]
                for path in run.notebooks
                if f"{path.stem}.html" in names
            },
            seconds=seconds_text,
            took=lambda step: seconds_text(step_seconds(step)),
        )
    except (TypeError, ValueError, AttributeError, TemplateError) as error:
        raise DataflowError(
            f"the run's record holds something that no run writes: {error}",
            where=str(run.folder / RUN_FILE),
            hint="Put right what was changed in it by hand.",
        ) from error


def _data(project: Project, run: Run) -> Markup:
    """What came of the run's data, as its page has it; empty where that is not known."""
    try:
        values = data_section(project, run)
        if values is None:
            return Markup("")
        return Markup(render("data.html", run=run, address=f"{FOLDER}/", **values))
    except Exception as error:  # somebody wrote something else into the file, which is in the zip
        return Markup('<p class="failed">What came of the data cannot be shown: {}</p>').format(
            error
        )


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """The run's files with their names from its folder: what is hidden, or a link, is left out."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in PurePosixPath(name).parts)
        if not hidden and not path.is_symlink() and path.is_file():
            yield path, name


def _add(archive: zipfile.ZipFile, path: Path, name: str, scrub: Scrubber | None) -> None:
    """Copy a file into the archive, in pieces."""
    info = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
    info.external_attr = 0o644 << 16  # not this machine's permissions
    packed = path.suffix.lower() in _PACKED
    info.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
    up = "../" * name.count("/")
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(path.open("rb"))
        target = stack.enter_context(archive.open(info, "w", force_zip64=True))
        if path.suffix == ".html":
            copy_page(path, target, "This run", up + "index.html")
            return
        # What is scrubbed goes line by line, so that nothing is cut in the middle of a word.
        read = source.readline if scrub else source.read
        pieces = iter(lambda: read(PIECE), b"")
        for piece in pieces:
            if scrub:
                text = piece.decode("utf-8", "surrogateescape")
                piece = scrub.text(text).encode("utf-8", "surrogateescape")
            target.write(piece)


def _safe(name: str) -> str:
    """A file's name, which may have folders, as every system can unpack it."""
    parts = [
        f"_{part}" if _DEVICES.match(part) else part
        for part in (_UNSAFE.sub("_", part) for part in name.split("/"))
    ]
    return "/".join(parts)


def _unique(name: str, taken: Iterable[str]) -> str:
    """The name, with a number where another file has it, in whatever case."""
    used = {one.removeprefix(f"{FOLDER}/").lower() for one in taken}
    path, number = PurePosixPath(name), 1
    while name.lower() in used:
        number += 1
        name = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
    return name
