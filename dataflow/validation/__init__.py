"""Finds everything that is wrong with a workflow without running it."""
