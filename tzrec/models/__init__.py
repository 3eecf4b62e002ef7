"""Models, their losses and metrics."""
