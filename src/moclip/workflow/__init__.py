"""The plan of a run: which files there are, what each depends on, and whether a file is the one that was asked for."""
