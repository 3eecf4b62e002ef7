"""The exported bundle: made from a checkpoint, and run."""
