"""Cached features and artifacts: HDF5 shards, rows, indexes, and the store of whole artifacts."""
