"""The dbt project: reading it, building it, its results."""
