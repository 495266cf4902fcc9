"""The table of all runs: mean and interval over seeds of each method of each experiment."""

import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from moclip.config.methods import METHODS
from moclip.core.files import read_tsv, write_tsv
from moclip.errors import DatasetError
from moclip.evaluation.evaluate import read_metrics
from moclip.evaluation.predictions import bound_accuracy, read_predictions
from moclip.evaluation.statistics import MIN_GROUPS, Interval, student_half_width
from moclip.workflow.paths import result_path

_NUM_DIGITS = 8

# Rows of a table that the end of a run prints.
_MAX_PRINTED = 20


@dataclass(frozen=True, kw_only=True)
class RunResults:
    """One run: the path of its metrics, and that of its predictions."""

    experiment: str
    split: int
    seed: int
    metrics: Path
    predictions: Path


@dataclass(frozen=True, kw_only=True)
class SummaryRow:
    """One method of one experiment on one split, or on `all`: the mean over splits, then over seeds.

    `*_std` is the sample standard deviation over seeds (on `all`, of the means over splits), `*_ci95` half of Student's
    95 % interval of their mean; None with one seed. A method whose metrics are the same for every seed, to the last
    digit, depends on none: its seeds count as one.

    `top_1_groups_low` and `top_1_groups_high` bound the 95 % interval of top-1 over `num_groups` groups of test videos
    (see `statistics.group_interval`); None below 10 groups. `group_source` says where the groups come from. The
    interval over seeds is about training, the one over groups about the choice of test videos. `chance_majority` is the
    top-1 of the most frequent class of the training videos, `chance_uniform` that of a guess among all classes. `n` and
    `coverage` are the smallest of any run. `fitted_on` names the subsets that the method was fitted on.

    Folds share no test videos. On `all` each video of all folds counts once: means are weighted by test videos, and `n`
    is their sum.
    """

    experiment: str
    method: str
    split: str
    num_splits: int
    num_seeds: int
    num_runs: int
    top_1: float
    top_1_std: float | None
    top_1_ci95: float | None
    top_1_groups_low: float | None
    top_1_groups_high: float | None
    num_groups: int
    group_source: str = ""
    chance_majority: float
    chance_uniform: float
    top_5: float
    top_5_std: float | None
    top_5_ci95: float | None
    mean_class_accuracy: float
    mean_class_accuracy_std: float | None
    mean_class_accuracy_ci95: float | None
    ece: float
    ece_std: float | None
    ece_ci95: float | None
    n: int
    coverage: float
    encoder_note: str
    fitted_on: str


_MEASURES = ("top_1", "top_5", "mean_class_accuracy", "ece")

_Grid = Mapping[int, Mapping[int, Mapping[str, Any]]]  # split, seed: the metrics of one method


def build_summary(
    runs: Sequence[RunResults],
    *,
    groups: Mapping[str, str],
    leave_out: bool,
    are_folds: bool = False,
    group_source: str = "of one source",
) -> list[SummaryRow]:
    """Return the rows of every experiment and method, experiments in the order given: each split, then `all`.

    `groups` gives the group of every video. With `leave_out`, videos that some method has no scores of do not count.
    Splits are folds of one dataset (`dataset.splits.folds`), or repeat it with other test videos. `group_source` says
    where groups come from, as `dataset.groups.describe_groups` does.

    Raises:
        DatasetError: A file is missing, or the runs of an experiment are no full grid of splits x seeds.
    """
    rows: list[SummaryRow] = []
    for experiment in dict.fromkeys(run.experiment for run in runs):
        own = [run for run in runs if run.experiment == experiment]
        tables = [(run.split, read_predictions(run.predictions, groups=groups, leave_out=leave_out)) for run in own]
        for method, grid in _load_grids(own).items():
            parts: dict[str, _Grid] = {str(split): {split: seeds} for split, seeds in grid.items()}
            parts["all"] = grid
            for name, part in parts.items():
                interval = bound_accuracy(
                    [table for table in tables if table[0] in part], method=method, are_folds=are_folds
                )
                rows.append(
                    _summarise(
                        part,
                        experiment=experiment,
                        method=method,
                        split=name,
                        interval=interval,
                        are_folds=are_folds,
                    )
                )
    return [replace(row, group_source=group_source) for row in rows]


