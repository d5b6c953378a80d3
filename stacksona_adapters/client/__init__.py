"""The I/O of the agent's side: everything that opens a socket, reads a clock or starts a thread."""
