"""JupyterLab, Dagster and the dashboards as services."""
