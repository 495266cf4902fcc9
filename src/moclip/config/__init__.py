"""The configuration: checked settings, experiments and methods."""
