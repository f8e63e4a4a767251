"""Training, evaluation and inference of any task."""
