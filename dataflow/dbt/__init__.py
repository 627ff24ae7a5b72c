"""The dbt project: read, built, and what came of it."""
