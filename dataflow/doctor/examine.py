"""All of the doctor's questions, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dataflow.doctor import machine
from dataflow.doctor import project as of_project
from dataflow.doctor.finding import Finding, broken
from dataflow.doctor.packages import check_packages
from dataflow.errors import DataflowError
from dataflow.project import Project

Check = Callable[[Project], Iterator[Finding]]

CHECKS: dict[str, Check] = {
    "Python": machine.check_python,
    "packages": check_packages,
    "kernel": machine.check_kernel,
    "Node": machine.check_node,
    "ports": machine.check_ports,
    "disk": machine.check_disk,
    "warehouse": of_project.check_warehouse,
    "dbt": of_project.check_dbt,
    "Evidence": of_project.check_evidence,
    "workflows": of_project.check_workflows,
}


def examine(project: Project) -> Iterator[Finding]:
    """Look at everything; a question that itself fails is a finding like another."""
    project.load_environment()
    for subject, check in CHECKS.items():
        try:
            yield from check(project)
        except DataflowError as error:
            yield broken(subject, error.message, error.hint or "Mend it and look again.")
        except Exception as error:  # a doctor who faints helps nobody
            detail = f"could not be looked at: {type(error).__name__}: {error}"
            yield broken(subject, detail, "Is the installation complete? make setup repeats it.")
