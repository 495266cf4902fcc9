"""Numerical functions that several packages use: softmax and ranks of classes."""

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
