"""Runs: their records and folders, whose turn it is, executed notebooks as pages."""