def _load_grids(runs: Sequence[RunResults]) -> dict[str, _Grid]:
    documents = {(run.split, run.seed): read_metrics(run.metrics) for run in runs}
    splits, seeds = (sorted(set(axis)) for axis in zip(*documents, strict=True))
    lost = [f"split {split}, seed {seed}" for split in splits for seed in seeds if (split, seed) not in documents]
    if lost:
        raise DatasetError(f"{runs[0].experiment}: expected every seed on every split, found no {lost[0]}")
    methods = {tuple(sorted(document["methods"])) for document in documents.values()}
    if len(methods) != 1:
        raise DatasetError(f"{runs[0].experiment}: expected the same methods in every run, found {sorted(methods)}")

    def measured(method: str, *, split: int, seed: int) -> Mapping[str, Any]:
        document = documents[split, seed]
        chance = {f"chance_{name}": document["chance"][name] for name in ("majority", "uniform")}
        return {**document["methods"][method], **chance}

    return {
        method: {split: {seed: measured(method, split=split, seed=seed) for seed in seeds} for split in splits}
        for method in sorted(methods.pop(), key=list(METHODS).index)
    }


def _summarise(
    grid: _Grid, *, experiment: str, method: str, split: str, interval: Interval, are_folds: bool
) -> SummaryRow:
    first = {split: next(iter(seeds.values())) for split, seeds in grid.items()}
    if all(metrics == first[split] for split, seeds in grid.items() for metrics in seeds.values()):
        grid = {split: {0: metrics} for split, metrics in first.items()}
    runs = [metrics for seeds in grid.values() for metrics in seeds.values()]
    measures: dict[str, Any] = {}
    tested = [min(run["n"] for run in seeds.values()) for seeds in grid.values()]
    weights = tested if are_folds and all(tested) else [1] * len(grid)
    for name in _MEASURES:
        by_seed = [
            fmean([seeds[seed][name] for seeds in grid.values()], weights=weights) for seed in next(iter(grid.values()))
        ]
        spread = stdev(by_seed) if len(by_seed) > 1 else None
        measures |= {name: fmean(by_seed), f"{name}_std": spread, f"{name}_ci95": student_half_width(by_seed)}
    return SummaryRow(
        experiment=experiment,
        method=method,
        split=split,
        num_splits=len(grid),
        num_seeds=len(runs) // len(grid),
        num_runs=len(runs),
        top_1_groups_low=interval.low,
        top_1_groups_high=interval.high,
        num_groups=interval.num_groups,
        chance_majority=fmean(run["chance_majority"] for run in first.values()),
        chance_uniform=fmean(run["chance_uniform"] for run in first.values()),
        n=sum(tested) if are_folds else min(tested),
        coverage=min(run["coverage"] for run in runs),
        encoder_note="; ".join(dict.fromkeys(run["encoder_note"] for run in runs if run["encoder_note"])),
        fitted_on=runs[0]["fitted_on"],
        **measures,
    )


def write_summary(path: Path, *, rows: Sequence[SummaryRow]) -> None:
    """Write the rows as a table; a spread that does not exist is an empty cell."""
    header = [field.name for field in fields(SummaryRow)]
    write_tsv(path, header=header, rows=map(astuple, rows), num_digits=_NUM_DIGITS)


def read_summary(path: Path) -> list[SummaryRow]:
    """Return what `write_summary` wrote.

    Raises:
        DatasetError: The file is missing or no such table.
    """
    try:
        return [_parse_row(row) for row in read_tsv(path)]
    except FileNotFoundError:
        raise DatasetError(
            f"{path}: expected the summary of experiments, found no such file; name the results of a dataset, such as "
            f"{_nearest_results(path.parent)}, or run the workflow"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: expected the summary of experiments ({error}); run again", damaged=path) from None


def _parse_row(row: Mapping[str, str]) -> SummaryRow:
    return SummaryRow(**{field.name: _PARSERS[field.type](row[field.name]) for field in fields(SummaryRow)})


_PARSERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    float | None: lambda cell: float(cell) if cell else None,
}


_HEADINGS = ("top-1 %", "+- seeds", "95 % groups", "groups", "class %", "top-5 %", "n", "runs", "")

_LEGEND = {
    "+- seeds": "half of the 95 % interval of top-1 over seeds; `-` with one seed, or where no seed plays a part",
    "95 % groups": f"interval of top-1 over groups of test videos; none below {MIN_GROUPS} groups",
    "class %": "mean of the top-1 of each class",
    "n, runs": "test videos, the smallest number of any run; splits x seeds",
}

