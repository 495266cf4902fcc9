"""Extractors: from videos to rows of shards."""
