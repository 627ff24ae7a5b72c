"""DATAFLOW in JupyterLab: what its panel shows and does, in whatever JupyterLab it is installed."""
