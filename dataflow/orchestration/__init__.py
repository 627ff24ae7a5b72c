"""Workflows as Dagster assets, jobs and schedules."""
