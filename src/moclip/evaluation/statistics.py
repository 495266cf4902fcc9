"""Statistical comparison of two methods on the same videos.

Several test videos may be cut from one source, so the bootstrap draws whole groups.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from moclip.errors import DatasetError

NUM_RESAMPLES = 5000

CONFIDENCE = 0.95

_SEED = 20250917

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
    from scipy.special import bdtr  # noqa: PLC0415 (half a second, which jobs without a comparison need not wait for)

    return min(1.0, 2 * float(bdtr(min(only_first, only_second), only_first + only_second, 0.5)))


def student_half_width(values: Sequence[float]) -> float | None:
    """Return half the width of Student's 95 % interval of a mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.special import stdtrit  # noqa: PLC0415 (as above)

    return float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * stdev(values) / math.sqrt(len(values))


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
