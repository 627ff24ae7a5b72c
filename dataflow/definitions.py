"""What Dagster loads: `dagster dev`, `dagster definitions validate` and every run start here."""

from dataflow.orchestration.build import build_definitions
from dataflow.orchestration.forked_runs import fork_runs
from dataflow.orchestration.live import quiet_dagster
from dataflow.project import Project

fork_runs()  # before anything of the project is read, or in the environment
project = Project.find()
project.load_environment()
quiet_dagster()
defs = build_definitions(project)
