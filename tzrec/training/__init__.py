"""Optimizers, schedules, sharding, the loop, evaluation, checkpoints."""
