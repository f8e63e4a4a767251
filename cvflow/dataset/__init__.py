"""Records become the prepared dataset, checked."""
