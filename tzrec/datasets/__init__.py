"""Readers, negative sampling, the batch and its layout, writers."""
