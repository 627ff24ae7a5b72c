"""`dataflow workflow test`: the pytest tests of one workflow."""

from __future__ import annotations

from typing import Annotated

import typer

from dataflow.cli.output import Name
from dataflow.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, ConfigurationError
from dataflow.project import Project

# pytest's own exit codes: 1 tests failed, 2 interrupted or files it could not import,
# 3 its own error, 4 a wrong call, 5 no test found.
EXIT_CODES = {0: EXIT_OK, 1: EXIT_FAILED, 4: EXIT_USAGE, 5: EXIT_USAGE}


def run_tests(
    name: Name,
    pytest_arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- PYTEST OPTIONS]", help="Passed to pytest: `-- -x -k name`."),
    ] = None,
) -> None:
    """Run a workflow's tests with pytest; a failing stage shows its cell."""
    from dataflow.workflows.registry import find_workflow_folder

    project = Project.find()
    project.load_environment()
    folder = find_workflow_folder(project, name)
    places = [project.root / "tests" / "workflows" / folder.name, folder / "tests"]
    found = [path for path in places if path.is_dir()]
    if not found:
        raise ConfigurationError(
            f"workflow {folder.name} has no tests",
            hint=f"Write {project.relative(places[0])}/test_{folder.name}.py; the fixture "
            "`run_stage` runs one stage on small tables.",
        )
    code = _pytest(project, [*map(str, found), *(pytest_arguments or [])])
    if code == 5:
        raise ConfigurationError(
            "no test was found",
            where=", ".join(project.relative(path) for path in found),
            hint="pytest looks for functions test_… in files test_….py.",
        )
    raise typer.Exit(EXIT_CODES.get(code, EXIT_FAILED))


def _pytest(project: Project, arguments: list[str]) -> int:
    """Run pytest in the project's root; returns its exit code."""
    import contextlib
    import subprocess
    import sys

    command = [sys.executable, "-m", "pytest", f"--rootdir={project.root}", *arguments]
    with subprocess.Popen(command, cwd=project.root) as process:
        while True:
            # Ctrl-C reaches pytest too; it ends its tests and says which one it was in.
            with contextlib.suppress(KeyboardInterrupt):
                return process.wait()
