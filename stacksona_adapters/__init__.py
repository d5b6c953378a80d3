"""One gate in front of the actions of Python agents."""
