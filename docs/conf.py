"""The documentation as a site: README.md, CHANGELOG.md and this folder; `make docs` builds it.

The pages are plain Markdown, to be read on a forge as well. What only the site has is added while
it is built: the order of the pages, the list of commands, the docstrings of the API.
"""

import shutil
import sys
from importlib.metadata import version as version_of
from pathlib import Path

from pygments.lexers import BashLexer, HtmlLexer
from pygments.lexers.templates import SqlJinjaLexer
from sphinx.application import Sphinx

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))  # for command_reference

# In the order in which a newcomer needs them; the README comes before all of them.
ORDER = {
    "Start": ["What it is <self>", "docs/extending"],
    "Guide": [
        "docs/stages",
        "docs/jupyterlab",
        "docs/warehouse",
        "docs/review",
        "docs/documentation",
        "docs/operations",
        "docs/python",
    ],
    "Reference": [
        "docs/configuration",
        "docs/reference/commands",
        "docs/reference/api",
        "docs/reference/errors",
    ],
    "Project": [
        "docs/architecture",
        "docs/benchmarks",
        "CHANGELOG",
        "notebooks/earthquakes/data/README",
    ],
}

project = "DATAFLOW"
version = release = version_of("dataflow-notebooks")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "docs/**",
    "notebooks/earthquakes/data/README.md",  # the README names it
]
# Folders that would only take time to look through.
exclude_patterns = [".*", "dataflow", "evidence", "runs", "tests", "docs/_build"]
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["site.css"]

myst_heading_anchors = 4  # the anchors a forge makes, for links such as stages.md#secrets
default_role = "literal"  # docstrings write `name`, as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
nitpicky = True
# Types of other packages are described elsewhere, and those of inner parts in the code.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!dataflow\.).*"),
    (r"py:class", r"dataflow\.(base|runs|settings|shared\.http_settings|warehouse|workflows)\b.*"),
]

html_theme = "pydata_sphinx_theme"
html_title = "DATAFLOW"
html_sidebars = {"**": ["all-pages"]}
html_show_sourcelink = False
html_copy_source = False
html_context = {"default_mode": "auto"}  # light or dark as the reader's system is, until chosen
html_theme_options = {
    "navbar_center": [],
    "primary_sidebar_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
    "search_bar_text": "Search",
    "search_as_you_type": True,
}
NO_SUMMARIES = (
    'if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;'
)


def setup(app: Sphinx) -> None:
    """Connect what is added to Sphinx; called by it."""
    app.add_lexer("svelte", HtmlLexer)
    app.add_lexer("dotenv", BashLexer)
    app.add_lexer("sql", SqlJinjaLexer)  # dbt's
    # Opened as a file, a page may not read others; the results are found without that.
    app.add_js_file(None, body=NO_SUMMARIES)
    app.connect("source-read", add_generated)
    app.connect("build-finished", write_index)


def add_generated(app: Sphinx, page: str, source: list[str]) -> None:
    """Add to a page's text what is not in its file."""
    if page == root_doc:
        for caption, pages in ORDER.items():
            entries = "\n".join(entry if "<" in entry else f"/{entry}" for entry in pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{entries}\n```\n"
    elif page == "docs/reference/commands":
        from command_reference import commands_as_rst

        source[0] += commands_as_rst()


def write_index(app: Sphinx, error: Exception | None) -> None:
    """Give the site its index.html: the README."""
    if error is None and app.builder.name == "html":
        shutil.copyfile(app.outdir / "README.html", app.outdir / "index.html")
