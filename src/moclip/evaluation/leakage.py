"""Test whether a property of the container predicts the class better than chance.

A property predicts a class by a table made on other groups: the class in which its value is most frequent. Whole groups
are held out, a tenth of them at a time, because videos of one source share their properties. The result is the mean of
the per-class accuracies, so 1 / K is chance level.

Significance comes from a permutation test: class labels are permuted among groups of similar size. Permutations are
compared by the mean weight that the table gives the true class, which also detects leaks that do not change the most
frequent class. Folds and bins are made without the classes, so that the test is exact for any number of videos.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

NUM_SHUFFLES = 1999

NUM_FOLDS = 10

_FEWEST_BINS, _MOST_BINS, _GROUPS_PER_BIN = 2, 16, 10

_MOST_STRATA, _UNITS_PER_STRATUM = 8, 20

_SEED = 20250917

# Figures that differ by less are the same, summed in another order.
_TINY = 1e-9

Ints = NDArray[np.intp]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Bins:
    """Values sorted into few bins: the bin of each value, (N,), and what each bin holds, in words."""

    codes: Ints
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LeakCheck:
    """How well one property predicts the class.

    Attributes:
        accuracy: Mean over the classes of the share of videos whose class the fact alone names.
        chance: The same for a guess: one over the number of classes.
        p_value: Share of the shuffles, the true order among them, whose table does as well.
        fires: Whether that is so rare that it is an alarm.
        num_classes: Classes with at least two groups, which alone can be tested.
        num_groups: Their groups.
        num_videos: Their videos.
        untested: Why there is no check; the figures are nan then.
    """

    accuracy: float = math.nan
    chance: float = math.nan
    p_value: float = math.nan
    fires: bool = False
    num_classes: int
    num_groups: int
    num_videos: int
    untested: str = ""


def bin_values(values: Sequence[float | str], *, num_bins: int, missing: str = "unknown") -> Bins:
    """Return the values in about `num_bins` bins: texts by frequency, numbers in ascending order, nan apart.

    Frequent values have a bin of their own; of what is left, texts share one and numbers are cut into equal parts.
    """
    if any(isinstance(value, str) for value in values):
        return _bin_texts([str(value) for value in values], num_bins=num_bins)
    numbers = np.array(values, np.float64)
    known = np.isfinite(numbers)
    codes = np.zeros(len(numbers), np.intp)
    labels: list[str] = []
    if known.any():
        codes[known], labels = _bin_numbers(numbers[known], num_bins=num_bins)
    if not known.all():
        codes[~known] = len(labels)
        labels.append(missing)
    return Bins(codes=codes, labels=tuple(labels))


def _bin_texts(values: Sequence[str], *, num_bins: int) -> Bins:
    counts = sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0]))
    kept = [value for value, _ in counts[: num_bins if len(counts) <= num_bins else num_bins - 1]]
    place = {value: index for index, value in enumerate(kept)}
    codes = np.array([place.get(value, len(kept)) for value in values], np.intp)
    return Bins(codes=codes, labels=tuple(kept if len(counts) <= num_bins else [*kept, "other"]))


def _bin_numbers(numbers: Floats, *, num_bins: int) -> tuple[Ints, list[str]]:
    distinct, inverse, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    if len(distinct) <= num_bins:
        return inverse.astype(np.intp), [f"{value:.6g}" for value in distinct]
    is_frequent = counts >= len(numbers) / num_bins
    num_parts = max(1, num_bins - int(is_frequent.sum()))
    rare = np.where(is_frequent, 0, counts)
    part = ((np.cumsum(rare) - rare / 2) / max(1, rare.sum()) * num_parts).astype(np.intp)
    # A frequent value is known by its place, a part by its number; bins are counted in the order of their least value.
    keys = [(1, index) if is_frequent[index] else (0, int(part[index])) for index in range(len(distinct))]
    order = {key: code for code, key in enumerate(dict.fromkeys(keys))}
    code_of = np.array([order[key] for key in keys], np.intp)
    labels = []
    for code in range(len(order)):
        low, high = distinct[code_of == code][[0, -1]]
        labels.append(f"{low:.6g}" if low == high else f"{low:.6g}\N{EN DASH}{high:.6g}")
    return code_of[inverse], labels


def check_leak(
    values: Sequence[float | str],
    *,
    classes: Sequence[str],
    groups: Sequence[str],
    alarm_rate: float,
    num_shuffles: int = NUM_SHUFFLES,
) -> LeakCheck:
    """Return how well a property, one value per video, predicts the class, and whether that is better than chance.

    A fact that says nothing raises an alarm with a probability of at most `alarm_rate`.
    """
    kept = _keep_classes(classes, groups)
    class_of, group_of = _number([classes[index] for index in kept]), _number([groups[index] for index in kept])
    unit_of = _number(list(zip(group_of.tolist(), class_of.tolist(), strict=True)))
    num_classes, num_groups = _span(class_of), _span(group_of)
    found = LeakCheck(num_classes=num_classes, num_groups=num_groups, num_videos=len(kept))
    deal = _Deal.build(unit_of, class_of=class_of)
    if reason := deal.too_few(alarm_rate=alarm_rate, num_shuffles=num_shuffles):
        return replace(found, untested=reason)
    num_bins = min(max(_FEWEST_BINS, num_groups // _GROUPS_PER_BIN), _MOST_BINS)
    bins = bin_values([values[index] for index in kept], num_bins=num_bins)
    rng = np.random.default_rng(_SEED)
    folds = (rng.permutation(num_groups) % NUM_FOLDS)[group_of]
    table = _Table.build(unit_of, bins=bins, folds=folds, num_classes=num_classes)
    accuracy, weight = table.score(deal.label_of_unit)
    shuffled = np.array([table.score(deal.shuffle(rng))[1] for _ in range(num_shuffles)])
    p_value = (1 + int(np.count_nonzero(shuffled >= weight - _TINY))) / (num_shuffles + 1)
    return replace(found, accuracy=accuracy, chance=1 / num_classes, p_value=p_value, fires=p_value <= alarm_rate)


def _keep_classes(classes: Sequence[str], groups: Sequence[str]) -> list[int]:
    # The one group of a class is never named by the others.
    num_groups = Counter(name for name, _ in set(zip(classes, groups, strict=True)))
    return [index for index, name in enumerate(classes) if num_groups[name] > 1]


def _number(names: Sequence[object]) -> Ints:
    place = {name: index for index, name in enumerate(sorted(set(names), key=repr))}
    return np.array([place[name] for name in names], np.intp)


def _span(codes: Ints) -> int:
    return int(codes.max()) + 1 if len(codes) else 0


@dataclass(frozen=True, kw_only=True)
class _Deal:
    """The class of each unit, the videos of one class in one group; units of like size may exchange theirs."""

    label_of_unit: Ints
    strata: tuple[Ints, ...]

    @classmethod
    def build(cls, unit_of: Ints, *, class_of: Ints) -> "_Deal":
        sizes = np.bincount(unit_of)
        labels = np.zeros(len(sizes), np.intp)
        labels[unit_of] = class_of
        # Classes may differ in the sizes of their groups, which is no leak of the container.
        num_strata = min(max(1, len(sizes) // _UNITS_PER_STRATUM), _MOST_STRATA)
        stratum = bin_values(sizes.astype(np.float64).tolist(), num_bins=num_strata).codes
        return cls(label_of_unit=labels, strata=tuple(np.flatnonzero(stratum == code) for code in np.unique(stratum)))

    def shuffle(self, rng: np.random.Generator) -> Ints:
        """Return the labels, permuted."""
        permuted = np.empty_like(self.label_of_unit)
        for units in self.strata:
            permuted[units] = rng.permutation(self.label_of_unit[units])
        return permuted

    def too_few(self, *, alarm_rate: float, num_shuffles: int) -> str:
        """Return why no alarm could ever be raised, if so."""
        counts = np.bincount(self.label_of_unit)
        if len(counts) < 2:
            return "fewer than two classes have two groups"
        # The number of arrangements of the labels, of which those that exchange whole classes have the same figures.
        log_ways = -math.lgamma(len(counts) + 1)
        for units in self.strata:
            log_ways += math.lgamma(len(units) + 1)
            log_ways -= sum(math.lgamma(count + 1) for count in np.bincount(self.label_of_unit[units]))
        if math.exp(-log_ways) > alarm_rate or alarm_rate * (num_shuffles + 1) < 1:
            return f"{len(self.label_of_unit)} groups are too few to tell a leak from chance"
        return ""


@dataclass(frozen=True, kw_only=True)
class _Table:
    """How many videos of each unit each bin holds; M such entries."""

    unit: Ints
    place: Ints  # fold * bins + bin, of each entry
    count: Floats
    shape: tuple[int, int, int]  # folds, bins, classes

    @classmethod
    def build(cls, unit_of: Ints, *, bins: Bins, folds: Ints, num_classes: int) -> "_Table":
        num_bins = len(bins.labels)
        place = folds * num_bins + bins.codes
        num_places = NUM_FOLDS * num_bins
        entries, count = np.unique(unit_of * num_places + place, return_counts=True)
        return cls(
            unit=entries // num_places,
            place=entries % num_places,
            count=count.astype(np.float64),
            shape=(NUM_FOLDS, num_bins, num_classes),
        )

    def score(self, label_of_unit: Ints) -> tuple[float, float]:
        """Return accuracy and weight, means over classes, if units have these labels and other folds name each one."""
        cells = self.place * self.shape[2] + label_of_unit[self.unit]
        counts = np.bincount(cells, weights=self.count, minlength=math.prod(self.shape))
        held_out = counts.astype(np.float64).reshape(self.shape)
        total = held_out.sum(axis=0)
        seen = total - held_out
        # Of each class the share that has the value, so that a large class is not named more often than a small one.
        share = seen / np.maximum(seen.sum(axis=1, keepdims=True), 1)
        # Between classes that are equally frequent, and all of them where the value is new, the table guesses.
        named: Floats = np.where(share == share.max(axis=2, keepdims=True), 1.0, 0.0)
        weight = np.where(share.any(axis=2, keepdims=True), share, 1.0)
        return self._mean(held_out, credit=named), self._mean(held_out, credit=weight)

    @staticmethod
    def _mean(held_out: Floats, *, credit: Floats) -> float:
        hits = held_out * (credit / credit.sum(axis=2, keepdims=True))
        return float(np.mean(hits.sum(axis=(0, 1)) / held_out.sum(axis=(0, 1))))
