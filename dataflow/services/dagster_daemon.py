"""Dagster's daemon, whose databases cost less: `python -m dataflow.services.dagster_daemon run`."""

from dagster._daemon.cli import main

from dataflow.orchestration.databases import make_databases_cheap

if __name__ == "__main__":
    make_databases_cheap()
    main()
