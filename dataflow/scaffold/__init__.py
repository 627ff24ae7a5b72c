"""Making new workflows from templates."""
