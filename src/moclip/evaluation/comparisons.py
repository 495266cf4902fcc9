"""Write and read the tables of comparisons: comparisons.tsv and class_gains.tsv."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import astuple, dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moclip.config.methods import METHODS, fitted_on
from moclip.core.files import read_tsv, write_tsv
from moclip.dataset.manifest_table import read_table
from moclip.errors import DatasetError
from moclip.evaluation.statistics import Interval, Weights, bootstrap, draw_weights, mcnemar_p, sum_by_group
from moclip.evaluation.summary import align_columns

_log = logging.getLogger(__name__)

_NUM_DIGITS = 8

_STREAMS = ("motion", "motion_head", "appearance")


@dataclass(frozen=True, kw_only=True)
class RunPredictions:
    """One run, and the path of its predictions."""

    experiment: str
    split: int
    seed: int
    path: Path


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One method against another on the same videos.

    With a split and a seed: the videos that only one of the two got right, and McNemar's exact p. With `all`: the
    difference in top-1, mean over splits and seeds, and its 95 % interval over groups; there is no McNemar test, since
    runs of several seeds share their videos. `fitted_on` names the subsets that each of them was fitted on. Heads that
    were fitted on different subsets are not compared.
    """

    experiment: str
    method: str
    other_experiment: str
    other_method: str
    split: str
    seed: str
    n: int
    num_groups: int
    difference: float
    low: float | None
    high: float | None
    only_first: int | None
    only_second: int | None
    mcnemar_p: float | None
    fitted_on: str
    other_fitted_on: str


@dataclass(frozen=True, kw_only=True)
class _Table:
    """Which test videos of a run each method got right, bool (N,) by method; with ids, classes and groups."""

    video_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    groups: tuple[str, ...]
    correct: Mapping[str, NDArray[np.bool_]]

    def take(self, video_ids: AbstractSet[str]) -> "_Table":
        """Those of these ids, in the order at hand."""
        index = [number for number, video_id in enumerate(self.video_ids) if video_id in video_ids]
        texts = (self.video_ids, self.class_names, self.groups)
        ids, class_names, groups = (tuple(column[number] for number in index) for column in texts)
        correct = {name: right[index] for name, right in self.correct.items()}
        return _Table(video_ids=ids, class_names=class_names, groups=groups, correct=correct)


def write_contests(
    comparisons: Path,
    *,
    gains: Path,
    predictions: Sequence[RunPredictions],
    manifest: Path,
    rejected_test_videos: str,
    refit: Collection[str] = (),
) -> None:
    """Write what each experiment's best-informed method gains over the others, in all and class by class.

    `refit` names the experiments whose heads are fitted on train and val together.

    Raises:
        DatasetError: Predictions are missing or no such table.
    """
    groups = dict(read_table(manifest).rows("video_id", "group"))
    runs = _Runs(predictions, groups=groups, leave_out=rejected_test_videos == "leave_out", refit=refit)
    columns = [field.name for field in fields(Comparison)]
    write_tsv(comparisons, header=columns, rows=map(astuple, runs.compare()), num_digits=_NUM_DIGITS)
    header = ["experiment", "class_name", "num_tests", "fusion", "stream", "accuracy", "gain"]
    header += ["num_groups", "low", "high"]
    write_tsv(gains, header=header, rows=runs.gains(), num_digits=_NUM_DIGITS)


