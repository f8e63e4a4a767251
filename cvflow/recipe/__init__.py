"""Text becomes a checked recipe."""
