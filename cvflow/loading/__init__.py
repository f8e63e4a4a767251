"""Prepared rows become batches."""
