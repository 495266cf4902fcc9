"""Choices made on validation videos: how many neighbors, how far to fine-tune, and how to mix two methods."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moclip.core.numerics import rank_classes, softmax

Floats = NDArray[np.float32]

# The candidates for a weight.
WEIGHTS = tuple(step / 20 for step in range(21))

_SMALLEST = 1e-12


def choose(candidates: Sequence[float], *, logits: Callable[[float], Floats], labels: NDArray[np.int64]) -> float:
    """Return the candidate with the best logits (N, K) for labels (N,): highest top-1, then lowest cross-entropy.

    The first of equal candidates is chosen.
    """

    def merit(candidate: float) -> tuple[float, float]:
        values = logits(candidate)
        likelihood = softmax(values)[np.arange(len(labels)), labels]
        top_1 = float((rank_classes(values)[:, 0] == labels).mean())
        return top_1, float(np.log(np.maximum(likelihood, _SMALLEST)).mean())

    return max(candidates, key=merit)


def interpolate(
    start: Mapping[str, NDArray[Any]], end: Mapping[str, NDArray[Any]], *, weight: float
) -> dict[str, Floats]:
    """Return weights on the straight line between two states: `start` at 0, `end` at 1.

    Source: Wortsman et al. 2022 (arXiv 2109.01903), equation 1.
    """
    return {name: ((1 - weight) * start[name] + weight * value).astype(np.float32) for name, value in end.items()}


def mix_scores(first: Floats, second: Floats, *, weight: float) -> Floats:
    """Return log(weight x softmax(second) + (1 - weight) x softmax(first)), float32 (N, K)."""
    mixed = (1 - weight) * softmax(first) + weight * softmax(second)
    return np.asarray(np.log(np.maximum(mixed, _SMALLEST)), dtype=np.float32)