class _Runs:
    """All runs, by experiment, split and seed, and the comparisons between them."""

    def __init__(
        self, runs: Sequence[RunPredictions], *, groups: Mapping[str, str], leave_out: bool, refit: Collection[str]
    ) -> None:
        self._refit = refit
        self._tables: dict[str, dict[tuple[int, int], _Table]] = {}
        self._class_weights: dict[int, Weights] = {}
        self._leave_out = leave_out
        for run in runs:
            table = _read_predictions(run.path, groups=groups, leave_out=leave_out)
            self._tables.setdefault(run.experiment, {})[run.split, run.seed] = table

    @cached_property
    def _groups(self) -> list[str]:
        tables = (table for runs in self._tables.values() for table in runs.values())
        return sorted({group for table in tables for group in table.groups})

    @cached_property
    def _weights(self) -> Weights:
        return draw_weights(len(self._groups))

    def compare(self) -> Iterator[Comparison]:
        """Yield the reference method of each experiment against its others, then against that of the first."""
        first = next(iter(self._tables))
        for experiment in self._tables:
            reference, others = self._rank(experiment)
            for other in others:
                yield from self._pair((experiment, reference), (experiment, other))
        for experiment in self._tables:
            method = self._rank(first)[0]
            same_runs = self._tables[experiment].keys() == self._tables[first].keys()
            if experiment == first or not same_runs or method not in self._methods(experiment):
                continue
            if (experiment in self._refit) != (first in self._refit):
                _log.warning(
                    "%s and %s: not compared, because only one of them has a head with `refit`", experiment, first
                )
            else:
                yield from self._pair((experiment, method), (first, method))

    def _methods(self, experiment: str) -> list[str]:
        table = next(iter(self._tables[experiment].values()))
        return [name for name in METHODS if name in table.correct]

    def _rank(self, experiment: str) -> tuple[str, list[str]]:
        # METHODS ends with fusion: the last one that an experiment has is what its others are held against.
        *others, reference = self._methods(experiment)
        return reference, others

    def _pair(self, first: tuple[str, str], second: tuple[str, str]) -> Iterator[Comparison]:
        names = {"experiment": first[0], "method": first[1], "other_experiment": second[0], "other_method": second[1]}
        fitted = [fitted_on(method, refit=experiment in self._refit) for experiment, method in (first, second)]
        names |= {"fitted_on": fitted[0], "other_fitted_on": fitted[1]}
        by_split: dict[int, list[tuple[NDArray[np.float64], _Table]]] = {}
        for (split, seed), own in self._tables[first[0]].items():
            table, other = self._share(own, self._tables[second[0]][split, seed], names=(first[0], second[0]))
            mine, theirs = table.correct[first[1]], other.correct[second[1]]
            wins, losses = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
            by_split.setdefault(split, []).append((mine.astype(float) - theirs.astype(float), table))
            yield Comparison(
                **names,
                split=str(split),
                seed=str(seed),
                n=len(mine),
                num_groups=len(set(table.groups)),
                difference=(wins - losses) / len(mine),
                low=None,
                high=None,
                only_first=wins,
                only_second=losses,
                mcnemar_p=mcnemar_p(wins, losses),
            )
        interval, n, num_groups = self._bootstrap(by_split)
        yield Comparison(
            **names,
            split="all",
            seed="all",
            n=n,
            num_groups=num_groups,
            difference=interval.value,
            low=interval.low,
            high=interval.high,
            only_first=None,
            only_second=None,
            mcnemar_p=None,
        )

    def _share(self, first: _Table, second: _Table, *, names: tuple[str, str]) -> tuple[_Table, _Table]:
        # Where rejected videos are left out, one experiment may have rejected what another has features of.
        if first.video_ids == second.video_ids:
            return first, second
        shared = set(first.video_ids) & set(second.video_ids)
        if not self._leave_out or not shared:
            raise DatasetError(
                f"{names[0]} and {names[1]}: expected the same test videos, found {len(shared)} of "
                f"{len(first.video_ids)} and {len(second.video_ids)} in both; run the older one again"
            )
        return first.take(shared), second.take(shared)

    def _bootstrap(
        self, by_split: Mapping[int, Sequence[tuple[NDArray[np.float64], _Table]]]
    ) -> tuple[Interval, int, int]:
        # A video's differences are averaged over seeds first: the seeds of a split are tested on the same videos.
        differences = [np.mean([values for values, _ in runs], axis=0) for runs in by_split.values()]
        groups = [runs[0][1].groups for runs in by_split.values()]
        sums = sum_by_group(differences, groups=groups, all_groups=self._groups)
        num_groups = len({group for names in groups for group in names})
        return bootstrap(sums, weights=self._weights), sum(map(len, differences)), num_groups

    def gains(self) -> Iterator[tuple[object, ...]]:
        """Yield the accuracy of fusion and of each stream in each class, over all splits and seeds, and the gain.

        After it the number of groups of the class and the 95 % interval of the gain over them, None for one group.
        """
        for experiment, runs in self._tables.items():
            streams = [name for name in _STREAMS if name in self._methods(experiment)]
            if "fusion" not in self._methods(experiment):
                continue
            names = np.array([name for table in runs.values() for name in table.class_names])
            groups = np.array([name for table in runs.values() for name in table.groups])
            for class_name in sorted(set(names.tolist())):
                own = names == class_name
                fusion = self._correct(experiment, "fusion")[own].astype(float)
                for stream in streams:
                    accuracy = self._correct(experiment, stream)[own].astype(float)
                    gain, *interval = self._bound(fusion - accuracy, groups=groups[own].tolist())
                    yield (
                        *(experiment, class_name, int(own.sum()), float(fusion.mean()), stream, float(accuracy.mean())),
                        *(gain, *interval),
                    )

    def _bound(
        self, differences: NDArray[np.float64], *, groups: Sequence[str]
    ) -> tuple[float, int, float | None, float | None]:
        # A group keeps its videos of every split and seed together, so that these are not taken for independent.
        own = sorted(set(groups))
        if len(own) < 2:
            return float(differences.mean()), len(own), None, None
        if len(own) not in self._class_weights:
            self._class_weights[len(own)] = draw_weights(len(own))
        sums = sum_by_group([differences], groups=[groups], all_groups=own)
        interval = bootstrap(sums, weights=self._class_weights[len(own)])
        return interval.value, len(own), interval.low, interval.high

    def _correct(self, experiment: str, method: str) -> NDArray[np.bool_]:
        return np.concatenate([table.correct[method] for table in self._tables[experiment].values()])


