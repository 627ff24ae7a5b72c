"""Everything that is wrong with a workflow, found without running anything."""
