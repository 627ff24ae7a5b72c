"""One JupyterLab for all tests of its panel: each puts workflows of its own into the project."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from jupyterlab_helpers import Lab, running_lab
from projects import make_project


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab on a project without workflows."""
    project = make_project(tmp_path_factory.mktemp("lab") / "project", {})
    with running_lab(project, tmp_path_factory.mktemp("settings")) as lab:
        yield lab
