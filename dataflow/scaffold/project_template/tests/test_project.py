"""What holds for every workflow of the project; a workflow's own tests are in workflows/."""

from dataflow.cli.main import run


def test_every_workflow_is_valid():
    assert run(["workflow", "validate"]) == 0
