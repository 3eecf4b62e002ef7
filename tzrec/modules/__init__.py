"""Parts of models: embeddings, towers."""
