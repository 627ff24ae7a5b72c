"""DATAFLOW: workflows whose stages are Jupyter notebooks."""
