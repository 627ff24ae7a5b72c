"""The services of a project: JupyterLab, Dagster, and the dashboards."""

from __future__ import annotations

from dataflow.services import dagster, evidence, jupyter
from dataflow.services.model import Service

SERVICES = {
    "jupyter": Service("jupyter", "JupyterLab", jupyter.prepare),
    "dagster": Service("dagster", "Dagster", dagster.prepare),
    "evidence": Service("evidence", "Evidence", evidence.prepare),
}
