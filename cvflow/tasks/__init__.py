"""The task protocol, and one file a task."""
