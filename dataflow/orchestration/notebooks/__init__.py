"""Workflows of notebooks as Dagster assets."""
