"""The runs of a directory, and what makes a stage rerun."""
