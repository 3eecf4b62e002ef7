"""Data preparation: public and generated data sets as training, evaluation, item and negative tables."""
