"""Numerical functions that several packages use: softmax, ranks of classes, and unit vectors."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Integers = NDArray[np.int64]


def rank_classes(logits: NDArray[np.floating]) -> Integers:
    """Return the class indices of each row, int64 (N, K), best first; equal logits rank the lower index first."""
    return np.argsort(-logits, axis=1, kind="stable").astype(np.int64)


def softmax(logits: NDArray[np.floating]) -> Floats:
    """Return probabilities, float64 (N, K), that sum to one in each row."""
    shifted = np.asarray(logits, dtype=np.float64)
    powers = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def unit(vectors: NDArray[np.floating]) -> Floats:
    """Return vectors (..., D) at unit length, float64; vectors of zeros stay zeros."""
    wide = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(wide, axis=-1, keepdims=True)
    return np.asarray(wide / np.where(lengths > 0, lengths, 1.0))
