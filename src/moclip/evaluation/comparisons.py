"""Write and read the tables of comparisons: comparisons.tsv and class_gains.tsv."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moclip.config.methods import METHODS, fitted_on
from moclip.core.files import read_tsv, write_tsv
from moclip.dataset.manifest_table import read_table
from moclip.errors import DatasetError
from moclip.evaluation.predictions import RunFile, RunPredictions, bound_over_seeds, read_predictions
from moclip.evaluation.statistics import MIN_GROUPS, Floats, group_interval, mcnemar_p
from moclip.evaluation.summary import align_columns

_log = logging.getLogger(__name__)

_NUM_DIGITS = 8

_STREAMS = ("motion", "motion_head", "appearance")


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


def write_contests(
    comparisons: Path,
    *,
    gains: Path,
    predictions: Sequence[RunFile],
    manifest: Path,
    rejected_test_videos: str,
    are_folds: bool = False,
    refit: Collection[str] = (),
) -> None:
    """Write what each experiment's best-informed method gains over the others, in all and class by class.

    `refit` names the experiments whose heads are fitted on train and val together.

    Raises:
        DatasetError: Predictions are missing or no such table.
    """
    groups = dict(read_table(manifest).rows("video_id", "group"))
    leave_out = rejected_test_videos == "leave_out"
    runs = _Runs(predictions, groups=groups, leave_out=leave_out, are_folds=are_folds, refit=refit)
    columns = [field.name for field in fields(Comparison)]
    write_tsv(comparisons, header=columns, rows=map(astuple, runs.compare()), num_digits=_NUM_DIGITS)
    header = ["experiment", "class_name", "num_tests", "fusion", "stream", "accuracy", "gain"]
    header += ["num_groups", "low", "high"]
    write_tsv(gains, header=header, rows=runs.gains(), num_digits=_NUM_DIGITS)


class _Runs:
    """All runs, by experiment, split and seed, and the comparisons between them."""

    def __init__(
        self,
        runs: Sequence[RunFile],
        *,
        groups: Mapping[str, str],
        leave_out: bool,
        are_folds: bool,
        refit: Collection[str],
    ) -> None:
        self._tables: dict[str, dict[tuple[int, int], RunPredictions]] = {}
        self._leave_out, self._are_folds, self._refit = leave_out, are_folds, refit
        for run in runs:
            table = read_predictions(run.path, groups=groups, leave_out=leave_out)
            self._tables.setdefault(run.experiment, {})[run.split, run.seed] = table

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
        by_split: dict[int, list[tuple[Floats, Sequence[str]]]] = {}
        for (split, seed), own in self._tables[first[0]].items():
            table, other = self._share(own, self._tables[second[0]][split, seed], names=(first[0], second[0]))
            mine, theirs = table.correct[first[1]], other.correct[second[1]]
            wins, losses = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
            by_split.setdefault(split, []).append((mine.astype(float) - theirs.astype(float), table.groups))
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
        interval = bound_over_seeds(by_split, is_difference=True, are_folds=self._are_folds)
        yield Comparison(
            **names,
            split="all",
            seed="all",
            n=sum(len(runs[0][0]) for runs in by_split.values()),
            num_groups=interval.num_groups,
            difference=interval.value,
            low=interval.low,
            high=interval.high,
            only_first=None,
            only_second=None,
            mcnemar_p=None,
        )

    def _share(
        self, first: RunPredictions, second: RunPredictions, *, names: tuple[str, str]
    ) -> tuple[RunPredictions, RunPredictions]:
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

    def gains(self) -> Iterator[tuple[object, ...]]:
        """Yield the accuracy of fusion and of each stream in each class, over all splits and seeds, and the gain.

        After it the number of groups of the class and the 95 % interval of the gain over them, None below 10 groups.
        """
        for experiment, runs in self._tables.items():
            streams = [name for name in _STREAMS if name in self._methods(experiment)]
            if "fusion" not in self._methods(experiment):
                continue
            tables = list({split: table for (split, _), table in runs.items()}.values())
            names = np.array([name for table in tables for name in table.class_names])
            groups = np.array([name for table in tables for name in table.groups])
            num_seeds = len(runs) // len(tables)
            right = {method: self._mean_over_seeds(experiment, method) for method in ("fusion", *streams)}
            for class_name in sorted(set(names.tolist())):
                own = names == class_name
                for stream in streams:
                    fusion, alone = right["fusion"][own], right[stream][own]
                    # A group counts once with its videos of every split, which are not independent.
                    gain = group_interval([fusion - alone], groups=[groups[own].tolist()], is_difference=True)
                    yield (
                        *(experiment, class_name, int(own.sum()) * num_seeds, float(fusion.mean()), stream),
                        *(float(alone.mean()), gain.value, gain.num_groups, gain.low, gain.high),
                    )

    def _mean_over_seeds(self, experiment: str, method: str) -> Floats:
        # Of the test videos of each split in turn: the share of seeds that got the video right.
        by_split: dict[int, list[NDArray[np.bool_]]] = {}
        for (split, _), table in self._tables[experiment].items():
            by_split.setdefault(split, []).append(table.correct[method])
        return np.concatenate([np.mean(seeds, axis=0) for seeds in by_split.values()])


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
    """Return the rows as an aligned table of plain text, in points of top-1, at most 100 columns wide."""
    lines: list[tuple[str, ...]] = [("difference in top-1", "points", "95 % over groups", "groups")]
    heading = ""
    for row in rows:
        this, other = (row[f"{prefix}method"].replace("_", "-") for prefix in ("", "other_"))
        within = row["experiment"] == row["other_experiment"]
        above = f"{row['experiment']}: {this} against" if within else f"against {other} of {row['other_experiment']}:"
        if above != heading:
            heading = above
            lines.append((heading, "", "", ""))
        name = other if within else f"{this} of {row['experiment']}"
        points = f"{100 * float(row['difference']):+.1f}"
        lines.append((f"  {name}", points, _format_bounds(row), row["num_groups"]))
    table = align_columns(lines, left={0})
    if any(not row["low"] for row in rows):
        table.append(f"no interval: fewer than {MIN_GROUPS} groups of test videos")
    return "\n".join(table)


def _format_bounds(row: Mapping[str, str]) -> str:
    return f"{100 * float(row['low']):+.1f} to {100 * float(row['high']):+.1f}" if row["low"] else "none"
