"""Workflows written in Python as Dagster assets."""
