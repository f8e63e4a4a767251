"""Readers of raw data: one file per format, registered as "format"; each is given the source (a path, or None)."""
