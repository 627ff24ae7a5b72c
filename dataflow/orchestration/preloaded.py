"""Imported first by the processes from which those of steps are forked (`executor.py`)."""

from dataflow.orchestration.databases import make_databases_cheap
from dataflow.orchestration.preload import preload

make_databases_cheap()
preload()
