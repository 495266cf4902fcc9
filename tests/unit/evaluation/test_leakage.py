"""A leak is called one, chance is not, and how often that is wrong is as said."""

from collections.abc import Sequence

import numpy as np
import pytest

from moclip.evaluation.leakage import Bins, LeakCheck, bin_values, check_leak

SIZES = (4, 7)
DASH = "\N{EN DASH}"


def make_videos(num_classes: int, *, num_groups: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """The class and the group of each video; groups have 4 to 7 videos, as in UCF101."""
    rng = np.random.default_rng(seed)
    pairs = [
        (f"class {number}", f"{number}/g{group}")
        for number in range(num_classes)
        for group in range(num_groups)
        for _ in range(rng.integers(SIZES[0], SIZES[1] + 1))
    ]
    return [name for name, _ in pairs], [group for _, group in pairs]


def per_group(groups: Sequence[str], *, rng: np.random.Generator, values: Sequence[float]) -> list[float]:
    """A value for each video, the same in all videos of a group."""
    drawn = {group: float(rng.choice(values)) for group in sorted(set(groups))}
    return [drawn[group] for group in groups]


def check(values: Sequence[float | str], classes: list[str], groups: list[str], **changes: float) -> LeakCheck:
    return check_leak(values, classes=classes, groups=groups, **{"alarm_rate": 0.001, **changes})  # type: ignore[arg-type]


def texts(bins: Bins, values: Sequence[float | str]) -> list[tuple[float | str, str]]:
    return [(value, bins.labels[code]) for value, code in zip(values, bins.codes.tolist(), strict=True)]


def test_a_frame_rate_of_its_own_gives_a_class_away() -> None:
    classes, groups = make_videos(5, num_groups=10)
    found = check([29.97 if name == "class 2" else 25.0 for name in classes], classes, groups)
    # One class for certain, the other four by a guess between them.
    assert found.accuracy == pytest.approx((1 + 4 / 4) / 5)
    assert found.chance == pytest.approx(0.2)
    assert found.fires
    assert found.p_value == pytest.approx(1 / 2000)


def test_the_same_frame_rates_shuffled_over_the_groups_do_not() -> None:
    classes, groups = make_videos(5, num_groups=10)
    rates = per_group(groups, rng=np.random.default_rng(3), values=(25.0, 25.0, 25.0, 25.0, 29.97))
    found = check(rates, classes, groups)
    assert not found.fires
    assert found.p_value > 0.05


def test_a_leak_in_most_videos_of_a_class_is_found_among_a_hundred_classes() -> None:
    classes, groups = make_videos(101, num_groups=18)
    rng = np.random.default_rng(0)
    often = {f"class {number}" for number in range(0, 101, 9)}
    share = {group: (0.5 if name in often else 0.2) for name, group in zip(classes, groups, strict=True)}
    rate = {group: 29.97 if rng.random() < share[group] else 25.0 for group in sorted(share)}
    found = check([rate[group] for group in groups], classes, groups)
    assert found.fires
    assert found.num_videos == len(classes) > 9000


def test_a_number_that_drifts_with_the_class_is_found_though_its_values_are_all_different() -> None:
    classes, groups = make_videos(4, num_groups=15)
    rng = np.random.default_rng(0)
    durations = [float(rng.normal(5 + int(name[-1]), 1)) for name in classes]
    assert check(durations, classes, groups).fires
    assert not check([float(value) for value in rng.permutation(durations)], classes, groups).fires


@pytest.mark.parametrize("kind", ["one value in a group", "one value a video", "groups of several classes"])
def test_false_alarms_are_as_rare_as_said(kind: str) -> None:
    num_trials, alarm_rate = 300, 0.1
    rng = np.random.default_rng(7)
    classes, groups = make_videos(5, num_groups=8)
    if kind == "groups of several classes":
        groups = [f"film {rng.integers(25)}" for _ in groups]
    alarms = 0
    for _ in range(num_trials):
        if kind == "one value a video":
            values = [float(value) for value in rng.normal(size=len(classes))]
        else:
            values = per_group(groups, rng=rng, values=(25.0, 25.0, 29.97, 30.0))
        alarms += check(values, classes, groups, alarm_rate=alarm_rate, num_shuffles=99).fires
    # Three standard deviations above 30 of 300. Shuffling single videos, it would be more than half of them.
    assert alarms <= num_trials * alarm_rate + 3 * (num_trials * alarm_rate * (1 - alarm_rate)) ** 0.5


def test_classes_whose_groups_differ_in_size_are_no_leak() -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(200):
        pairs = [(f"{k}", f"{k}/{g}") for k in range(3) for g in range(30) for _ in range((2, 5, 9)[(k + g) % 3] + k)]
        classes, groups = [name for name, _ in pairs], [group for _, group in pairs]
        values = [float(value) for value in rng.integers(32, 41, len(pairs))]
        alarms += check(values, classes, groups, alarm_rate=0.1, num_shuffles=99).fires
    assert alarms <= 20 + 3 * 18**0.5


def test_a_large_class_is_no_leak() -> None:
    classes = ["large"] * 90 + ["small"] * 10
    groups = [f"g{index}" for index in range(100)]
    found = check(["h264"] * 100, classes, groups)
    assert found.accuracy == pytest.approx(0.5)
    assert not found.fires


def test_a_group_is_never_named_by_its_own_videos() -> None:
    # A number of its own for every group: a table that has seen the group names its class better than chance.
    classes, groups = make_videos(4, num_groups=40)
    rng = np.random.default_rng(0)
    number = dict(zip(sorted(set(groups)), rng.permutation(160).tolist(), strict=True))
    values = [float(number[group]) for group in groups]
    names, codes = np.array(classes), bin_values(values, num_bins=16).codes
    seen = np.mean([max(np.mean(names[codes == code] == name) for name in set(classes)) for code in set(codes)])
    assert seen > 0.35
    assert check(values, classes, groups).accuracy < 0.3


def test_the_order_of_the_videos_changes_nothing() -> None:
    classes, groups = make_videos(3, num_groups=12)
    rng = np.random.default_rng(0)
    values = [float(value) for value in rng.integers(0, 9, len(classes))]
    order = rng.permutation(len(classes)).tolist()
    again = check([values[i] for i in order], [classes[i] for i in order], [groups[i] for i in order])
    assert again == check(values, classes, groups)


def test_too_few_groups_are_said_to_be_too_few() -> None:
    names = ["a", "a", "b", "b"]
    assert "4 groups are too few" in check([25.0, 25.0, 30.0, 30.0], names, ["1", "2", "3", "4"]).untested
    alone = check([25.0, 30.0], ["a", "b"], ["1", "2"])
    assert "fewer than two classes" in alone.untested
    assert not alone.fires


def test_a_class_of_one_group_takes_no_part() -> None:
    classes, groups = make_videos(3, num_groups=10)
    found = check([25.0] * (len(classes) + 2), [*classes, "alone", "alone"], [*groups, "x", "x"])
    assert (found.num_classes, found.num_groups, found.num_videos) == (3, 30, len(classes))


def test_frequent_numbers_have_bins_of_their_own_and_the_others_share() -> None:
    values = [25.0] * 60 + [29.97] * 30 + [float(value) for value in range(10)] + [float("nan")] * 5
    bins = bin_values(values, num_bins=4, missing="unknown")
    assert bins.labels == (f"0{DASH}4", f"5{DASH}9", "25", "29.97", "unknown")
    assert np.bincount(bins.codes).tolist() == [5, 5, 60, 30, 5]


def test_rare_texts_share_a_bin() -> None:
    values = ["h264"] * 5 + ["mpeg4"] * 3 + ["vp8", "vp9"]
    bins = bin_values(values, num_bins=3)
    assert bins.labels == ("h264", "mpeg4", "other")
    assert set(texts(bins, values)) == {("h264", "h264"), ("mpeg4", "mpeg4"), ("vp8", "other"), ("vp9", "other")}


@pytest.mark.parametrize("num_bins", [1, 2, 7, 16])
def test_every_number_lies_within_the_bin_it_is_in(num_bins: int) -> None:
    values = [float(value) for value in np.random.default_rng(0).integers(0, 300, 500)]
    bins = bin_values(values, num_bins=num_bins)
    assert len(bins.labels) <= num_bins
    for value, label in texts(bins, values):
        ends = [float(end) for end in label.split(DASH)]
        assert ends[0] <= float(value) <= ends[-1]
