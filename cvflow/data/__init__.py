"""From raw annotated images to the prepared dataset, and from there to batches."""
