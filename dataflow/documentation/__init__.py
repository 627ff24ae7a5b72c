"""The project's workflows as documentation: what they are, do, make, and where it goes."""
