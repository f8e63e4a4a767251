"""Data that cvflow makes or carries, so that a first run needs no download."""