def _read_predictions(path: Path, *, groups: Mapping[str, str], leave_out: bool) -> _Table:
    try:
        rows = [row for row in read_tsv(path) if not leave_out or row["status"] == "ok"]
        methods = [name for name in METHODS if rows and name in rows[0]]
        return _Table(
            video_ids=tuple(row["video_id"] for row in rows),
            class_names=tuple(row["class_name"] for row in rows),
            groups=tuple(groups[row["video_id"]] for row in rows),
            correct={name: np.array([row[name] == row["class_name"] for row in rows]) for name in methods},
        )
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{path}: expected the predictions of a run ({error}); delete it and run again") from None


def read_comparisons(path: Path) -> list[dict[str, str]]:
    """Return the rows over all splits and seeds of `comparisons.tsv`, as text by column.

    Raises:
        DatasetError: The file is missing or no such table.
    """
    return [row for row in read_rows(path, columns=("split", "difference")) if row["split"] == "all"]


def read_rows(path: Path, *, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return every row of a table that the workflow wrote, as text by column.

    Raises:
        DatasetError: The file is missing or lacks one of `columns`.
    """
    try:
        return read_tsv(path, columns=columns)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: expected a table of the workflow ({error}); run the workflow again") from None


def format_comparisons(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the rows as an aligned table of plain text, in points of top-1."""
    lines = [("this", "against", "points", "95 % over groups", "groups")]
    for row in rows:
        low, high = (f"{100 * float(row[name]):+.1f}" for name in ("low", "high"))
        this, other = (
            f"{row[f'{prefix}experiment']} {row[f'{prefix}method'].replace('_', '-')}" for prefix in ("", "other_")
        )
        lines.append((this, other, f"{100 * float(row['difference']):+.1f}", f"{low} to {high}", row["num_groups"]))
    return "\n".join(align_columns(lines, left={0, 1}))
