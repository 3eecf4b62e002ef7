"""What a feature is, and how an Arrow column becomes ids and values."""
