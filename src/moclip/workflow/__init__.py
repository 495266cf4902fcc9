"""The plan of a run: files, dependencies, signatures, and the check of results."""
