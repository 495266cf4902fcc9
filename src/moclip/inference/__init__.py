"""Use of finished runs: prediction, search, and export."""
