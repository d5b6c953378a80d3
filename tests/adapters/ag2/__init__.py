"""What goes wrong easily with ag2, its example and its demo, one test each."""
