"""DATAFLOW: workflows whose stages are Jupyter notebooks."""


def load_ipython_extension(ipython: object) -> None:
    """What `%load_ext dataflow` calls: `tables()` and `query("…")` in the notebook."""
    from dataflow.shared.explore import load_extension

    load_extension(ipython)
