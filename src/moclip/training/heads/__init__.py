"""Heads: one module for each kind, with the name of the kind and a `STRATEGY`."""
