"""Temperature scaling of a method, fitted on validation videos."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moclip.core.numerics import softmax

# Beyond these a fit says that the validation videos decide nothing: all of them are right, or none is.
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0

_NUM_FOLDS = 10


@dataclass(frozen=True, kw_only=True)
class Temperature:
    """A method's temperature and what it rests on.

    Attributes:
        value: What logits are divided by; 1 where no other is better on groups that it was not fitted on.
        num_videos: Validation videos.
        loss_plain: Their mean negative log-likelihood, in nats, at a temperature of 1.
        loss_held_out: The same where each part of the groups has the temperature that was fitted on the others.
        test_ece: Expected calibration error on the test videos at this temperature; None before it is measured.
    """

    value: float
    num_videos: int
    loss_plain: float
    loss_held_out: float
    test_ece: float | None = None


def fit_temperature(logits: NDArray[np.floating], class_index: NDArray[np.integer]) -> float:
    """Return what to divide logits, (N, K), by so that their softmax is most likely to give the labels, (N,).

    Between 0.05 and 20. The prediction is the same for every temperature. Without a video it is 1.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2.
    """
    if not len(logits):
        return 1.0
    from scipy.optimize import minimize_scalar  # noqa: PLC0415 (a second, which predicting need not wait for)

    def loss(log_temperature: float) -> float:
        return mean_loss(logits, class_index, temperature=math.exp(log_temperature))

    bounds = (math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9}).x)


def choose_temperature(
    logits: NDArray[np.floating], class_index: NDArray[np.integer], *, groups: Sequence[str]
) -> Temperature:
    """Return the temperature of a method from validation videos, (N, K), their labels and groups, (N,); N from 1.

    Clips of one group are alike, and validation has few groups, so that a fit may say more of these than of videos to
    come. A temperature other than 1 is taken only where it lowers the loss on groups that it was not fitted on, by more
    than one standard error over these; then it is the one fitted on all of them.
    """
    plain = _losses(logits, class_index, temperature=1.0)
    held_out = plain.copy()
    parts = _fold_of(groups)
    for part in sorted(set(parts.tolist())):
        inside = parts == part
        if not inside.all():
            fitted = fit_temperature(logits[~inside], class_index[~inside])
            held_out[inside] = _losses(logits[inside], class_index[inside], temperature=fitted)
    gains = [float((plain - held_out)[parts == part].mean()) for part in sorted(set(parts.tolist()))]
    error = float(np.std(gains, ddof=1) / math.sqrt(len(gains))) if len(gains) > 1 else math.inf
    helps = float(np.mean(gains)) > error
    return Temperature(
        value=fit_temperature(logits, class_index) if helps else 1.0,
        num_videos=len(logits),
        loss_plain=float(plain.mean()),
        loss_held_out=float(held_out.mean()),
    )


def _fold_of(groups: Sequence[str]) -> NDArray[np.int64]:
    # Whole groups, assigned in the order of their names; a video without a group is a group.
    names = [group or f"video {place}" for place, group in enumerate(groups)]
    number = {name: place % _NUM_FOLDS for place, name in enumerate(sorted(set(names)))}
    return np.array([number[name] for name in names], np.int64)


def _losses(
    logits: NDArray[np.floating], class_index: NDArray[np.integer], *, temperature: float
) -> NDArray[np.float64]:
    chosen = softmax(np.asarray(logits, np.float64) / temperature)[np.arange(len(logits)), class_index]
    return np.asarray(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)))


def mean_loss(logits: NDArray[np.floating], class_index: NDArray[np.integer], *, temperature: float) -> float:
    """Return the mean negative log-likelihood, in nats, of labels (N,) under logits (N, K) over a temperature."""
    return float(_losses(logits, class_index, temperature=temperature).mean())
