"""What Dagster and a stage import only when they are at work, for steps that run beside each other.

Their processes are forked from one that has this module imported (`executor.py`). Without it each
of them spends more than a second on importing the same packages.
"""

import gc
import importlib

import dagster._core.storage.event_log.sqlite
import dagster._core.storage.runs.sqlite  # noqa: F401
import duckdb  # noqa: F401
import nbconvert  # noqa: F401
import papermill  # noqa: F401

import dataflow.engine.client  # noqa: F401

importlib.import_module("upath")  # a dependency of Dagster, not of ours

# A fork that collects garbage looks only through what is its own: no copies of all the pages here.
gc.collect()
gc.freeze()
