"""The archive of executed notebooks and its index."""
