"""What the gate does: use cases over the store. Knows no web framework and no SQL dialect."""
