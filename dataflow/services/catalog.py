"""The services of a project: JupyterLab, Dagster, and the dashboards."""

from __future__ import annotations

from dataflow.addresses import PORTS
from dataflow.services import dagster, evidence, jupyter
from dataflow.services.model import Service

SERVICES = {
    "jupyter": Service("jupyter", "JupyterLab", PORTS["jupyter"], jupyter.prepare),
    "dagster": Service("dagster", "Dagster", PORTS["dagster"], dagster.prepare),
    "evidence": Service("evidence", "Evidence", PORTS["evidence"], evidence.prepare),
}
