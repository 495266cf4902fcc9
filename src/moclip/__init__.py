"""MoCLIP-Lite: video action recognition from frozen CLIP embeddings and the codec's own motion vectors."""

__version__ = "0.1.0"
