"""Read which test videos each method of a run got right, and give accuracies their interval over groups of videos."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moclip.config.methods import METHODS
from moclip.core.files import read_tsv
from moclip.errors import DatasetError
from moclip.evaluation.statistics import Floats, Interval, group_interval


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """One run, and the path of one of its files."""

    experiment: str
    split: int
    seed: int
    path: Path


@dataclass(frozen=True, kw_only=True)
class RunPredictions:
    """The test videos that each method of a run got right, bool (N,) by method, with ids, classes and groups."""

    video_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    groups: tuple[str, ...]
    correct: Mapping[str, NDArray[np.bool_]]

    def take(self, video_ids: AbstractSet[str]) -> "RunPredictions":
        """Return the predictions of these videos, in the same order."""
        index = [number for number, video_id in enumerate(self.video_ids) if video_id in video_ids]
        texts = (self.video_ids, self.class_names, self.groups)
        ids, class_names, groups = (tuple(column[number] for number in index) for column in texts)
        correct = {name: right[index] for name, right in self.correct.items()}
        return RunPredictions(video_ids=ids, class_names=class_names, groups=groups, correct=correct)


def read_predictions(path: Path, *, groups: Mapping[str, str], leave_out: bool) -> RunPredictions:
    """Return the predictions of a run; with `leave_out` without the videos that some method has no scores of.

    `groups` gives the group of every video of the dataset.

    Raises:
        DatasetError: The file is missing, or is no such table.
    """
    try:
        rows = [row for row in read_tsv(path) if not leave_out or row["status"] == "ok"]
        methods = [name for name in METHODS if rows and name in rows[0]]
        return RunPredictions(
            video_ids=tuple(row["video_id"] for row in rows),
            class_names=tuple(row["class_name"] for row in rows),
            groups=tuple(groups[row["video_id"]] for row in rows),
            correct={name: np.array([row[name] == row["class_name"] for row in rows]) for name in methods},
        )
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{path}: expected the predictions of a run ({error}); delete it and run again") from None


def bound_accuracy(runs: Sequence[tuple[int, RunPredictions]], *, method: str) -> Interval:
    """Return the accuracy of a method over runs, each with its split: mean over seeds, then videos, then splits."""
    by_split: dict[int, list[tuple[Floats, Sequence[str]]]] = {}
    for split, table in runs:
        by_split.setdefault(split, []).append((table.correct[method].astype(np.float64), table.groups))
    return bound_over_seeds(by_split, is_difference=False)


def bound_over_seeds(
    by_split: Mapping[int, Sequence[tuple[Floats, Sequence[str]]]], *, is_difference: bool
) -> Interval:
    """Return the interval over groups of the values of runs, by split: each video's mean over seeds counts once.

    The seeds of a split are tested on the same videos, so that they are no further observations.
    """
    values = [np.mean([part for part, _ in runs], axis=0) for runs in by_split.values()]
    groups = [runs[0][1] for runs in by_split.values()]
    return group_interval(values, groups=groups, is_difference=is_difference)
