"""What a run needs from the project: warehouse, models, pages, workflows, variables; and all checks."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator

from dataflow.base.finding import Finding, broken, ok, warning
from dataflow.base.sharing import is_shared
from dataflow.doctor.machine import (
    check_disk,
    check_jupyterlab,
    check_kernel,
    check_node,
    check_packages,
    check_ports,
    check_python,
)
from dataflow.doctor.own_packages import check_own_packages
from dataflow.errors import DataflowError
from dataflow.project import Project


def check_warehouse(project: Project) -> Iterator[Finding]:
    """The warehouse can be opened by this DuckDB, and written by all who share the project."""
    from dataflow.warehouse.store import files_of_all, quick_check

    yield from quick_check(project)
    if not is_shared(project.root):
        return
    written = [*files_of_all(project), *project.runs.glob("*/")]
    written += project.dagster_home.glob("history/*.db")
    alone = [path for path in written if not path.stat().st_mode & stat.S_IWGRP]
    if alone:
        yield warning(
            "shared folder",
            f"others in the group cannot write to {project.relative(alone[0])}"
            + (f" and {len(alone) - 1} more" if alone[1:] else ""),
            "chmod -R g+rwX .duckdb runs .dagster .dataflow, as the user who owns them.",
        )


def check_dbt(project: Project) -> Iterator[Finding]:
    """dbt has a profile that leads to the warehouse."""
    from importlib import metadata

    from dataflow.dbt.command import WAREHOUSE_VARIABLE
    from dataflow.workflows.yaml_file import read_yaml

    settings, profiles = (read_yaml(project.dbt / n) for n in ("dbt_project.yml", "profiles.yml"))
    if not settings.path.is_file():
        yield ok("dbt", "the project has no models")
        return
    for file in (settings, profiles):
        for problem in file.problems:
            where = problem.where(project.root)
            yield broken("dbt", f"{where}: {problem.message}", problem.hint or "Fix the file.")
    if settings.problems or profiles.problems:
        return
    where = project.relative(profiles.path)
    name = (settings.data or {}).get("profile")
    profile = (profiles.data or {}).get(name)
    hint = "Compare it with docs/configuration.md, or restore it from git."
    if not isinstance(profile, dict):
        yield broken("dbt", f"{where} has no profile `{name}`, which dbt_project.yml names", hint)
        return
    outputs = profile.get("outputs") or {}
    target = outputs.get(profile.get("target"))
    if not isinstance(target, dict) or target.get("type") != "duckdb":
        yield broken("dbt", f"{where}: the target `{profile.get('target')}` is not DuckDB", hint)
    elif WAREHOUSE_VARIABLE not in str(target.get("path")):
        yield broken("dbt", f"{where}: its path does not read {WAREHOUSE_VARIABLE}", hint)
    else:
        versions = ", ".join(f"{n} {metadata.version(n)}" for n in ("dbt-core", "dbt-duckdb"))
        yield ok("dbt", f"{versions}, profile `{name}` leads to the warehouse")


def check_evidence(project: Project) -> Iterator[Finding]:
    """Evidence's packages are installed as locked, and the pages are built as they are now."""
    from dataflow.dashboard.build import built_hash, is_stale
    from dataflow.dashboard.install import installed_hash, packages_hash

    if not (project.evidence / "pages").is_dir():
        yield ok("Evidence", "the project has no dashboards")
        return
    hint = "dataflow setup"
    installed, wanted = installed_hash(project), packages_hash(project)
    if installed is None:
        yield warning(
            "Evidence's packages", "not installed; a run with a dashboard installs them", hint
        )
    elif installed != wanted:
        yield warning("Evidence's packages", "not those that this version is made for", hint)
    else:
        yield ok("Evidence's packages", "those that this version is made for")
    if built_hash(project) is None:
        yield warning(
            "dashboards", "never built", "The next run builds them, and so does make dashboard."
        )
    elif is_stale(project):
        yield warning(
            "dashboards", "pages changed since they were built",
            "The next run of their workflow builds them; make dashboard builds all.",
        )  # fmt: skip
    else:
        yield ok("dashboards", "built from the current pages")


def check_workflows(project: Project) -> Iterator[Finding]:
    """Every workflow's configuration is valid, and the variables it names are set."""
    from dataflow.validation.config import unset_variables
    from dataflow.workflows.registry import read_workflows

    registered = read_workflows(project)
    wrong = [entry.id for entry in registered if entry.problems]
    if wrong:
        yield broken(
            "workflows",
            f"not valid: {', '.join(wrong)}",
            f"dataflow workflow validate {wrong[0]} lists what is wrong.",
        )
    else:
        yield ok(
            "workflows", f"{len(registered)}, all valid: " + ", ".join(e.id for e in registered)
        )
    unset = False
    for entry in registered:
        for problem in unset_variables(entry.folder, dict(os.environ)):
            unset = True
            where = problem.where(project.root)
            yield broken("variables", f"{problem.message}; {where} names it", str(problem.hint))
    if not unset:
        env_file = "" if (project.root / ".env").is_file() else "; there is no .env"
        yield ok("variables", f"all variables that workflows name are set{env_file}")


def check_leftovers(project: Project) -> Iterator[Finding]:
    """Nothing is there of workflows that are gone: models, sources, tests, tables, dashboards."""
    from dataflow.scaffold.inventory import leftovers

    for problem in leftovers(project):
        yield warning("leftovers", problem.message, str(problem.hint))


CHECKS: dict[str, Callable[[Project], Iterator[Finding]]] = {
    "Python": check_python,
    "packages": check_packages,
    "own packages": check_own_packages,
    "kernel": check_kernel,
    "JupyterLab": check_jupyterlab,
    "Node": check_node,
    "ports": check_ports,
    "disk": check_disk,
    "warehouse": check_warehouse,
    "dbt": check_dbt,
    "Evidence": check_evidence,
    "workflows": check_workflows,
    "leftovers": check_leftovers,
}


def examine(project: Project) -> Iterator[Finding]:
    """Run every check; one that crashes is a finding, too."""
    project.load_environment()
    for subject, check in CHECKS.items():
        try:
            yield from check(project)
        except DataflowError as error:
            yield broken(
                subject, error.message, error.hint or "Fix it, then run dataflow doctor again."
            )
        except Exception as error:  # the other checks go on
            detail = f"could not be checked: {type(error).__name__}: {error}"
            yield broken(subject, detail, "Is the installation complete? make setup repeats it.")
