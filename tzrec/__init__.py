"""Vector recall: train a two-tower model, export it, turn it into vectors, search them."""

__version__ = "0.1.0"
