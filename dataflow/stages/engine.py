"""The engine's old place, at which earlier installations registered it with papermill."""

from dataflow.engine import DataflowEngine as DataflowEngine
