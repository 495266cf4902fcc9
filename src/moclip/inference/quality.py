"""Describe how far the percentages of a run can be trusted: its test accuracy, chance, and calibration."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moclip.evaluation.calibration import Temperature
from moclip.evaluation.statistics import MIN_GROUPS


@dataclass(frozen=True, kw_only=True)
class MeasuredMethod:
    """The accuracy of a method on the test videos of its run, and that of chance.

    Attributes:
        top_1: Share of test videos that the method got right.
        low, high: Bounds of its 95 % interval over groups of test videos; None with fewer than 10 groups.
        num_groups: Groups of test videos.
        n: Test videos.
        ece: Expected calibration error of the plain softmax.
        chance_majority: Accuracy of the most frequent training class.
        chance_uniform: Accuracy of a guess among all classes.
    """

    top_1: float
    low: float | None
    high: float | None
    num_groups: int
    n: int
    ece: float
    chance_majority: float
    chance_uniform: float


def read_tested(metrics: Mapping[str, Any]) -> dict[str, MeasuredMethod]:
    """Return the test results of each method in the `metrics.json` of a run."""
    return {
        name: MeasuredMethod(
            top_1=measured["top_1"],
            low=measured["top_1_groups_low"],
            high=measured["top_1_groups_high"],
            num_groups=measured["num_groups"],
            n=measured["n"],
            ece=measured["ece"],
            chance_majority=metrics["chance"]["majority"],
            chance_uniform=metrics["chance"]["uniform"],
        )
        for name, measured in metrics["methods"].items()
    }


def describe_accuracy(tested: MeasuredMethod) -> str:
    """Return the accuracy in words, with its interval or the reason why there is none."""
    if tested.low is None or tested.high is None:
        interval = f"no interval: {tested.num_groups} groups, fewer than {MIN_GROUPS}"
    else:
        interval = f"95 % interval {100 * tested.low:.1f} to {100 * tested.high:.1f} over {tested.num_groups} groups"
    return f"right for {100 * tested.top_1:.1f} % of {tested.n} test videos ({interval})"


def describe_chance(tested: MeasuredMethod) -> str:
    """Return the accuracies of chance in words."""
    majority, uniform = 100 * tested.chance_majority, 100 * tested.chance_uniform
    return f"{majority:.1f} % (the most frequent training class for every video), {uniform:.1f} % (a guess)"


def describe_calibration(temperature: Temperature | None, *, tested: MeasuredMethod | None, uncalibrated: str) -> str:
    """Return how percentages came about, and their error on the test videos; `uncalibrated` says what was lacking."""
    if temperature is None:
        words = f"not calibrated: expected {uncalibrated}"
    elif temperature.value == 1.0:
        words = f"not calibrated: no temperature is better on held-out groups of {temperature.num_videos} val videos"
    else:
        words = f"calibrated by temperature {temperature.value:.2f}, fitted on {temperature.num_videos} val videos"
    error = calibration_error(temperature, tested=tested)
    return words if error is None else f"{words}; calibration error on test {100 * error:.1f} points"


def calibration_error(temperature: Temperature | None, *, tested: MeasuredMethod | None) -> float | None:
    """Return the expected calibration error on the test videos, at the temperature in use; None if it is unknown."""
    if temperature is not None and temperature.value != 1.0:
        return temperature.test_ece
    return None if tested is None else tested.ece
