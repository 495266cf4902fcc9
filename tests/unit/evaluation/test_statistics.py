"""Intervals over groups hold the truth as often as they claim, and tests of one method against another are exact."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmarks import interval_coverage
from scipy import stats

from moclip.errors import DatasetError
from moclip.evaluation.comparisons import format_comparisons, read_comparisons, write_contests
from moclip.evaluation.predictions import RunFile
from moclip.evaluation.statistics import MIN_GROUPS, Interval, group_interval, mcnemar_p, student_half_width


@pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 3), (1, 9), (40, 20), (900, 700), (1500, 1499)])
def test_mcnemars_p_is_that_of_the_exact_binomial_test(first: int, second: int) -> None:
    expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar_p(first, second) == mcnemar_p(second, first) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("number", [2, 3, 4, 8, 31])
def test_the_interval_of_a_mean_is_students(number: int) -> None:
    values = np.random.default_rng(number).random(number)
    low, high = stats.t.interval(0.95, number - 1, loc=np.mean(values), scale=stats.sem(values))
    assert 2 * float(student_half_width(values.tolist()) or 0) == pytest.approx(high - low, rel=1e-9)
    assert student_half_width([0.6]) is None


def bounds(interval: Interval) -> tuple[float, float]:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low, interval.high


CASES = {case.name: case for case in interval_coverage.CASES}


def measure_coverage(bound: interval_coverage.Bound, *, name: str, num_groups: int) -> float:
    return interval_coverage.measure_coverage(
        bound, case=CASES[name], num_groups=num_groups, num_repetitions=400, seed=17
    )


# 95 % of 400 intervals have a standard error of 1 %.
@pytest.mark.parametrize("num_groups", [10, 21])
@pytest.mark.parametrize("name", CASES)
def test_intervals_over_few_groups_hold_the_truth_as_often_as_they_claim(name: str, num_groups: int) -> None:
    assert 0.925 <= measure_coverage(interval_coverage.bound_now, name=name, num_groups=num_groups) <= 0.985


@pytest.mark.parametrize("name", CASES)
def test_the_percentile_bootstrap_fails_that_test_at_ten_groups(name: str) -> None:
    bootstrap = interval_coverage.bound_by_bootstrap
    assert not 0.925 <= measure_coverage(bootstrap, name=name, num_groups=10) <= 0.985


def test_copies_of_a_video_in_its_group_make_nothing_surer() -> None:
    rng = np.random.default_rng(0)
    once = rng.choice([-1.0, 0.0, 1.0], size=60, p=[0.2, 0.4, 0.4])
    names = [f"g{index}" for index in range(60)]
    single = group_interval([once], groups=[names], is_difference=True)
    many = group_interval([np.repeat(once, 5)], groups=[np.repeat(names, 5).tolist()], is_difference=True)
    assert (many.value, many.low, many.high) == pytest.approx((single.value, single.low, single.high))
    # The pseudo-videos pull an interval of 60 values a little to 0, and widen it: Student's is nearly the same.
    expected = stats.t.interval(0.95, 59, loc=once.mean(), scale=stats.sem(once))
    assert bounds(single) == pytest.approx(expected, abs=0.02)


def test_independent_videos_have_the_interval_of_agresti_and_coull() -> None:
    right = np.repeat([1.0, 0.0], [470, 30])
    found = group_interval([right], groups=[[f"v{index}" for index in range(500)]])
    center = (470 + 1.96**2 / 2) / (500 + 1.96**2)
    half = 1.96 * np.sqrt(center * (1 - center) / (500 + 1.96**2))
    assert bounds(found) == pytest.approx((center - half, center + half), abs=5e-4)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_no_mistake_at_all_is_no_certainty(share: float) -> None:
    low, high = bounds(group_interval([np.full(60, share)], groups=[[f"g{index // 5}" for index in range(60)]]))
    assert low <= share <= high
    assert 0.05 < high - low < 0.15
    equal = group_interval([np.zeros(60)], groups=[[f"g{index // 5}" for index in range(60)]], is_difference=True)
    assert equal.low == pytest.approx(-float(equal.high or 0))
    assert 0.02 < float(equal.high or 0) < 0.1


def test_below_ten_groups_there_is_a_mean_and_no_interval() -> None:
    values = np.array([1.0, 0.0, 1.0] * (MIN_GROUPS - 1))
    names = [f"g{index // 3}" for index in range(len(values))]
    found = group_interval([values], groups=[names])
    assert found == Interval(value=pytest.approx(2 / 3), low=None, high=None, num_groups=MIN_GROUPS - 1)
    found = group_interval([np.append(values, 0.0)], groups=[[*names, "another"]])
    assert found.num_groups == MIN_GROUPS
    assert None not in (found.low, found.high)


def test_one_group_that_outweighs_the_others_widens_the_interval() -> None:
    rng = np.random.default_rng(4)
    right = (rng.random(200) < 0.7).astype(float)
    even = group_interval([right], groups=[[f"g{index % 20}" for index in range(200)]])
    uneven = group_interval([right], groups=[[f"g{max(0, index - 180)}" for index in range(200)]])
    assert even.num_groups == uneven.num_groups == 20
    assert float(uneven.high or 0) - float(uneven.low or 0) > 2 * (float(even.high or 0) - float(even.low or 0))


def test_the_mean_over_splits_counts_a_small_split_as_much_as_a_large_one() -> None:
    values = [np.ones(2), np.zeros(8)]
    assert group_interval(values, groups=[["a", "b"], list("cdefghij")], is_difference=True).value == 0.5
    with pytest.raises(DatasetError, match="found none"):
        group_interval([np.zeros(0)], groups=[[]])


def test_a_group_that_is_the_only_one_of_a_split_is_left_out_with_that_split() -> None:
    values = [np.array([1.0, 0.0]), np.tile([1.0, 0.0], 10)]
    groups = [["alone", "alone"], [f"g{index // 2}" for index in range(20)]]
    low, high = bounds(group_interval(values, groups=groups))
    assert 0 < low < 0.5 < high < 1


def write_predictions(path: Path, *, right: dict[str, list[int]]) -> RunFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.writer(file, dialect="excel-tab")
        table.writerow(["video_id", "class_name", "class_index", "status", *right])
        for row in range(6):
            cells = ["a" if right[name][row] else "b" for name in right]
            table.writerow([f"v{row}", "a", 0, "ok" if row < 5 else "unreadable", *cells])
    experiment, split, seed = path.parts[-4:-1]
    return RunFile(experiment=experiment, split=int(split[6:]), seed=int(seed[5:]), path=path)


@pytest.fixture
def tables(tmp_path: Path) -> tuple[list[dict[str, str]], list[dict[str, str]], Path]:
    ids = [f"v{row}" for row in range(6)]
    frame = pd.DataFrame({"video_id": ids, "path": [f"{video_id}.avi" for video_id in ids], "class_name": "a"})
    frame = frame.assign(class_index=0, group=["g1", "g1", "g2", "g2", "g3", "g3"], fingerprint="f", shard=0)
    frame.assign(split_1="test").to_csv(tmp_path / "manifest.tsv", sep="\t", index=False)
    runs = [
        write_predictions(
            tmp_path / "x/one" / f"split-1/seed-{seed}/predictions.tsv",
            right={"motion": [0, 0, 1, 1, 0, 0], "fusion": [1, 1, 1, 1 - seed, 1, 0]},
        )
        for seed in (0, 1)
    ]
    other = [
        write_predictions(
            tmp_path / "x/two" / f"split-1/seed-{seed}/predictions.tsv", right={"fusion": [1, 1, 0, 0, 0, 0]}
        )
        for seed in (0, 1)
    ]
    write_contests(
        tmp_path / "comparisons.tsv",
        gains=tmp_path / "gains.tsv",
        predictions=[*runs, *other],
        manifest=tmp_path / "manifest.tsv",
        rejected_test_videos="wrong",
    )
    read = [
        list(csv.DictReader((tmp_path / name).open(), dialect="excel-tab")) for name in ("comparisons.tsv", "gains.tsv")
    ]
    return read[0], read[1], tmp_path / "comparisons.tsv"


def test_each_run_has_its_mcnemar_test_and_all_runs_one_mean_over_groups(tables) -> None:  # type: ignore[no-untyped-def]
    rows = [row for row in tables[0] if row["other_method"] == "motion"]
    assert [(row["seed"], row["only_first"], row["only_second"], row["mcnemar_p"]) for row in rows] == [
        ("0", "3", "0", "0.25"),
        ("1", "3", "1", "0.625"),
        ("all", "", "", ""),
    ]
    assert float(rows[2]["difference"]) == pytest.approx((3 / 6 + 2 / 6) / 2)
    assert (rows[2]["n"], rows[2]["num_groups"], rows[2]["low"], rows[2]["high"]) == ("6", "3", "", "")


def test_experiments_are_held_against_the_first_one(tables) -> None:  # type: ignore[no-untyped-def]
    row = next(row for row in tables[0] if row["experiment"] == "two" and row["split"] == "all")
    assert (row["other_experiment"], row["method"]) == ("one", "fusion")
    assert float(row["difference"]) == pytest.approx(-2.5 / 6)
    text = format_comparisons(read_comparisons(tables[2]))
    assert [" ".join(line.split()) for line in text.splitlines()] == [
        "difference in top-1 points 95 % over groups groups",
        "one: fusion against",
        "motion +41.7 none 3",
        "against fusion of one:",
        "fusion of two -41.7 none 3",
        "no interval: fewer than 10 groups of test videos",
    ]


def test_the_gain_of_each_class_is_over_all_runs(tables) -> None:  # type: ignore[no-untyped-def]
    assert [(row["class_name"], row["num_tests"], row["stream"]) for row in tables[1]] == [("a", "12", "motion")]
    assert float(tables[1][0]["gain"]) == pytest.approx(9 / 12 - 4 / 12)


def test_experiments_that_left_out_other_videos_are_compared_on_those_of_both(tables, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    runs = [tmp_path / name / "split-1/seed-0/predictions.tsv" for name in ("x/one", "x/two")]
    lines = runs[1].read_text().splitlines(keepends=True)
    runs[1].write_text("".join(line.replace("ok", "timeout") if line.startswith("v2") else line for line in lines))

    def compare(policy: str) -> None:
        write_contests(
            tmp_path / "comparisons.tsv",
            gains=tmp_path / "gains.tsv",
            predictions=[RunFile(experiment=run.parts[-4], split=1, seed=0, path=run) for run in runs],
            manifest=tmp_path / "manifest.tsv",
            rejected_test_videos=policy,
        )

    compare("leave_out")
    rows = list(csv.DictReader((tmp_path / "comparisons.tsv").open(), dialect="excel-tab"))
    counts = {(row["experiment"], row["other_experiment"]): int(row["n"]) for row in rows}
    assert counts == {("one", "one"): 5, ("two", "one"): 4}
    last = rows[-1]
    assert float(last["difference"]) == pytest.approx(-2 / 4)  # right: one v0 v1 v3 v4, two v0 v1
    runs[1].write_text("".join(lines[:-1]))
    with pytest.raises(DatasetError, match="expected the same test videos, found 5 of 5 and 6 in both"):
        compare("wrong")
