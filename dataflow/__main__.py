"""`python -m dataflow` is the command `dataflow`."""

from dataflow.cli.main import main

main()
