"""What a command does beyond a run."""
