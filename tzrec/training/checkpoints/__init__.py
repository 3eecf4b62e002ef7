"""What is inside a checkpoint: its state.json, its checksums, its tensors, read without running code."""
