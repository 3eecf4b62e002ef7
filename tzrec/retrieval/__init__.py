"""What is done with vectors once they are in a table: index the pool, search it, measure the hit rate."""
