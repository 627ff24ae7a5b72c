"""Testing workflows with pytest: the fixture `run_stage`."""
