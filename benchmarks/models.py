"""What dbt's step of a run costs: plain `dbt build` and DATAFLOW, side by side.

    python benchmarks/models.py [--repeats 3]

The models and tests of the workflow `earthquakes`, in a copy of the project in which its stages
have run. The command `dataflow workflow run --only dbt` reads and checks the project, opens
Dagster's instance, takes the warehouse's lock, has dagster-dbt run `dbt build`, and archives what
came of it. The ways take turns, and the medians are printed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import ways
from measure import command, show

NEEDED = ("pyproject.toml", "notebooks", "dbt", "evidence/pages", "evidence/sources")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="models-") as name:
        root = Path(name).resolve()
        for part in NEEDED:
            copy = shutil.copytree if (ways.REPOSITORY / part).is_dir() else shutil.copy
            copy(ways.REPOSITORY / part, root / part)
        shutil.rmtree(root / "dbt" / "target", ignore_errors=True)
        environment = ways.environment(DATAFLOW_NO_BUILD="1")
        ours = [sys.executable, "-m", "dataflow", "workflow", "run", "earthquakes", "--quiet"]
        subprocess.run(ours, cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL)
        plain = [sys.executable, "-m", "dbt.cli.main", "build", "--select", "earthquakes"]
        plain += ["--project-dir", "dbt", "--profiles-dir", "dbt"]
        environment |= {
            "DATAFLOW_WAREHOUSE_PATH": str(root / ".duckdb" / "dataflow.duckdb"),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        }
        print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {options.repeats} repeats\n")
        measures = {
            "plain dbt": command(plain, root, environment),
            "DATAFLOW, --only dbt": command([*ours, "--only", "dbt"], root, environment),
        }
        show("models and tests of earthquakes", measures, options.repeats, base="plain dbt")


if __name__ == "__main__":
    main()
