"""What goes wrong easily with AutoGen's classic API, its example and its demo, one test each."""
