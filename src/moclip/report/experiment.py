"""The section of the report about one experiment: gains, classes, confusion, reliability and learning curves.

`draw_` functions return the figures, `describe_` functions the rest of a section as plain data.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moclip.config.methods import METHODS
from moclip.errors import DatasetError
from moclip.evaluation.comparisons import read_rows
from moclip.report.confusion import heatmap_panel
from moclip.report.figures import Figure, Panel, write_svg
from moclip.report.pages import label_of, percent, phrase_of
from moclip.report.plots import Row, Series, classes_panel, curves_panel, reliability_panel, rows_panel

_NUM_ENDS = 10

_MAX_BARS = 2 * _NUM_ENDS + 4

# In the order in which marks are drawn: fusion, drawn last, is on top. The rest would crowd a row.
_SHOWN_BY_CLASS = ("zero_shot", "motion", "appearance", "fusion")

_MAX_PAIRS = 20

_MAX_EPOCHS = 6

_EPOCH_COLUMNS = ("epoch", "train_loss", "val_loss", "train_top_1", "val_top_1", "chosen")

Entry = Mapping[str, str]

History = Sequence[Mapping[str, str]]

Metrics = Sequence[Mapping[str, Any]]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """The predictions of a method over all runs: counts (K, K), true by predicted, and videos of each class (K,)."""

    confusion: NDArray[np.int64]
    totals: NDArray[np.int64]

    def accuracy(self) -> Floats:
        """Return the accuracy of each class, (K,), nan where there is no video."""
        result = np.full(len(self.totals), np.nan)
        np.divide(np.diag(self.confusion), self.totals, out=result, where=self.totals > 0)
        return result


def _count_classes(metrics: Metrics) -> dict[str, _Counts]:
    methods = metrics[0]["methods"]
    shown = [method for method in _SHOWN_BY_CLASS if method in methods] or list(methods)
    counts = {}
    for method in shown:
        own = [document["methods"][method] for document in metrics]
        confusion = np.sum([entry["confusion"] for entry in own], axis=0).astype(np.int64)
        missing = np.sum([entry["rejected_per_class"] for entry in own], axis=0).astype(np.int64)
        counts[method] = _Counts(confusion=confusion, totals=confusion.sum(axis=1) + missing)
    return counts


def _confused(counts: Mapping[str, _Counts]) -> str:
    return "fusion" if "fusion" in counts else list(counts)[-1]


@dataclass(frozen=True, kw_only=True)
class _Bins:
    """Bins of confidence over all runs of a method: count, mean confidence and accuracy, each (bins,), and the ECE."""

    count: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats
    ece: float

    def gap(self) -> float:
        """Return confidence less accuracy over all videos: above 0 the method is overconfident."""
        return float(np.average(self.confidence - self.accuracy, weights=self.count))


def _pool_bins(metrics: Metrics) -> dict[str, _Bins]:
    pooled = {}
    for method in (name for name in METHODS if name in metrics[0]["methods"]):
        runs = [document["methods"][method]["reliability"] for document in metrics]
        counts = np.array([run["count"] for run in runs], np.int64)
        total = counts.sum(axis=0)
        means = {
            name: (counts * np.array([run[name] for run in runs], np.float64)).sum(axis=0) / np.maximum(total, 1)
            for name in ("confidence", "accuracy")
        }
        ece = float(np.mean([document["methods"][method]["ece"] for document in metrics]))
        pooled[method] = _Bins(count=total, ece=ece, **means)
    return pooled


def draw_experiment(
    name: str, *, metrics: Metrics, histories: Sequence[History], gains: Sequence[Entry]
) -> list[Figure]:
    """Return gains, classes, confusion, reliability and learning curves of an experiment."""
    classes, counts, bins = metrics[0]["class_names"], _count_classes(metrics), _pool_bins(metrics)
    present = [index for index in _sort_classes(counts) if next(iter(counts.values())).totals[index]]
    accuracy = {method: own.accuracy()[present] for method, own in counts.items()}
    confused = _confused(counts)
    matrix = heatmap_panel(
        counts[confused].confusion,
        totals=counts[confused].totals,
        names=classes,
        title=f"Confusion matrix of {phrase_of(confused)}",
    )
    reliability = [
        reliability_panel(
            own.count, confidence=own.confidence, accuracy=own.accuracy, method=method, note=f"ECE {percent(own.ece)}"
        )
        for method, own in bins.items()
    ]
    by_class = classes_panel(accuracy, names=[classes[index] for index in present], title="Accuracy of each class")
    panels = {
        "gains": list(_draw_gains([row for row in gains if row["experiment"] == name])),
        "classes": [by_class],
        "confusion": [matrix],
        "reliability": reliability,
        "heads": _draw_curves(_by_head(histories)),
    }
    return [Figure(name=f"{kind}-{name}", title=f"{kind} of {name}", panels=own) for kind, own in panels.items()]


def _by_head(histories: Sequence[History]) -> dict[str, list[History]]:
    by_head: dict[str, list[History]] = {}
    for history in histories:
        for head in dict.fromkeys(row["head"] for row in history):
            by_head.setdefault(head, []).append([row for row in history if row["head"] == head])
    return by_head


def draw_network(variant: str, *, histories: Sequence[History]) -> Figure:
    """Return the learning curves of the networks of a variant."""
    name = f"network-{variant}"
    return Figure(name=name, title=f"Motion network {variant}", panels=_draw_curves({"motion": histories}))


def _draw_curves(histories: Mapping[str, Sequence[History]]) -> list[Panel]:
    """Return charts of loss and top-1 over epochs, a line for each name (the mean of its runs) with its range.

    `histories` maps a method, whose color it takes, to the rows of each run: `epoch` and any of `train_loss`,
    `val_loss`, `train_top_1`, `val_top_1`; a column that is absent or empty is not drawn.
    """
    drawn = [
        (list(_list_series(histories, measure=measure)), title, is_share)
        for measure, title, is_share in (("loss", "Loss", False), ("top_1", "Top-1 accuracy", True))
    ]
    return [curves_panel(series, title=title, is_share=is_share) for series, title, is_share in drawn if series]


def _list_series(histories: Mapping[str, Sequence[History]], *, measure: str) -> Iterator[Series]:
    for name, runs in histories.items():
        for subset, word in (("train", "training"), ("val", "validation")):
            values = np.full((len(runs), max((len(run) for run in runs), default=0)), np.nan)
            for index, run in enumerate(runs):
                values[index, : len(run)] = [float(row.get(f"{subset}_{measure}") or "nan") for row in run]
            if np.isfinite(values).any():
                masked = np.ma.masked_invalid(values)
                bounds = (np.ma.filled(part, np.nan) for part in (masked.mean(0), masked.min(0), masked.max(0)))
                middle, low, high = map(np.asarray, bounds)
                label = f"{label_of(name)}, {word}"
                yield Series(name=label, method=name, values=middle, low=low, high=high, is_dashed=subset == "train")


def describe_experiment(
    name: str, *, metrics: Metrics, histories: Sequence[History], gains: Sequence[Entry]
) -> dict[str, Any]:
    """Return the tables of an experiment from the metrics and head histories of its runs, and the gains by class."""
    names, counts = metrics[0]["class_names"], _count_classes(metrics)
    own = [row for row in gains if row["experiment"] == name]
    return {
        "name": name,
        "runs": "one run" if len(metrics) == 1 else f"{len(metrics)} runs, test videos pooled",
        "gains": _describe_gains(own),
        "classes": _describe_classes(counts, names=names),
        "confused": _confused(counts),
        "pairs": _describe_pairs(counts[_confused(counts)], names=names),
        "reliability": [_describe_bins(method, bins=bins) for method, bins in _pool_bins(metrics).items()],
        "kept": "; ".join(_list_kept(_by_head(histories))),
    }


def _better_stream(accuracy: Mapping[str, Floats]) -> Floats | None:
    streams = [accuracy[method] for method in ("motion", "appearance") if method in accuracy]
    return accuracy["fusion"] - np.fmax.reduce(streams) if "fusion" in accuracy and streams else None


def _sort_classes(counts: Mapping[str, _Counts]) -> list[int]:
    gain = _better_stream({method: entry.accuracy() for method, entry in counts.items()})
    number = len(next(iter(counts.values())).totals)
    return sorted(range(number), key=lambda index: 0.0 if gain is None else -float(gain[index]))


def _describe_classes(counts: Mapping[str, _Counts], *, names: Sequence[str]) -> dict[str, Any]:
    accuracy = {method: entry.accuracy() for method, entry in counts.items()}
    totals, gain = next(iter(counts.values())).totals, _better_stream(accuracy)
    shown = [index for index in _sort_classes(counts) if totals[index]]
    return {
        "methods": list(accuracy),
        "has_gain": gain is not None,
        "absent": len(names) - len(shown),
        "rows": [
            {
                "name": names[index],
                "total": int(totals[index]),
                "accuracy": {method: float(values[index]) for method, values in accuracy.items()},
                "gain": 0.0 if gain is None else 100 * float(gain[index]),
            }
            for index in shown
        ],
    }


def _describe_pairs(entry: _Counts, *, names: Sequence[str]) -> list[tuple[str, str, int, int]]:
    wrong = entry.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MAX_PAIRS]
    pairs = [divmod(int(cell), len(names)) for cell in order if wrong.flat[cell]]
    return [(names[true], names[said], int(wrong[true, said]), int(entry.totals[true])) for true, said in pairs]


def _list_kept(by_head: Mapping[str, Sequence[History]]) -> Iterator[str]:
    for head, histories in by_head.items():
        kept = sorted(int(row["epoch"]) for history in histories for row in history if row.get("chosen") == "1")
        if kept:
            shown = ", ".join(map(str, kept)) if len(kept) <= _MAX_EPOCHS else f"{kept[0]} to {kept[-1]}"
            yield f"{phrase_of(head)} {shown}"


def _describe_bins(method: str, *, bins: _Bins) -> dict[str, Any]:
    number = len(bins.count)
    rows = [
        {
            "name": f"{100 * b / number:.0f} to {100 * (b + 1) / number:.0f} %",
            "count": int(bins.count[b]),
            "confidence": float(bins.confidence[b]),
            "accuracy": float(bins.accuracy[b]),
        }
        for b in np.flatnonzero(bins.count)
    ]
    return {"method": method, "ece": bins.ece, "gap": bins.gap(), "rows": rows}


def _gain_row(row: Entry) -> Row:
    low, high = (100 * float(row[name]) if row.get(name) else None for name in ("low", "high"))
    value = 100 * float(row["gain"])
    words = (
        f"{row['class_name']}: fusion {100 * float(row['fusion']):.1f} %, {phrase_of(row['stream'])} "
        f"{100 * float(row['accuracy']):.1f} %, {row['num_tests']} tests"
    )
    verdict = "loss" if value < 0 else "gain"
    return Row(name=row["class_name"], value=value, low=low, high=high, verdict=verdict, label=words)


def _draw_gains(rows: Sequence[Entry]) -> Iterator[Panel]:
    for stream in dict.fromkeys(row["stream"] for row in rows):
        own = (_gain_row(row) for row in rows if row["stream"] == stream)
        drawn = sorted(own, key=lambda row: (-row.value, row.name))
        title = f"Fusion less {phrase_of(stream)}"
        parts = {"": drawn}
        if len(drawn) > _MAX_BARS:
            parts = {", largest gains": drawn[:_NUM_ENDS], ", smallest gains": drawn[-_NUM_ENDS:]}
        for words, part in parts.items():
            yield rows_panel(part, title=title + words, axis="gain, points of accuracy", bars=True)


def _describe_gains(rows: Sequence[Entry]) -> dict[str, Any] | None:
    streams = list(dict.fromkeys(row["stream"] for row in rows))
    if not streams:
        return None
    by_class: dict[str, list[Entry]] = {}
    for row in rows:
        by_class.setdefault(row["class_name"], []).append(row)
    lines = [
        {
            "name": name,
            "tests": int(own[0]["num_tests"]),
            "groups": int(own[0]["num_groups"]),
            "fusion": float(own[0]["fusion"]),
            "streams": [(float(row["accuracy"]), _gain_row(row)) for row in own],
        }
        for name, own in by_class.items()
    ]
    return {"streams": streams, "rows": lines, "is_short": len(lines) > _MAX_BARS, "ends": _NUM_ENDS}


def write_network_curve(path: Path, *, history: Path, title: str) -> None:
    """Write the learning curve of a `history.tsv` as an SVG document: training dashed, validation whole.

    Raises:
        DatasetError: The history is missing or is none.
    """
    try:
        rows = read_rows(history, columns=_EPOCH_COLUMNS)
        kept = next(row["epoch"] for row in rows if row["chosen"] == "1")
        panels = draw_network(title, histories=[rows]).panels
    except (DatasetError, StopIteration, ValueError) as error:
        raise DatasetError(
            f"{history}: expected the history of a motion network ({error!r}); run again, which makes it again",
            damaged=history,
        ) from None
    write_svg(path, figure=Figure(name="curve", title=f"{title}, epoch {kept} kept", panels=panels))
