"""The stages of a run, and the functions behind the verbs of the command line."""
