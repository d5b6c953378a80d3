"""What goes wrong easily with AutoGen, its example and its demo, one test each."""
