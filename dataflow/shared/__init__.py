"""What notebooks import: configuration, database, HTTP, logging."""
