"""Commands beside the pipeline's own four: each module's docstring is its command line."""
