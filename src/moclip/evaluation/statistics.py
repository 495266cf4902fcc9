"""Statistical comparison of two methods on the same videos.

Several test videos may be cut from one source, so the bootstrap draws whole groups.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from moclip.errors import DatasetError

NUM_RESAMPLES = 5000

CONFIDENCE = 0.95

_SEED = 20250917

_STEPS = 200

_BLOCK = 250

Floats = NDArray[np.float64]

Weights = NDArray[np.uint16]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A number and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p of McNemar's test from the videos that only one of two methods got right.

    >>> mcnemar_p(0, 5)
    0.0625
    """
    total = only_first + only_second
    tail = sum(math.comb(total, wins) for wins in range(min(only_first, only_second) + 1))
    # Whole numbers to the end: 2 to the power of thousands is no float.
    return min(1.0, float(Fraction(2 * tail, 2**total)))


def student_half_width(values: Sequence[float]) -> float | None:
    """Return half the width of Student's 95 % interval of a mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    return student_quantile((1 + CONFIDENCE) / 2, degrees=len(values) - 1) * stdev(values) / math.sqrt(len(values))


def student_quantile(share: float, *, degrees: int) -> float:
    """Return the t below which a share (above a half) of Student's distribution is."""
    low, high = 0.0, 1.0
    while _student_share(high, degrees=degrees) < share:
        high *= 2
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_share(middle, degrees=degrees) < share else (low, middle)
    return (low + high) / 2


def _student_share(t: float, *, degrees: int) -> float:
    # Whole degrees of freedom have a finite sum: Abramowitz and Stegun 1964, 26.7.3 and 26.7.4.
    angle = math.atan(t / math.sqrt(degrees))
    cosine, sine = math.cos(angle), math.sin(angle)
    term, total = (cosine, 0.0) if degrees % 2 else (1.0, 0.0)
    for step in range(2 + degrees % 2, degrees + 1, 2):
        total += term
        term *= cosine**2 * (step - 1) / step
    inside = 2 / math.pi * (angle + sine * total) if degrees % 2 else sine * total
    return 0.5 + inside / 2


@dataclass(frozen=True, kw_only=True)
class GroupSums:
    """Differences summed within groups: sums and numbers of videos, float64 (G, S), by group and split."""

    sums: Floats
    counts: Floats


def sum_by_group(
    differences: Sequence[Floats], *, groups: Sequence[Sequence[str]], all_groups: Sequence[str]
) -> GroupSums:
    """Return the sums over groups of each split's differences, (N,), whose groups `groups` names.

    Raises:
        DatasetError: A split has no video.
    """
    if not differences or any(not len(values) for values in differences):
        raise DatasetError("comparison: expected test videos that both methods were asked about, found none")
    rows = {group: row for row, group in enumerate(all_groups)}
    shape = (len(rows), len(differences))
    sums, counts = np.zeros(shape), np.zeros(shape)
    for split, (values, names) in enumerate(zip(differences, groups, strict=True)):
        places = [rows[name] for name in names]
        np.add.at(sums[:, split], places, values)
        np.add.at(counts[:, split], places, 1)
    return GroupSums(sums=sums, counts=counts)


def draw_weights(num_groups: int, *, num_resamples: int = NUM_RESAMPLES) -> Weights:
    """Return how often each group is drawn in each resample, (R, G), G draws with replacement; always the same."""
    rng = np.random.default_rng(_SEED)
    weights = np.empty((num_resamples, num_groups), np.uint16)
    for row in weights:
        row[:] = np.bincount(rng.integers(0, num_groups, size=num_groups), minlength=num_groups)
    return weights


def bootstrap(groups: GroupSums, *, weights: Weights) -> Interval:
    """Return the mean over splits of the mean difference over videos, and its percentile interval over resamples.

    A resample that draws no group of some split has no mean there and leaves that split out.

    Source: Field and Welsh 2007, "Bootstrapping clustered data", section 2: the randomized cluster bootstrap.
    """
    both = np.hstack([groups.sums, groups.counts])
    # A block at a time: as float64 all of them would be four times as large, gigabytes for a data set without groups.
    blocks = (weights[start : start + _BLOCK].astype(np.float64) @ both for start in range(0, len(weights), _BLOCK))
    totals, numbers = np.hsplit(np.concatenate(list(blocks)), 2)
    means = np.divide(totals, numbers, out=np.full_like(totals, np.nan), where=numbers > 0)
    drawn = np.nanmean(means, axis=1)
    value = fmean((groups.sums.sum(axis=0) / groups.counts.sum(axis=0)).tolist())
    low, high = np.quantile(drawn[np.isfinite(drawn)], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value=value, low=float(low), high=float(high))
