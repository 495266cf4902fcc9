"""Frozen and trainable networks: CLIP, prompts, and the motion network."""
