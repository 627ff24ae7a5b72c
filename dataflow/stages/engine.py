"""Where an environment that was installed earlier has the engine registered with papermill."""

from dataflow.engine import DataflowEngine as DataflowEngine
