"""The stages of a run, one file or folder each."""
