"""What Dagster loads: `dagster dev`, `dagster definitions validate` and every run start here."""

from dataflow.orchestration.build import build_definitions
from dataflow.project import Project

project = Project.find()
project.load_environment()
defs = build_definitions(project)
