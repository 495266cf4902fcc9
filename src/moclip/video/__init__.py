"""Decode and encode videos with PyAV."""
