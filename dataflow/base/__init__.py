"""What everything else is built on: nothing here imports from the rest of the package."""
