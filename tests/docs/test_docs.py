"""What README.md and docs/ say is true: every snippet is tried, every command is explained."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer
import yaml
from docs_pages import SHOWN_ONLY, TRIED, commands_named, pages, snippets
from docs_runner import PageRunner, try_page
from projects import REPOSITORY
from pydantic import BaseModel

from dataflow.cli.main import app
from dataflow.project import Project
from dataflow.workflows.model import (
    Ingestion,
    IngestionSource,
    StageSection,
    Transformation,
    WorkflowSection,
)

PAGES = pages(REPOSITORY)
MOST_SKIPPED = 8  # snippets in all pages together that nothing tries
MOST_BYTES = 150_000  # of a picture


@pytest.mark.parametrize(
    "page",
    [
        page
        for page in PAGES
        # That guide is tried in test_extending.py, where what it leads to is looked at, too.
        if page.name != "extending.md" and any(snippet.is_tried for snippet in snippets(page))
    ],
    ids=lambda page: page.name,
)
def test_every_snippet_of_a_page_does_what_it_says(page: Path, clone: Project, tmp_path: Path):
    try_page(page, clone, tmp_path / "project")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_snippet_names_its_language(page: Path):
    unknown = [s.where for s in snippets(page) if s.language not in TRIED | SHOWN_ONLY]

    assert unknown == []


def test_few_snippets_are_not_tried_and_each_says_why():
    skipped = {s.where: s.directive("skip") for page in PAGES for s in snippets(page)}
    reasons = {where: reason for where, reason in skipped.items() if reason is not None}

    assert all(len(reason) > 15 for reason in reasons.values()), reasons
    assert len(reasons) <= MOST_SKIPPED, reasons


def commands() -> dict[tuple[str, ...], click.Command]:
    """Every command of the command line, groups too, by the words that call it."""
    found: dict[tuple[str, ...], click.Command] = {}

    def walk(command: click.Command, words: tuple[str, ...]) -> None:
        found[words] = command
        for name, below in getattr(command, "commands", {}).items():
            walk(below, (*words, name))

    walk(typer.main.get_command(app), ())
    return found


def test_every_command_and_option_has_help():
    without = []
    for words, command in commands().items():
        if not command.help:
            without.append(" ".join(words))
        without += [
            f"{' '.join(words)} {parameter.name}"
            for parameter in command.params
            if not getattr(parameter, "help", None) and not getattr(parameter, "hidden", False)
        ]

    assert without == []


def test_every_command_is_in_the_documentation():
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    named = {words[: len(command)] for words in commands_named(text) for command in commands()}
    missing = [
        " ".join(words)
        for words, command in commands().items()
        if words and not hasattr(command, "commands") and words not in named
    ]

    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_no_command_that_does_not_exist(page: Path):
    known = commands()
    wrong = []
    for words in commands_named(page.read_text("utf-8")):
        for length in range(1, len(words) + 1):
            command = known.get(words[: length - 1])
            is_group = command is not None and hasattr(command, "commands")
            if is_group and words[:length] not in known:
                wrong.append("dataflow " + " ".join(words))

    assert wrong == []


@pytest.mark.parametrize(
    ("title", "section"), [("Key of `workflow`", WorkflowSection), ("Key of a stage", StageSection)]
)
def test_a_table_of_keys_says_what_the_code_says(title: str, section: type[BaseModel]):
    text = (REPOSITORY / "docs" / "configuration.md").read_text("utf-8")
    table = text.partition(f"| {title} | Means |\n|---|---|\n")[2].partition("\n\n")[0]

    assert table.split("\n") == [
        f"| `{name}` | {key.description} |" for name, key in section.model_fields.items()
    ]


def test_every_key_for_notebooks_is_explained():
    text = (REPOSITORY / "docs" / "configuration.md").read_text("utf-8")
    sections = (Ingestion, IngestionSource, Transformation)
    keys = {key for section in sections for key in section.model_fields}

    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []


def test_messages_that_a_page_explains_are_messages_of_the_code():
    said = _texts_in_the_code()
    unknown = []
    for page in PAGES:
        _, _, section = page.read_text("utf-8").partition("\n## Messages\n")
        for message in re.findall(r"^\| `([^`]+)` \|", section.partition("\n## ")[0], re.MULTILINE):
            pattern = ".*".join(re.escape(part) for part in message.split("…"))
            if not any(re.search(pattern, text) for text in said):
                unknown.append(f"{page.name}: {message}")

    assert unknown == []


def _texts_in_the_code() -> list[str]:
    """Every string in the package; what is put in at run time stands as …"""
    texts = []
    for path in (REPOSITORY / "dataflow").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (v.value if isinstance(v, ast.Constant) else "…" for v in node.values)
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def test_the_readme_leads_to_every_page():
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    missing = [page.name for page in PAGES[1:] if f"(docs/{page.name}" not in readme]

    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path):
    broken = []
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue  # elsewhere: not for a test to depend on
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)

    assert broken == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }


def test_pictures_are_small():
    pictures = [*(REPOSITORY / "docs").rglob("*.png"), *(REPOSITORY / "docs").rglob("*.svg")]

    assert pictures
    assert {p.name: p.stat().st_size for p in pictures if p.stat().st_size > MOST_BYTES} == {}


@pytest.mark.browser
def test_the_picture_of_the_dashboard_can_be_made_again(clone: Project, tmp_path: Path):
    project = Project(tmp_path / "project")
    shutil.copytree(clone.root, project.root, symlinks=True)
    made = subprocess.run(
        [sys.executable, str(project.root / "docs" / "screenshot.py"), str(tmp_path / "new.png")],
        cwd=project.root,
        env=PageRunner(project).environment(),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert made.returncode == 0, made.stderr
    picture = (tmp_path / "new.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    # A page that is empty or shows an error has next to nothing to draw.
    assert 20_000 < len(picture) < MOST_BYTES


def test_the_changelog_has_the_version_of_the_package():
    import tomllib

    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"][
        "version"
    ]
    changelog = (REPOSITORY / "CHANGELOG.md").read_text("utf-8")

    assert f"## [{version}]" in changelog or "## [Unreleased]" in changelog


def test_yaml_in_the_pages_is_yaml():
    for page in PAGES:
        for snippet in snippets(page):
            if snippet.language == "yaml":
                assert yaml.safe_load(snippet.text) is not None, snippet.where
