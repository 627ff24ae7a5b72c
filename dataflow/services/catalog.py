"""The services of a project: JupyterLab, Dagster, and the dashboards."""

from __future__ import annotations

from dataflow.base.addresses import PORTS
from dataflow.base.words import nearest
from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.services.model import Plan, Service

ALL = "all"


def _jupyter(project: Project, port: int, dev: bool) -> Plan:
    from dataflow.services.jupyter import prepare

    return prepare(project, port)


def _dagster(project: Project, port: int, dev: bool) -> Plan:
    from dataflow.services.dagster import prepare

    return prepare(project, port)


def _evidence(project: Project, port: int, dev: bool) -> Plan:
    from dataflow.services.evidence import prepare

    return prepare(project, port, dev)


SERVICES = {
    service.name: service
    for service in (
        Service("jupyter", "JupyterLab", PORTS["jupyter"], _jupyter),
        Service("dagster", "Dagster", PORTS["dagster"], _dagster),
        Service("evidence", "Evidence", PORTS["evidence"], _evidence),
    )
}


def chosen(name: str) -> list[Service]:
    """The service `name`, or all of them for `all`.

    Raises:
        ConfigurationError: there is no such service.
    """
    if name == ALL:
        return list(SERVICES.values())
    if name not in SERVICES:
        raise ConfigurationError(
            f"there is no service `{name}`", hint=nearest(name, [*SERVICES, ALL])
        )
    return [SERVICES[name]]
