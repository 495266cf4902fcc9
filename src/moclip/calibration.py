"""Probabilities that mean what they say: one temperature for a method, fitted on validation videos. Pure."""

import math

import numpy as np
from numpy.typing import NDArray

from moclip.metrics import softmax

# Beyond these a fit says that the validation videos decide nothing: all of them are right, or none is.
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
_NUM_STEPS = 60


def fit_temperature(logits: NDArray[np.floating], class_index: NDArray[np.integer]) -> float:
    """Return what to divide logits, (N, K), by so that their softmax is most likely to give the labels, (N,).

    Between 0.05 and 20. The prediction stays the same, whatever the temperature. Without a video it is 1.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2.
    """
    if not len(logits):
        return 1.0
    low, high = math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)
    # The loss has one minimum along the temperature: a golden section finds it without a derivative.
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(_NUM_STEPS):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if mean_loss(logits, class_index, temperature=math.exp(left)) <= mean_loss(
            logits, class_index, temperature=math.exp(right)
        ):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def mean_loss(logits: NDArray[np.floating], class_index: NDArray[np.integer], *, temperature: float) -> float:
    """Return the mean negative log-likelihood, in nats, of labels (N,) under logits (N, K) over a temperature."""
    chosen = softmax(np.asarray(logits, np.float64) / temperature)[np.arange(len(logits)), class_index]
    return float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).mean())
