"""Metrics of predictions: top-k, class means, confusion and calibration, each with its number of videos.

Equal logits rank the lower class index first, so every number is the same on every machine. A video without scores (a
rejected one) is a row of `Scores` whose `has_scores` is False: it counts as wrong in every accuracy.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moclip.core.numerics import Floats, Integers, rank_classes, softmax
from moclip.errors import DatasetError, ModelError

NUM_CALIBRATION_BINS = 15


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The logits of one method for every test video, checked by `build_scores`.

    `logits` is float64 (N, K), zero where there are none; `class_index` int64 (N,), the truth; `has_scores` bool (N,).
    """

    logits: Floats
    class_index: Integers
    has_scores: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number and how many videos it is over."""

    value: float
    n: int


@dataclass(frozen=True, kw_only=True)
class ClassMeasure:
    """The mean over the classes that have a test video; `per_class` (K,) is nan for those that have none."""

    value: float
    n: int
    num_absent_classes: int
    per_class: Floats


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Confidence against accuracy in bins of equal width: count, mean confidence and accuracy, each (bins,).

    The means of an empty bin are zero.
    """

    count: Integers
    confidence: Floats
    accuracy: Floats


@dataclass(frozen=True, kw_only=True)
class Chance:
    """Top-1 without looking at a video: of the most frequent class of the training videos, and of a uniform guess."""

    majority: float
    uniform: float


def measure_chance(
    class_index: NDArray[np.integer], *, training_classes: NDArray[np.integer], num_classes: int
) -> Chance:
    """Return the chance accuracies of test videos, (N,), from the classes of the training videos, (M,).

    Several classes that are equally frequent in training are guessed equally often.

    Raises:
        DatasetError: There is no training video.
    """
    if not len(training_classes):
        raise DatasetError("chance: expected training videos, found none; check the split's training list")
    counts = np.bincount(training_classes, minlength=num_classes)
    shares = np.bincount(class_index, minlength=num_classes) / len(class_index)
    return Chance(majority=float(shares[counts == counts.max()].mean()), uniform=1 / num_classes)


def build_scores(
    logits: NDArray[np.floating], *, class_index: NDArray[np.integer], has_scores: NDArray[np.bool_] | None = None
) -> Scores:
    """Return the scores, (N, K) against (N,), after checking them; without `has_scores` every video has some.

    Raises:
        DatasetError: There is no video, or a true class index is out of range.
        ModelError: Shapes disagree, or a logit of a video with scores is not finite.
    """
    present = np.ones(len(class_index), dtype=bool) if has_scores is None else has_scores.astype(bool)
    if logits.ndim != 2 or len({len(logits), len(class_index), len(present)}) != 1:
        raise ModelError(
            f"scores: expected logits (N, K) for N = {len(class_index)} videos, found the shape {logits.shape}"
        )
    if not len(class_index):
        raise DatasetError("scores: expected test videos, found none; check the split's test list")
    _check_class_index(class_index, num_classes=logits.shape[1])
    bad = np.flatnonzero(present & ~np.isfinite(logits).all(axis=1))
    if len(bad):
        raise ModelError(
            f"scores: expected finite logits, found nan or infinity in {len(bad)} rows, first row {bad[0]}"
        )
    kept = np.where(present[:, None], logits, 0.0).astype(np.float64)
    return Scores(logits=kept, class_index=class_index.astype(np.int64), has_scores=present)


def _check_class_index(class_index: NDArray[np.integer], *, num_classes: int) -> None:
    bad = class_index[(class_index < 0) | (class_index >= num_classes)]
    if len(bad):
        raise DatasetError(f"scores: expected class indices 0 to {num_classes - 1}, found {bad[0]}")


def leave_out(scores: Scores, *, keep: NDArray[np.bool_]) -> Scores:
    """Return the scores of the videos that `keep`, bool (N,), marks.

    Raises:
        DatasetError: No video is left.
    """
    return build_scores(scores.logits[keep], class_index=scores.class_index[keep], has_scores=scores.has_scores[keep])


def find_hits(scores: Scores, *, k: int) -> NDArray[np.bool_]:
    """Mark the videos, (N,), whose class is among the `k` best (of all classes, where there are fewer)."""
    best = rank_classes(scores.logits)[:, :k]
    return np.asarray((best == scores.class_index[:, None]).any(axis=1) & scores.has_scores)


def top_k_accuracy(scores: Scores, *, k: int) -> Measure:
    """Return the share of all videos whose class is among the `k` best (of all classes, where there are fewer)."""
    hits = find_hits(scores, k=k)
    return Measure(value=float(hits.mean()), n=len(hits))


def mean_class_accuracy(scores: Scores) -> ClassMeasure:
    """Return top-1 accuracy averaged over classes; classes without a test video are left out and counted."""
    num_classes = scores.logits.shape[1]
    totals = np.bincount(scores.class_index, minlength=num_classes)
    correct = np.diag(confusion_matrix(scores))
    per_class = np.full(num_classes, np.nan)
    np.divide(correct, totals, out=per_class, where=totals > 0)
    return ClassMeasure(
        value=float(np.nanmean(per_class)),
        n=int(totals.sum()),
        num_absent_classes=int((totals == 0).sum()),
        per_class=per_class,
    )


def confusion_matrix(scores: Scores) -> Integers:
    """Return counts, int64 (K, K), true class by predicted class; videos without scores are in none of its cells."""
    num_classes = scores.logits.shape[1]
    predicted = rank_classes(scores.logits)[:, 0]
    cells = (scores.class_index * num_classes + predicted)[scores.has_scores]
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes).astype(np.int64)


def count_without_scores(scores: Scores) -> Integers:
    """Return how many videos of each true class have no scores, int64 (K,)."""
    missing = scores.class_index[~scores.has_scores]
    return np.bincount(missing, minlength=scores.logits.shape[1]).astype(np.int64)


def reliability(scores: Scores, *, num_bins: int = NUM_CALIBRATION_BINS) -> Reliability:
    """Return accuracy by confidence (the highest probability) over the videos that have scores.

    Bin b holds confidences above b / bins up to and with (b + 1) / bins.
    """
    probabilities = softmax(scores.logits[scores.has_scores])
    confidence = probabilities.max(axis=1)
    correct = rank_classes(scores.logits)[scores.has_scores, 0] == scores.class_index[scores.has_scores]
    bins = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    count = np.bincount(bins, minlength=num_bins).astype(np.int64)
    divisor = np.maximum(count, 1)
    return Reliability(
        count=count,
        confidence=np.bincount(bins, weights=confidence, minlength=num_bins) / divisor,
        accuracy=np.bincount(bins, weights=correct, minlength=num_bins) / divisor,
    )


def expected_calibration_error(scores: Scores, *, num_bins: int = NUM_CALIBRATION_BINS) -> Measure:
    """Return the mean gap between confidence and accuracy; `n` counts the videos that have scores.

    Raises:
        DatasetError: No video has scores.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    n = int(scores.has_scores.sum())
    if not n:
        raise DatasetError("calibration: expected scored test videos, found none: every one was rejected")
    bins = reliability(scores, num_bins=num_bins)
    gaps = np.abs(bins.confidence - bins.accuracy)
    return Measure(value=float((gaps * bins.count).sum() / n), n=n)
