"""What a person asks about a run beside another: what changed, and what of it matters."""
