"""What a run of Dagster's service imports besides (`forked_runs.py`)."""

import gc

import dagster._grpc.impl  # noqa: F401

import dataflow.orchestration.dbt
import dataflow.orchestration.run  # noqa: F401

gc.collect()
gc.freeze()
