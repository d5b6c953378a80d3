"""The traps of LlamaIndex, one test each."""
