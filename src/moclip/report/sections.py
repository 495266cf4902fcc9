"""Sections of the report that compare methods: differences, costs and reliability."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moclip.config.methods import METHODS
from moclip.report.pages import SHAPE_OF, build_key, build_table, count_of, label_of, percent, phrase_of
from moclip.report.result_charts import Point, Row, draw_reliability, draw_rows, draw_scatter, short_number, signed

_NUM_ENDS = 10

_MAX_BARS = 2 * _NUM_ENDS + 4

_ALPHA = 0.05

_NUMBERS = "The numbers, and McNemar's test of each run"

Entry = Mapping[str, str]


def build_comparisons(rows: Sequence[Entry]) -> str:
    """Return the section on whether one method is better than another, from the rows of comparisons.tsv."""
    overall = [row for row in rows if row["split"] == "all"]
    if not overall:
        return ""
    own = [row for row in overall if row["experiment"] == row["other_experiment"]]
    across = [row for row in overall if row["experiment"] != row["other_experiment"]]
    names = list(dict.fromkeys(row["experiment"] for row in own))
    figures = [_build_figure([row for row in own if row["experiment"] == name]) for name in names[:1]]
    more = [_build_figure([row for row in own if row["experiment"] == name]) for name in names[1:]]
    if across:
        figures.append(_build_figure(across))
    others = _fold("The other experiments", f'<div class="charts broad">{"".join(more)}</div>') if more else ""
    return (
        '<h2 id="comparisons">Which differences are real</h2>'
        f"{_say_first([row for row in own if row['experiment'] == names[0]] if names else across)}"
        '<p class="note">How to read it: each dot is the difference in top-1 between two methods on the same test '
        "videos, mean over splits and seeds; the line is its 95 % interval when whole groups of videos are drawn "
        "again. A line that crosses 0 (a hollow dot) is a difference that chance may have made. The intervals are not "
        f'widened for the number of comparisons.</p><div class="charts broad">{"".join(figures)}</div>{others}'
        f"{_fold(_NUMBERS, _build_table(overall, rows=rows))}"
    )


def _fold(name: str, html: str) -> str:
    return f"<details><summary>{escape(name)}</summary>{html}</details>"


def _bounds(row: Entry) -> tuple[float, float | None, float | None]:
    low, high = (100 * float(row[name]) if row[name] else None for name in ("low", "high"))
    return 100 * float(row["difference"]), low, high


def _verdict(row: Entry) -> str:
    _, low, high = _bounds(row)
    if low is None or high is None or low <= 0 <= high:
        return "unsure"
    return "gain" if low > 0 else "loss"


def _say_first(rows: Sequence[Entry]) -> str:
    """Return a sentence for each comparison of one experiment."""
    videos = count_of(int(rows[0]["n"]), one="test video", many="test videos")
    groups = count_of(int(rows[0]["num_groups"]), one="group", many="groups")
    listed = "".join(f"<li>{_say(row)}</li>" for row in rows)
    return f'<p>In {escape(rows[0]["experiment"])}, over {videos} in {groups}:</p><ul class="said">{listed}</ul>'


def _say(row: Entry) -> str:
    value, low, high = _bounds(row)
    this, other = _names(row)
    interval = f" (95 % interval {signed(low)} to {signed(high)})" if low is not None and high is not None else ""
    direction = "better" if value >= 0 else "worse"
    words = "may be chance" if _verdict(row) == "unsure" else "hard to explain by chance"
    return f"<b>{escape(this)}</b> is {abs(value):.1f} points {direction} than {escape(other)}{interval}: {words}."


def _names(row: Entry) -> tuple[str, str]:
    this, other = label_of(row["method"]), phrase_of(row["other_method"])
    if row["experiment"] == row["other_experiment"]:
        return this, other
    return f"{this} of {row['experiment']}", f"{other} of {row['other_experiment']}"


def _build_figure(rows: Sequence[Entry]) -> str:
    first = rows[0]
    within = first["experiment"] == first["other_experiment"]
    title = (
        f"{first['experiment']}: {phrase_of(first['method'])} against"
        if within
        else f"{label_of(first['method'])} of each experiment against that of {first['other_experiment']}"
    )
    drawn: list[Row] = []
    for row in rows:
        value, low, high = _bounds(row)
        name = label_of(row["other_method"]) if within else row["experiment"]
        said = f"{name}: {signed(value)}"
        drawn.append(Row(name=name, value=value, low=low, high=high, style=_verdict(row), label=said))
    svg = draw_rows(drawn, axis="difference in top-1, points", bars=False, title=title)
    return f"<figure><figcaption><b>{escape(title)}</b></figcaption>{svg}</figure>"


def _build_table(overall: Sequence[Entry], *, rows: Sequence[Entry]) -> str:
    lines: list[str] = []
    for row in overall:
        value, low, high = _bounds(row)
        interval = f"{signed(low)} to {signed(high)}" if low is not None and high is not None else "-"
        this, other = _names(row)
        lines.append(
            f'<tr><th scope="row" class="wrap">{escape(this)} against {escape(other)}</th><td>{signed(value)}</td>'
            f"<td>{interval}</td><td>{row['num_groups']}</td><td>{int(row['n']):,}</td>"
            f'<td class="text">{_say_runs(row, rows=rows)}</td></tr>'
        )
    heads = {"Methods": "", "Points": "", "95 % interval": "", "Groups": "", "Videos": "", "McNemar's p by run": "text"}
    note = (
        "McNemar's exact test asks of one run whether the videos that only one of the two got right are split unevenly "
        "by chance; it takes clips of one group for independent, so that the interval over groups is the safer guide."
    )
    return f'{build_table(heads, lines=lines)}<p class="note">{note}</p>'


def _say_runs(overall: Entry, *, rows: Sequence[Entry]) -> str:
    keys = ("experiment", "method", "other_experiment", "other_method")
    own = [row for row in rows if row["mcnemar_p"] and all(row[key] == overall[key] for key in keys)]
    if not own:
        return "-"
    values = sorted(float(row["mcnemar_p"]) for row in own)
    spread = _say_p(values[0]) if len(values) == 1 else f"{_say_p(values[0])} to {_say_p(values[-1])}"
    below = sum(value < _ALPHA for value in values)
    return f"{spread}; below 0.05 in {below} of {len(values)}"


def _say_p(value: float) -> str:
    return "under 0.0001" if value < 0.0001 else f"{value:.2g}"


def build_gains(rows: Sequence[Entry]) -> str:
    """Return what fusion adds to each stream in each class, from the rows of class_gains.tsv of one experiment."""
    if not rows:
        return ""
    streams = list(dict.fromkeys(row["stream"] for row in rows))
    by_stream = {stream: [row for row in rows if row["stream"] == stream] for stream in streams}
    figures = "".join(_build_bars(own, stream=stream) for stream, own in by_stream.items())
    num_classes = len(next(iter(by_stream.values())))
    short = (
        f" Of {num_classes} classes the {_NUM_ENDS} that gain most and the {_NUM_ENDS} that gain least are drawn; the "
        "table has all."
        if num_classes > _MAX_BARS
        else ""
    )
    return (
        "<h3>What fusion adds in each class</h3>"
        '<p class="note">How to read it: a bar to the right is a class in which fusion gets more test videos right '
        "than the stream alone, a bar to the left one in which it gets fewer; the thin line is the 95 % interval over "
        f'groups of the class.{short}</p><div class="charts broad">{figures}</div>'
        f"{_fold('The numbers', _build_gain_table(by_stream))}"
    )


def _gain_row(row: Entry) -> Row:
    low, high = (100 * float(row[name]) if row.get(name) else None for name in ("low", "high"))
    value = 100 * float(row["gain"])
    said = (
        f"{row['class_name']}: fusion {100 * float(row['fusion']):.1f} %, {phrase_of(row['stream'])} "
        f"{100 * float(row['accuracy']):.1f} %, {row['num_tests']} tests"
    )
    style = "loss" if value < 0 else "gain"
    return Row(name=row["class_name"], value=value, low=low, high=high, style=style, label=said)


def _build_bars(rows: Sequence[Entry], *, stream: str) -> str:
    drawn = sorted(map(_gain_row, rows), key=lambda row: (-row.value, row.name))
    title = f"Fusion less {phrase_of(stream)}"
    caption = f"<figcaption><b>{escape(title)}</b>{{}}</figcaption>"
    if len(drawn) <= _MAX_BARS:
        parts = [("", drawn)]
    else:
        parts = [(", largest gains", drawn[:_NUM_ENDS]), (", smallest gains", drawn[-_NUM_ENDS:])]
    return "".join(
        f"<figure>{caption.format(words)}"
        f"{draw_rows(part, axis='gain, points of accuracy', bars=True, title=title + words)}</figure>"
        for words, part in parts
    )


def _build_gain_table(by_stream: Mapping[str, Sequence[Entry]]) -> str:
    first = next(iter(by_stream.values()))
    cells = {stream: {row["class_name"]: row for row in own} for stream, own in by_stream.items()}
    heads = {"Class": "", "Tests": "", "Fusion %": ""}
    for stream in by_stream:
        heads |= {f"{escape(label_of(stream))} %": "", f"Gain over {escape(phrase_of(stream))}": ""}
    lines = [
        f'<tr><th scope="row">{escape(row["class_name"])}</th><td>{int(row["num_tests"]):,}</td>'
        f"<td>{100 * float(row['fusion']):.1f}</td>{''.join(_gain_cells(cells, class_name=row['class_name']))}</tr>"
        for row in first
    ]
    return build_table(heads, lines=lines)


def _gain_cells(cells: Mapping[str, Mapping[str, Entry]], *, class_name: str) -> Iterator[str]:
    for by_class in cells.values():
        row = _gain_row(by_class[class_name])
        interval = (
            f' <span class="sd">{signed(row.low)} to {signed(row.high)}</span>'
            if row.low is not None and row.high is not None
            else ""
        )
        yield f"<td>{100 * float(by_class[class_name]['accuracy']):.1f}</td><td>{signed(row.value)}{interval}</td>"


_STAGES = ("motion_ms", "motion_embedding_ms", "appearance_ms")

_NEEDS = {"motion": ("motion_ms", "motion_embedding_ms"), "appearance": ("appearance_ms",)}


@dataclass(frozen=True, kw_only=True)
class Score:
    """The top-1 of a method of an experiment, a share, and half of its 95 % interval over seeds, or None."""

    top_1: float
    half: float | None


def build_costs(rows: Sequence[Entry], *, scores: Mapping[tuple[str, str], Score]) -> str:
    """Return the section from the rows of costs.tsv; `scores` are by experiment and method."""
    known = [row for row in rows if (row["experiment"], row["method"]) in scores]
    if not known:
        return ""
    methods = [name for name in METHODS if any(row["method"] == name for row in known)]
    figures = [
        _build_cost_figure(
            [(float(row["macs"]), row) for row in known if int(row["macs"]) > 0], scores=scores, axis="MACs"
        ),
        _build_cost_figure(
            [(time, row) for row in known if (time := _milliseconds(row))], scores=scores, axis="milliseconds"
        ),
    ]
    drawn = "".join(figures) or '<p class="muted">None of the methods has a cost to draw.</p>'
    untimed = any(_milliseconds(row) is None for row in known)
    missing = " A method is missing from the second chart where a stage of it was not timed here." if untimed else ""
    several = len({row["experiment"] for row in known}) > 1
    faint = f" Faint marks are those of the experiments after {escape(known[0]['experiment'])}." if several else ""
    return (
        '<h2 id="costs">Cost against accuracy</h2>'
        '<p class="note">How to read it: further left is cheaper, higher is more often right; the axis of cost is '
        f"logarithmic, and the line through a mark is the 95 % interval over seeds.{faint} MACs are "
        "multiply-accumulates of the models by torch's own counter (two floating-point operations each), without "
        "decoding; milliseconds are wall time of one job, decoding and features of every stage that the method "
        f"reads.{missing}</p>"
        f'{build_key(methods)}<div class="charts broad">{drawn}</div>'
        f"<details><summary>The numbers</summary>{_build_cost_table(known, scores=scores)}</details>"
    )


def _milliseconds(row: Entry) -> float | None:
    needed = [name for stream in METHODS[row["method"]].streams for name in _NEEDS[stream]]
    if any(not row[name] for name in needed):
        return None
    return sum(float(row[name]) for name in needed) or None


def _build_cost_figure(
    placed: Sequence[tuple[float, Entry]], *, scores: Mapping[tuple[str, str], Score], axis: str
) -> str:
    if not placed:
        return ""
    # Those of the first experiment, drawn last, are on top; the others, many on few costs, are faint and have no line.
    first = placed[0][1]["experiment"]
    points = [
        _point(x, row=row, score=scores[row["experiment"], row["method"]], is_first=row["experiment"] == first)
        for x, row in reversed(placed)
    ]
    title = f"Top-1 over {axis} a video"
    drawn = draw_scatter(points, x_label=f"{axis} a video", y_label="top-1, %", title=title)
    return f"<figure><figcaption><b>{escape(title)}</b></figcaption>{drawn}</figure>"


def _point(x: float, *, row: Entry, score: Score, is_first: bool) -> Point:
    low, high = (
        (None, None) if score.half is None or not is_first else (score.top_1 - score.half, score.top_1 + score.half)
    )
    said = f"{row['experiment']}, {label_of(row['method'])}: {100 * score.top_1:.1f} %, {short_number(x)}"
    style = row["method"] if is_first else f"{row['method']} faint"
    shape = SHAPE_OF.get(row["method"], "circle")
    return Point(x=x, y=score.top_1, low=low, high=high, shape=shape, style=style, label=said)


def _build_cost_table(rows: Sequence[Entry], *, scores: Mapping[tuple[str, str], Score]) -> str:
    lines: list[str] = []
    for experiment in dict.fromkeys(row["experiment"] for row in rows):
        lines.append(f'<tr class="group"><th colspan="9" scope="rowgroup">{escape(experiment)}</th></tr>')
        for row in rows:
            if row["experiment"] == experiment:
                cells = "".join(f"<td>{cell}</td>" for cell in _cells(row))
                score = scores[experiment, row["method"]]
                lines.append(
                    f'<tr><th scope="row">{escape(label_of(row["method"]))}</th><td>{100 * score.top_1:.1f}</td>'
                    f"{cells}</tr>"
                )
    heads = [
        *("Method", "Top-1 %", "Parameters trained", "Parameters in all", "MACs a video"),
        *("Motion, ms", "Motion embedding, ms", "Appearance, ms", "Cache, bytes a video"),
    ]
    return build_table(dict.fromkeys(heads, ""), lines=lines)


def _cells(row: Entry) -> Iterator[str]:
    for name in ("trained_parameters", "total_parameters", "macs"):
        yield f"{int(row[name]):,}"
    for name in _STAGES:
        yield f"{float(row[name]):.1f}" if row[name] else "-"
    yield f"{int(row['cache_bytes']):,}"


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
    figures = "".join(_build_reliability_figure(name, bins=bins, ece=eces[name]) for name, bins in pooled.items())
    return (
        "<h3>Calibration</h3>"
        '<p class="note">How to read it: a dot on the dashed line is a bin of confidence in which the method is as '
        "often right as it says; below the line it is too sure of itself, above it not sure enough. The bars below "
        "(and the size of a dot) show how many test videos fall into each bin. ECE is the mean distance from the line, "
        f'over runs.</p><div class="cells">{figures}</div>'
        f"<details><summary>The numbers</summary>{_build_reliability_table(pooled, eces=eces)}</details>"
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


def _build_reliability_figure(method: str, *, bins: _Bins, ece: float) -> str:
    title = f"Reliability of {label_of(method)}"
    drawn = draw_reliability(bins.count, confidence=bins.confidence, accuracy=bins.accuracy, style=method, title=title)
    caption = f"<b>{escape(label_of(method))}</b> ECE {percent(ece)}"
    return f"<figure><figcaption>{caption}</figcaption>{drawn}</figure>"


def _build_reliability_table(pooled: Mapping[str, _Bins], *, eces: Mapping[str, float]) -> str:
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