_WIDTH = 100

# With fewer classes, top-5 says little: most videos have their class among the best five.
_MIN_CLASSES_OF_TOP_5 = 6


def _nearest_results(folder: Path) -> str:
    # Of the folders with results next to the named one, or in the working directory.
    found = [path.parent for root in (folder.parent, Path("results")) for path in sorted(root.glob("*/summary.tsv"))]
    names = [path.name for path in found]
    near = get_close_matches(folder.name, names, n=1, cutoff=0.0)
    return str(found[names.index(near[0])]) if near else "results/demo"


def describe_results(results: Path) -> str:
    """Return the places of the table and the report of a dataset, below the table itself if it is short."""
    summary, report = (result_path(results, name, name) for name in ("summary", "report"))
    rows = read_summary(summary)
    table = f"{format_summary(rows)}\n\n" if sum(row.split == "all" for row in rows) <= _MAX_PRINTED else ""
    return f"\n{table}table: {summary}\nreport: {report}\n"


def format_summary(rows: Sequence[SummaryRow]) -> str:
    """Return the rows over all splits as an aligned table of plain text, at most 100 columns wide."""
    shown = [row for row in rows if row.split == "all"]
    if len({row.fitted_on for row in shown} - {""}) == 1:
        shown = [replace(row, fitted_on="") for row in shown]  # nothing to tell apart
    notes = {note: f"[{number}]" for number, note in enumerate(dict.fromkeys(filter(None, map(_note_of, shown))), 1)}
    has_top_5 = any(row.chance_uniform * _MIN_CLASSES_OF_TOP_5 < 1 + 1e-6 for row in shown)
    lines: list[tuple[str, ...]] = [("method", *_HEADINGS)]
    lines += [(f"  {row.method.replace('_', '-')}", *_format_row(row, notes=notes)) for row in shown]
    if not has_top_5:
        place = 1 + _HEADINGS.index("top-5 %")
        lines = [(*line[:place], *line[place + 1 :]) for line in lines]
    header, *table = align_columns(lines, left={0, len(lines[0]) - 1})
    width = max(len(header), *map(len, table))
    text = [header, "-" * width]
    for experiment in dict.fromkeys(row.experiment for row in shown):
        own = [line for row, line in zip(shown, table, strict=True) if row.experiment == experiment]
        text += [experiment, *own, _format_chance(next(row for row in shown if row.experiment == experiment))]
    text.append("-" * width)
    legend = {**_LEGEND, "groups": "; ".join(dict.fromkeys(row.group_source for row in shown))}
    for word, meaning in {**legend, **{mark: note for note, mark in notes.items()}}.items():
        text += textwrap.wrap(f"{word:11}  {meaning}", width=_WIDTH, subsequent_indent=13 * " ")
    return "\n".join(text)


def _format_chance(row: SummaryRow) -> str:
    majority, uniform = f"{100 * row.chance_majority:.1f} %", f"{100 * row.chance_uniform:.1f} %"
    return f"  chance: {majority} (the most frequent class of training for every test video), {uniform} (a guess)"


def _note_of(row: SummaryRow) -> str:
    lost = f"scores of {100 * row.coverage:.1f} % of the test videos" if row.coverage < 1 else ""
    fitted = f"fitted on {row.fitted_on}" if row.fitted_on else ""
    return "; ".join(filter(None, (row.encoder_note, fitted, lost)))


def align_columns(lines: Sequence[Sequence[str]], *, left: Collection[int]) -> list[str]:
    """Return lines of cells as text in columns; the columns in `left` are aligned left, the others right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _format_row(row: SummaryRow, *, notes: Mapping[str, str]) -> tuple[str, ...]:
    low, high = row.top_1_groups_low, row.top_1_groups_high
    return (
        f"{100 * row.top_1:.1f}",
        "-" if row.top_1_ci95 is None else f"{100 * row.top_1_ci95:.1f}",
        "none" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}",
        str(row.num_groups),
        f"{100 * row.mean_class_accuracy:.1f}",
        f"{100 * row.top_5:.1f}",
        str(row.n),
        f"{row.num_splits} x {row.num_seeds}",
        notes.get(_note_of(row), ""),
    )
