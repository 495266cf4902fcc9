"""The table of all runs: mean and interval over seeds of each method of each experiment."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from moclip.config.methods import METHODS
from moclip.core.files import read_tsv, write_tsv
from moclip.errors import DatasetError
from moclip.evaluation.evaluate import read_metrics
from moclip.evaluation.statistics import student_half_width

_NUM_DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class RunMetrics:
    """One run, and the path of its metrics."""

    experiment: str
    split: int
    seed: int
    path: Path


@dataclass(frozen=True, kw_only=True)
class SummaryRow:
    """One method of one experiment on one split, or on `all`: the mean over splits, then over seeds.

    `*_std` is the sample standard deviation over seeds (on `all`, of the means over splits), `*_ci95` half of Student's
    95 % interval of their mean; None with one seed. A
    method whose metrics are the same for every seed, to the last digit, depends on none: its seeds count as one. `n`
    and `coverage` are the smallest of any run. `fitted_on` names the subsets that the method was fitted on.
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


def build_summary(runs: Sequence[RunMetrics]) -> list[SummaryRow]:
    """Return the rows of every experiment and method, experiments in the order given: each split, then `all`.

    Raises:
        DatasetError: Metrics are missing, or the runs of an experiment are no full grid of splits x seeds.
    """
    rows: list[SummaryRow] = []
    for experiment in dict.fromkeys(run.experiment for run in runs):
        for method, grid in _load_grids([run for run in runs if run.experiment == experiment]).items():
            parts: dict[str, _Grid] = {str(split): {split: seeds} for split, seeds in grid.items()}
            parts["all"] = grid
            rows += [_summarise(part, experiment=experiment, method=method, split=name) for name, part in parts.items()]
    return rows


def _load_grids(runs: Sequence[RunMetrics]) -> dict[str, _Grid]:
    documents = {(run.split, run.seed): read_metrics(run.path)["methods"] for run in runs}
    splits, seeds = (sorted(set(axis)) for axis in zip(*documents, strict=True))
    lost = [f"split {split}, seed {seed}" for split in splits for seed in seeds if (split, seed) not in documents]
    if lost:
        raise DatasetError(f"{runs[0].experiment}: expected every seed on every split, found no {lost[0]}")
    methods = {tuple(sorted(document)) for document in documents.values()}
    if len(methods) != 1:
        raise DatasetError(f"{runs[0].experiment}: expected the same methods in every run, found {sorted(methods)}")
    return {
        method: {split: {seed: documents[split, seed][method] for seed in seeds} for split in splits}
        for method in sorted(methods.pop(), key=list(METHODS).index)
    }


def _summarise(grid: _Grid, *, experiment: str, method: str, split: str) -> SummaryRow:
    first = {split: next(iter(seeds.values())) for split, seeds in grid.items()}
    if all(metrics == first[split] for split, seeds in grid.items() for metrics in seeds.values()):
        grid = {split: {0: metrics} for split, metrics in first.items()}
    runs = [metrics for seeds in grid.values() for metrics in seeds.values()]
    measures: dict[str, Any] = {}
    for name in _MEASURES:
        by_seed = [fmean(seeds[seed][name] for seeds in grid.values()) for seed in next(iter(grid.values()))]
        spread = stdev(by_seed) if len(by_seed) > 1 else None
        measures |= {name: fmean(by_seed), f"{name}_std": spread, f"{name}_ci95": student_half_width(by_seed)}
    return SummaryRow(
        experiment=experiment,
        method=method,
        split=split,
        num_splits=len(grid),
        num_seeds=len(runs) // len(grid),
        num_runs=len(runs),
        n=min(run["n"] for run in runs),
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
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: expected the summary of experiments ({error}); delete it and run again") from None


def _parse_row(row: Mapping[str, str]) -> SummaryRow:
    return SummaryRow(**{field.name: _PARSERS[field.type](row[field.name]) for field in fields(SummaryRow)})


_PARSERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    float | None: lambda cell: float(cell) if cell else None,
}


_HEADINGS = (
    *("experiment", "method", "top-1 %", "+-", "top-5 %", "+-", "class mean %", "+-"),
    *("n", "coverage %", "splits x seeds", ""),
)


def format_summary(rows: Sequence[SummaryRow]) -> str:
    """Return the rows over all splits as an aligned table of plain text."""
    lines = [_HEADINGS, *(_format_row(row) for row in rows if row.split == "all")]
    table = align_columns(lines, left={0, 1, len(_HEADINGS) - 1})
    rule = "-" * max(map(len, table))
    spread = "+-  half of the 95 % interval over seeds (Student's t); `-` with one seed, or where no seed plays a part"
    return "\n".join([table[0], rule, *table[1:], rule, spread])


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


def _format_row(row: SummaryRow) -> tuple[str, ...]:
    pairs = [
        (row.top_1, row.top_1_ci95),
        (row.top_5, row.top_5_ci95),
        (row.mean_class_accuracy, row.mean_class_accuracy_ci95),
    ]
    numbers = [
        text for mean, half in pairs for text in (f"{100 * mean:.1f}", "-" if half is None else f"{100 * half:.1f}")
    ]
    grid = f"{row.num_splits} x {row.num_seeds}"
    return (
        row.experiment,
        row.method.replace("_", "-"),
        *numbers,
        str(row.n),
        f"{100 * row.coverage:.1f}",
        grid,
        "; ".join(filter(None, [row.fitted_on and f"fitted on {row.fitted_on}", row.encoder_note])),
    )
