"""Turn the output of a failed build into one error in the author's terms.

Evidence compiles a page after turning its Markdown into HTML, so the lines the compiler names
are not the page's; they are found again by their text.
"""

from __future__ import annotations

import re
from pathlib import Path

from dataflow.dashboard.paths import build_log
from dataflow.errors import DashboardError
from dataflow.project import Project

PAGE_ERROR = "the page does not compile"
_PLACE = re.compile(r"src/((?:pages|components)/[^\s:()]+)(?::(\d+))?")
_UNDEFINED = re.compile(r"'(\w+)' is not defined")


def build_error(project: Project, lines: list[str], exit_code: int) -> DashboardError:
    """The error for a build that ended with `exit_code` after printing `lines`."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(lines))
    log = project.relative(build_log(project))
    if exit_code in (-9, 137) or "heap out of memory" in text:
        return DashboardError(
            "the build of the dashboard's pages ran out of memory",
            hint="It takes up to 2.7 GB, and 2.2 GB with NODE_OPTIONS=--max-old-space-size=1536. "
            "Where Node itself gave up, set a higher number, such as 8192.",
        )
    message = _message(text) or f"the build ended with exit code {exit_code}"
    undefined = _UNDEFINED.search(message)
    hint = f"Fix the page; the dashboard keeps showing the last build. Full output: {log}"
    if undefined:
        hint = f"Name a query of the page, or add one: ```sql {undefined[1]}"
    places = list(_PLACE.finditer(text.split("error during build:")[-1]))
    place = next((one for one in places if one[2]), places[0] if places else None)
    where = None
    if place:
        page = _page_of(project, Path(place[1]))
        where = project.relative(page)
        line = _line(page, text, place[2], undefined[1] if undefined else None)
        if line:
            where += f":{line}"
    return DashboardError(f"{PAGE_ERROR}: {message}", where=where, hint=hint)


def _message(text: str) -> str | None:
    """The compiler's message, without the names of plugins and of our copies of files."""
    _, found, rest = text.partition("error during build:\n")
    candidates = rest if found else text
    for line in candidates.splitlines():
        if not line.strip() or line.strip().startswith(("node:", "at ", "file:")):
            continue
        if not found and not re.search(r"error", line, re.IGNORECASE):
            continue
        line = re.sub(r"^(?:\[[^\]]*\]\s*)+", "", line.strip())
        line = re.sub(r"^src/\S+ \(\d+:\d+\): ", "", line)
        line = re.sub(r"^/\S+?:\d+:\d+ ", "", line)
        return re.sub(r"^\w*Error: ", "", line) or None
    return None


def _page_of(project: Project, route: Path) -> Path:
    """The author's file behind SvelteKit's `pages/a/+page.md`."""
    if route.name != "+page.md":
        return project.evidence / route
    index = project.evidence / route.parent / "index.md"
    single = (project.evidence / route.parent).with_suffix(".md")
    return single if single.is_file() and not index.is_file() else index


def _line(page: Path, text: str, compiled: str | None, undefined: str | None) -> int | None:
    """The author's line: the one that uses the undefined name, or reads like the compiled one."""
    try:
        source = page.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    wanted: str | None = None
    if undefined:
        wanted = rf"\{{[^}}]*\b{re.escape(undefined)}\b"
    elif compiled:
        frame = re.search(rf"^\s*{compiled}\s*[:|]\s*(.*)$", text, re.MULTILINE)
        bare = (
            re.sub(r"</?\w+ class=\"markdown\"[^>]*>|</\w+>", "", frame[1]).strip() if frame else ""
        )
        wanted = re.escape(bare) if bare else None
    if wanted is None:
        return None
    hits = [number for number, line in enumerate(source, start=1) if re.search(wanted, line)]
    return hits[0] if hits else None
