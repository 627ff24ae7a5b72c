"""The snippets of README.md and docs/*.md, and how to try them.

A fenced block is a snippet; its language says what happens to it (`dotenv` and the like, which
nothing here can try, are in `SHOWN_ONLY`). What a block needs besides stands in a comment above
it, which readers of the page do not see::

    <!-- test: skip: it needs another machine -->    not tried, and why
    <!-- test: in notebooks/earthquakes -->          the folder it is tried in
    <!-- test: exit 2 -->                            a command that is meant to fail
    <!-- test: file notebooks/rivers/config.yaml --> the block is this file: it is written
    <!-- test: append tests/test_x.py -->            the block is added to this file
    <!-- test: cell notebooks/rivers/ingest.ipynb parameters -->   ... to this notebook, tagged
    <!-- test: excerpt notebooks/earthquakes/config.yaml -->  these lines stand in that file
    <!-- test: given
    code that is run before it, in the block's language
    -->

Several may stand above one block. The blocks of a page are tried in order, in one copy of the
project in which the workflow `earthquakes` has run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

TRIED = {"bash", "console", "python", "yaml", "sql"}
SHOWN_ONLY = {
    "text",
    "ini",
    "toml",
    "nginx",
    "dotenv",
    "json",
    "markdown",
    "svelte",
    "html",
}

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,})(?P<language>[\w+-]*)[^\n]*$")
_COMMENT = re.compile(r"<!-- test: (?P<text>.*?)\s*-->", re.DOTALL)
INTO_FILES = ("file", "append", "cell", "excerpt")
_DIRECTIVES = (*INTO_FILES, "skip", "in", "exit", "given")


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a page.

    Args:
        page: the page.
        line: the line of its first fence.
        language: what stands behind the fence.
        text: the block.
        directives: the comments above it, as (name, value).
    """

    page: Path
    line: int
    language: str
    text: str
    directives: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_tried(self) -> bool:
        """Whether there is something to do with it."""
        if self.directive("skip") is not None:
            return False
        return self.language in TRIED or any(name in INTO_FILES for name, _ in self.directives)

    @property
    def where(self) -> str:
        """The page and line, for messages."""
        return f"{self.page.name}:{self.line}"

    def directive(self, name: str) -> str | None:
        """The value of the comment `name` above the block; None without one."""
        return dict(self.directives).get(name)


def pages(root: Path) -> list[Path]:
    """README.md and every page in docs/."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def snippets(page: Path) -> list[Snippet]:
    """The fenced blocks of a page, in order."""
    lines = page.read_text("utf-8").split("\n")
    found = []
    above: list[str] = []  # since the last block or paragraph
    number = 0
    while number < len(lines):
        match = _FENCE.match(lines[number])
        if match is None:
            above.append(lines[number])
            number += 1
            continue
        start = number
        end = next(
            (i for i in range(start + 1, len(lines)) if lines[i].strip() == match["fence"]), None
        )
        assert end is not None, f"{page.name}:{start + 1}: the block does not end"
        indent = len(match["indent"])
        text = "\n".join(line[indent:] for line in lines[start + 1 : end])
        found.append(
            Snippet(page, start + 1, match["language"], text, _directives(page, start, above))
        )
        above = []
        number = end + 1
    return found


def _directives(page: Path, line: int, above: list[str]) -> list[tuple[str, str]]:
    """The comments that stand directly above a block."""
    text = "\n".join(above).rstrip()
    found: list[tuple[str, str]] = []
    while text.endswith("-->"):
        start = text.rfind("<!--")
        match = _COMMENT.fullmatch(text[start:])
        if match is None:
            break
        name, _, value = re.sub(r"^(\w+):? ?", r"\1 ", match["text"]).partition(" ")
        if match["text"].startswith("given\n"):
            name, value = "given", match["text"].removeprefix("given\n")
        assert name in _DIRECTIVES, f"{page.name}:{line}: there is no directive `{name}`"
        found.append((name, value))
        text = text[:start].rstrip()
    return found[::-1]


def commands_named(text: str) -> set[tuple[str, ...]]:
    """Every `dataflow …` command that a page names, as its words up to the first other thing."""
    blocks = re.findall(r"^ *```(?:bash|console)\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^ *(`{3,}).*?^ *\1", "", text, flags=re.DOTALL | re.MULTILINE)
    code = [line for block in blocks for line in block.split("\n")]
    code += re.findall(r"`([^`\n]+)`", prose)
    found = set()
    for part in code:
        match = re.match(r"(?:\$ +)?(?:\.venv/bin/)?dataflow((?: [a-z][a-z-]*)+)", part.strip())
        if match:
            found.add(tuple(match[1].split()))
    return found
