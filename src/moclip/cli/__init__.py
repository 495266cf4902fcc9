"""The `moclip` command."""
