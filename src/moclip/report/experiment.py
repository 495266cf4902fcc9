"""The section of the report about one experiment: classes, confusions, learning curves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moclip.report.charts import Mark, Series, heatmap, line_chart, line_key, strip
from moclip.report.pages import PERCENT_AXIS, SHAPE_OF, build_key, build_table, label_of, percent, phrase_of
from moclip.report.sections import build_gains, build_reliability

# In the order in which marks are drawn: fusion, drawn last, is on top. The rest would crowd a row.
_SHOWN_BY_CLASS = ("zero_shot", "motion", "appearance", "fusion")

_MAX_PAIRS = 10

_MAX_EPOCHS = 6

Floats = NDArray[np.float64]

History = Sequence[Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """What one method said over all runs: counts (K, K), true by predicted, and videos of each class (K,)."""

    confusion: NDArray[np.int64]
    totals: NDArray[np.int64]

    def accuracy(self) -> Floats:
        """Return the accuracy of each class, (K,), nan where there is no video."""
        result = np.full(len(self.totals), np.nan)
        np.divide(np.diag(self.confusion), self.totals, out=result, where=self.totals > 0)
        return result


def build_experiment(
    name: str,
    *,
    metrics: Sequence[Mapping[str, Any]],
    histories: Sequence[History],
    gains: Sequence[Mapping[str, str]],
    is_open: bool,
) -> str:
    """Return the section of one experiment from the metrics and head histories of its runs, and its class gains."""
    names = metrics[0]["class_names"]
    methods = metrics[0]["methods"]
    shown = [method for method in _SHOWN_BY_CLASS if method in methods] or list(methods)
    counts = {method: _pool(metrics, method=method) for method in shown}
    runs = "one run" if len(metrics) == 1 else f"{len(metrics)} runs, test videos pooled"
    by_head: dict[str, list[History]] = {}
    for history in histories:
        for head in dict.fromkeys(row["head"] for row in history):
            by_head.setdefault(head, []).append([row for row in history if row["head"] == head])
    parts = [
        build_gains(gains),
        _build_classes(counts, names=names),
        _build_confusion(counts, names=names),
        build_reliability(metrics),
    ]
    if by_head:
        parts += ["<h3>Learning curves of the heads</h3>", build_curves(by_head, caption=_kept_epochs(by_head))]
    return (
        f'<details class="experiment"{" open" if is_open else ""}><summary>{escape(name)} '
        f'<span class="muted">({runs})</span></summary>{"".join(parts)}</details>'
    )


def _pool(metrics: Sequence[Mapping[str, Any]], *, method: str) -> _Counts:
    own = [document["methods"][method] for document in metrics]
    confusion = np.sum([entry["confusion"] for entry in own], axis=0).astype(np.int64)
    missing = np.sum([entry["rejected_per_class"] for entry in own], axis=0).astype(np.int64)
    return _Counts(confusion=confusion, totals=confusion.sum(axis=1) + missing)


def _build_classes(counts: Mapping[str, _Counts], *, names: Sequence[str]) -> str:
    accuracy = {method: entry.accuracy() for method, entry in counts.items()}
    totals = next(iter(counts.values())).totals
    streams = [accuracy[method] for method in ("motion", "appearance") if method in accuracy]
    gain = accuracy["fusion"] - np.fmax.reduce(streams) if "fusion" in accuracy and streams else None
    shown = [index for index in range(len(names)) if totals[index]]
    if gain is not None:
        shown.sort(key=lambda index: -float(gain[index]))
    lines = "".join(
        _class_row(index, name=names[index], accuracy=accuracy, gain=gain, totals=totals) for index in shown
    )
    heads = {
        "Class": "",
        "Videos": "wide",
        PERCENT_AXIS: "plot",
        **{label_of(method): "wide" for method in accuracy},
    }
    if gain is not None:
        heads["Gain"] = ""
    absent = len(names) - len(shown)
    note = f"Classes without a test video, not shown: {absent}." if absent else ""
    order = "Sorted by gain: points that fusion adds to the better of its streams. " if gain is not None else ""
    return f'<h3>Accuracy of each class</h3><p class="note">{order}{note}</p>{build_key(accuracy)}' + build_table(
        heads, lines=lines, style="dots"
    )


def _class_row(
    index: int, *, name: str, accuracy: Mapping[str, Floats], gain: Floats | None, totals: NDArray[np.int64]
) -> str:
    marks = [
        Mark(
            value=float(values[index]),
            shape=SHAPE_OF[method],
            style=method,
            label=f"{label_of(method)}: {percent(float(values[index]))}",
        )
        for method, values in accuracy.items()
    ]
    cells = "".join(f'<td class="wide">{percent(float(values[index]))}</td>' for values in accuracy.values())
    if gain is not None:
        points = 100 * float(gain[index])
        cells += f'<td class="{"loss" if points < -0.05 else "gain"}">{points:+.1f}</td>'
    return (
        f'<tr><th scope="row">{escape(name)}</th><td class="wide">{totals[index]:,}</td>'
        f'<td class="plot">{strip(marks)}</td>{cells}</tr>'
    )


def _build_confusion(counts: Mapping[str, _Counts], *, names: Sequence[str]) -> str:
    method = "fusion" if "fusion" in counts else list(counts)[-1]
    entry = counts[method]
    label = phrase_of(method)
    drawn = heatmap(entry.confusion, totals=entry.totals, names=names, title=f"Confusion matrix of {label}")
    return (
        f"<h3>Confusion of {label}</h3>"
        '<p class="note">Rows are the true class, columns the prediction, ink the share of the row in per cent.</p>'
        f'<div class="pair"><div class="scroll">{drawn}</div>{_build_pairs(entry, names=names)}</div>'
    )


def _build_pairs(entry: _Counts, *, names: Sequence[str]) -> str:
    wrong = entry.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MAX_PAIRS]
    pairs = [divmod(int(cell), len(names)) for cell in order if wrong.flat[cell]]
    if not pairs:
        return '<p class="grow muted">No test video was mistaken for another class.</p>'
    lines = [
        f'<tr><td class="wrap">{escape(names[true])}</td><td class="text wrap">{escape(names[predicted])}</td>'
        f"<td>{wrong[true, predicted]:,} of {entry.totals[true]:,}</td></tr>"
        for true, predicted in pairs
    ]
    heads = {"True class": "", "Taken for": "text", "Videos": ""}
    return f'<div class="grow">{build_table(heads, lines=lines)}</div>'


def _kept_epochs(by_head: Mapping[str, Sequence[History]]) -> str:
    words: list[str] = []
    for head, histories in by_head.items():
        kept = sorted(int(row["epoch"]) for history in histories for row in history if row.get("chosen") == "1")
        if kept:
            shown = ", ".join(map(str, kept)) if len(kept) <= _MAX_EPOCHS else f"{kept[0]} to {kept[-1]}"
            words.append(f"{phrase_of(head)} {shown}")
    return f"Epochs kept: {'; '.join(words)}." if words else ""


def build_curves(histories: Mapping[str, Sequence[History]], *, caption: str) -> str:
    """Return charts of loss and top-1 over epochs, a line for each name (the mean of its runs) with its range.

    `histories` maps a method, whose colour it takes, to the rows of each run: `epoch` and any of `train_loss`,
    `val_loss`, `train_top_1`, `val_top_1`; a column that is absent or empty is not drawn.
    """
    charts = "".join(
        _build_chart(list(_series(histories, measure=measure)), title=title, is_share=is_share)
        for measure, title, is_share in (("loss", "Loss", False), ("top_1", "Top-1 accuracy", True))
    )
    return f'<div class="charts">{charts}</div><p class="note">{escape(caption)} Bands: lowest to highest run.</p>'


def _series(histories: Mapping[str, Sequence[History]], *, measure: str) -> Iterator[Series]:
    for name, runs in histories.items():
        for subset, word in (("train", "training"), ("val", "validation")):
            values = _stack(runs, column=f"{subset}_{measure}")
            if np.isfinite(values).any():
                kept = np.isfinite(values).any(axis=0)
                length = int(np.flatnonzero(kept)[-1]) + 1
                middle, low, high = _spread_of(values[:, :length])
                label = f"{label_of(name)}, {word}"
                yield Series(name=label, style=name, values=middle, low=low, high=high, dashed=subset == "train")


def _stack(runs: Sequence[History], *, column: str) -> Floats:
    length = max((len(run) for run in runs), default=0)
    values = np.full((len(runs), length), np.nan)
    for index, run in enumerate(runs):
        values[index, : len(run)] = [float(row.get(column) or "nan") for row in run]
    return values


def _spread_of(values: Floats) -> tuple[Floats, Floats, Floats]:
    masked = np.ma.masked_invalid(values)
    middle, low, high = (np.ma.filled(part, np.nan) for part in (masked.mean(0), masked.min(0), masked.max(0)))
    return np.asarray(middle), np.asarray(low), np.asarray(high)


def _build_chart(series: Sequence[Series], *, title: str, is_share: bool) -> str:
    if not series:
        return ""
    keys = "".join(
        f'<li class="{escape(one.style)}">{line_key(one.style, dashed=one.dashed)}<span>{escape(one.name)}</span></li>'
        for one in series
    )
    drawn = line_chart(series, title=title, percent=is_share)
    return f'<figure><figcaption><b>{title}</b></figcaption><ul class="legend">{keys}</ul>{drawn}</figure>'
