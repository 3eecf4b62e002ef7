"""Configurations: load, override, validate. Everything wrong is said at once, before any data is opened."""
