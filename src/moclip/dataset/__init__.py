"""Datasets: lists, splits, labels, fingerprints and the manifest."""
