"""Workflow folders: finding, reading and validating them."""
