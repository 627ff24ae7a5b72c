"""From published tables to Evidence pages."""
