"""One notebook, its parameters, its execution, its result."""
