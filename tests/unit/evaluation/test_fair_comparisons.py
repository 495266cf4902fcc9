"""Heads that were fitted on different subsets are not compared."""

import csv
from pathlib import Path

import pandas as pd
import pytest

from moclip.config.methods import METHODS, fitted_on
from moclip.evaluation.comparisons import write_contests
from tests.unit.evaluation.test_statistics import write_predictions

METHODS_SHOWN = {"motion": [0, 0, 1, 1, 0, 0], "ridge": [1, 1, 0, 1, 0, 0], "fusion": [1, 1, 1, 0, 1, 0]}


def compare(folder: Path, *, refit: set[str]) -> list[dict[str, str]]:
    ids = [f"v{row}" for row in range(6)]
    frame = pd.DataFrame({"video_id": ids, "path": [f"{name}.avi" for name in ids], "class_name": "a"})
    frame = frame.assign(class_index=0, group=["g1", "g1", "g2", "g2", "g3", "g3"], fingerprint="f", shard=0)
    frame.assign(split_1="test").to_csv(folder / "manifest.tsv", sep="\t", index=False)
    write_contests(
        folder / "comparisons.tsv",
        gains=folder / "gains.tsv",
        predictions=[
            write_predictions(folder / name / "split-1/seed-0/predictions.tsv", right=METHODS_SHOWN)
            for name in ("first", "second", "third")
        ],
        manifest=folder / "manifest.tsv",
        rejected_test_videos="wrong",
        refit=refit,
    )
    rows = list(csv.DictReader((folder / "comparisons.tsv").open(), dialect="excel-tab"))
    return [row for row in rows if row["split"] == "all"]


@pytest.mark.parametrize("refit", [{"second"}, {"first", "third"}])
def test_experiments_of_unlike_refit_are_not_compared_and_the_log_names_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, refit: set[str]
) -> None:
    rows = compare(tmp_path, refit=refit)
    across = [
        (row["experiment"], row["other_experiment"]) for row in rows if row["experiment"] != row["other_experiment"]
    ]
    assert across == [("third", "first")]
    assert "second and first: not compared" in caplog.text
    for row in rows:
        own = "train + val" if row["experiment"] in refit else "train"
        assert row["fitted_on"] == own
        assert row["other_fitted_on"] == ("train" if row["other_method"] == "motion" else own)


def test_experiments_of_equal_refit_are_compared(tmp_path: Path) -> None:
    for refit in (set(), {"first", "second", "third"}):
        rows = compare(tmp_path, refit=refit)
        across = {row["experiment"] for row in rows if row["experiment"] != row["other_experiment"]}
        assert across == {"second", "third"}


def test_every_method_says_what_it_is_fitted_on() -> None:
    unfitted = {name for name in METHODS if not fitted_on(name, refit=True)}
    assert unfitted == {"zero_shot"}
    assert {name for name in METHODS if fitted_on(name, refit=True) == "train"} == {"motion"}
