"""Losses that more than one task needs."""
