"""HTTP: reads a request, calls a use case, writes the answer. No SQL and no rules."""
