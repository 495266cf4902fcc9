"""The part of the report about calibration: whether a method that says 80 % is right in 80 of 100 videos. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moclip.methods import METHODS
from moclip.page import build_table, percent
from moclip.plots import draw_reliability
from moclip.report_marks import label_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Bins:
    """Bins of confidence over all runs of a method: count, mean confidence and accuracy, each (bins,)."""

    count: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats

    def gap(self) -> float:
        """Return confidence less accuracy over all videos: above 0 the method trusts itself too much."""
        return float(np.average(self.confidence - self.accuracy, weights=self.count))


def build_reliability(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Return the calibration of each method of an experiment from the metrics of its runs, videos pooled."""
    pooled = {name: _pool(metrics, method=name) for name in METHODS if name in metrics[0]["methods"]}
    eces = {name: float(np.mean([document["methods"][name]["ece"] for document in metrics])) for name in pooled}
    figures = "".join(_build_figure(name, bins=bins, ece=eces[name]) for name, bins in pooled.items())
    return (
        "<h3>Calibration</h3>"
        '<p class="note">How to read it: a dot on the dashed line is a bin of confidence in which the method is as '
        "often right as it says; below the line it is too sure of itself, above it not sure enough. The bars below "
        "(and the size of a dot) show how many test videos fall into each bin. ECE is the mean distance from the line, "
        f'over runs.</p><div class="cells">{figures}</div>'
        f"<details><summary>The numbers</summary>{_build_table(pooled, eces=eces)}</details>"
    )


def _pool(metrics: Sequence[Mapping[str, Any]], *, method: str) -> _Bins:
    runs = [document["methods"][method]["reliability"] for document in metrics]
    counts = np.array([run["count"] for run in runs], np.int64)
    total = counts.sum(axis=0)
    divisor = np.maximum(total, 1)
    means = {
        name: (counts * np.array([run[name] for run in runs], np.float64)).sum(axis=0) / divisor
        for name in ("confidence", "accuracy")
    }
    return _Bins(count=total, confidence=means["confidence"], accuracy=means["accuracy"])


def _build_figure(method: str, *, bins: _Bins, ece: float) -> str:
    title = f"Reliability of {label_of(method)}"
    drawn = draw_reliability(bins.count, confidence=bins.confidence, accuracy=bins.accuracy, style=method, title=title)
    caption = f"<b>{escape(label_of(method))}</b> ECE {percent(ece)}"
    return f"<figure><figcaption>{caption}</figcaption>{drawn}</figure>"


def _build_table(pooled: Mapping[str, _Bins], *, eces: Mapping[str, float]) -> str:
    lines: list[str] = []
    for method, bins in pooled.items():
        leaning = "too sure" if bins.gap() > 0 else "not sure enough"
        lines.append(
            f'<tr class="group"><th colspan="4" scope="rowgroup">{escape(label_of(method))}: ECE '
            f"{percent(eces[method])}, {leaning} by {100 * abs(bins.gap()):.1f} points</th></tr>"
        )
        lines += [
            f'<tr><th scope="row">{100 * b / len(bins.count):.0f} to {100 * (b + 1) / len(bins.count):.0f} %</th>'
            f"<td>{int(bins.count[b]):,}</td><td>{100 * bins.confidence[b]:.1f}</td>"
            f"<td>{100 * bins.accuracy[b]:.1f}</td></tr>"
            for b in np.flatnonzero(bins.count)
        ]
    return build_table({"Bin": "", "Videos": "", "Confidence %": "", "Right %": ""}, lines=lines)
