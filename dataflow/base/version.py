"""What DATAFLOW is called as a package, and which version of it this is."""

from importlib.metadata import version

DISTRIBUTION = "dataflow-notebooks"


def installed() -> str:
    """The version of DATAFLOW that is installed."""
    return version(DISTRIBUTION)
