"""Intervals of accuracies and of differences between methods, and McNemar's test.

Several test videos may be cut from one source, so the unit of sampling is the group and not the video.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from moclip.errors import DatasetError

CONFIDENCE = 0.95

# With fewer groups the variance between groups is too uncertain for an interval.
MIN_GROUPS = 10

# Videos of one group are rarely more different than independent ones. Groups that happen to agree narrow an interval
# at most as four times as many videos would.
_MAX_GAIN = 4.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean, the bounds of its 95 % interval over groups, and their number; no bounds below `MIN_GROUPS` groups."""

    value: float
    low: float | None
    high: float | None
    num_groups: int


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
    return _student_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))


def _student_quantile(degrees: float) -> float:
    from scipy.special import stdtrit  # noqa: PLC0415 (as above)

    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))


def group_interval(
    values: Sequence[Floats], *, groups: Sequence[Sequence[str]], is_difference: bool = False
) -> Interval:
    """Return the mean over splits of the mean over videos, and its interval over groups of videos.

    `values` has an array (N,) for each split, and `groups` the group of each video. Values are from 0 to 1, or from -1
    to 1 for a difference of two methods. A group that is in several splits counts as one.

    The interval is Student's around a mean that a few pseudo-videos pull to the middle of the scale, as Agresti and
    Coull (accuracies) and Agresti and Min (differences) do for independent videos. In place of the number of videos
    it takes the number of independent videos that would vary as much as the jackknife over groups does, and in place
    of the number of groups the number of groups of equal size that would weigh as evenly.
    `benchmarks/interval_coverage.py` measures how often it holds the truth.

    Raises:
        DatasetError: A split has no video.

    Source: Agresti and Coull 1998, "Approximate is better than exact for interval estimation of binomial proportions";
        Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions"; Korn and
        Graubard 1998, "Confidence intervals for proportions with small expected number of positive counts estimated
        from survey data" (effective number of observations); Kish 1965, "Survey Sampling", section 11.7.
    """
    sums, counts = _sum_by_group(values, groups=groups)
    value = fmean((sums.sum(axis=0) / counts.sum(axis=0)).tolist())
    if len(sums) < MIN_GROUPS:
        return Interval(value=value, low=None, high=None, num_groups=len(sums))
    variance = _jackknife_variance(sums, counts=counts)
    spread = fmean(float(np.var(part)) for part in values)  # the variance of one video within its split
    number = float(counts.sum())
    if spread > 1e-12:
        number = min(spread / variance, _MAX_GAIN * number) if variance > 0 else _MAX_GAIN * number
    shares = (counts / counts.sum(axis=0)).mean(axis=1)
    quantile = _student_quantile(max(1.0, 1 / float((shares**2).sum()) - 1))
    low, high = _adjusted_bounds(value, spread=spread, number=number, quantile=quantile, is_difference=is_difference)
    return Interval(value=value, low=low, high=high, num_groups=len(sums))


def _sum_by_group(values: Sequence[Floats], *, groups: Sequence[Sequence[str]]) -> tuple[Floats, Floats]:
    """Return the sums of values and the numbers of videos, each (G, S), by group and split."""
    if not values or any(not len(part) for part in values):
        raise DatasetError("interval: expected test videos that every method was asked about, found none")
    known = sorted({name for names in groups for name in names})
    rows = {name: row for row, name in enumerate(known)}
    sums, counts = np.zeros((2, len(known), len(values)))
    for split, (part, names) in enumerate(zip(values, groups, strict=True)):
        places = [rows[name] for name in names]
        np.add.at(sums[:, split], places, part)
        np.add.at(counts[:, split], places, 1)
    return sums, counts


def _jackknife_variance(sums: Floats, *, counts: Floats) -> float:
    """Return the variance of the mean over splits, from the means without each group in turn."""
    rest = counts.sum(axis=0) - counts
    # Without its only group a split has no mean, and the others are averaged.
    means = np.divide(sums.sum(axis=0) - sums, rest, out=np.full_like(sums, np.nan), where=rest > 0)
    without = np.nanmean(means, axis=1)
    value = (sums.sum(axis=0) / counts.sum(axis=0)).mean()
    return float(((without - value) ** 2).sum() * (len(sums) - 1) / len(sums))


def _adjusted_bounds(
    value: float, *, spread: float, number: float, quantile: float, is_difference: bool
) -> tuple[float, float]:
    normal = _student_quantile(math.inf)
    # Half of the pseudo-videos of an accuracy are right; of those of a difference half are 0, and the rest -1 or 1.
    added, middle, lowest = (normal**2 / 2, 0.0, -1.0) if is_difference else (normal**2, 0.5, 0.0)
    total = number + added
    center = (number * value + added * middle) / total
    square = (number * (spread + value**2) + added / 2) / total
    half = quantile * math.sqrt(max(0.0, square - center**2) / total)
    return max(lowest, center - half), min(1.0, center + half)
