"""Sections of the report that compare methods: differences, and cost against accuracy.

`draw_` functions return the figures, `describe_` functions the rest of a section as plain data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moclip.config.methods import METHODS
from moclip.evaluation.statistics import MIN_GROUPS
from moclip.report.figures import Figure, Panel
from moclip.report.pages import count_of, label_of, phrase_of, signed
from moclip.report.plots import Point, Row, rows_panel, scatter_panel

_ALPHA = 0.05

_STAGES = ("motion_processor_ms", "motion_embedding_processor_ms", "appearance_processor_ms")

_NEEDS = {"motion": _STAGES[:2], "appearance": _STAGES[2:]}

Entry = Mapping[str, str]


def draw_comparisons(rows: Sequence[Entry]) -> Figure:
    """Return the differences of each experiment's methods, and of experiments, from the rows of comparisons.tsv."""
    own, across = _split_comparisons(rows)
    names = dict.fromkeys(row["experiment"] for row in own)
    panels = [_draw_comparison([row for row in own if row["experiment"] == name]) for name in names]
    if across:
        panels.append(_draw_comparison(across))
    return Figure(name="comparisons", title="Differences in top-1", panels=panels)


def _split_comparisons(rows: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    overall = [row for row in rows if row["split"] == "all"]
    own = [row for row in overall if row["experiment"] == row["other_experiment"]]
    return own, [row for row in overall if row["experiment"] != row["other_experiment"]]


def _draw_comparison(rows: Sequence[Entry]) -> Panel:
    first = rows[0]
    within = first["experiment"] == first["other_experiment"]
    if within:
        title = f"{first['experiment']}: {phrase_of(first['method'])} against"
    else:
        title = f"{label_of(first['method'])} of each experiment against that of {first['other_experiment']}"
    drawn: list[Row] = []
    for row in rows:
        value, low, high = _bounds(row)
        name = label_of(row["other_method"]) if within else row["experiment"]
        label = f"{name}: {signed(value)}"
        drawn.append(Row(name=name, value=value, low=low, high=high, verdict=_verdict(row), label=label))
    return rows_panel(drawn, title=title, axis="difference in top-1, points", bars=False)


def describe_comparisons(rows: Sequence[Entry]) -> dict[str, Any] | None:
    """Return sentences on the first experiment, and the numbers, from the rows of comparisons.tsv."""
    own, across = _split_comparisons(rows)
    if not own and not across:
        return None
    shown = [row for row in own if row["experiment"] == own[0]["experiment"]] or across
    return {
        "experiment": shown[0]["experiment"],
        "videos": count_of(int(shown[0]["n"]), one="test video", many="test videos"),
        "groups": count_of(int(shown[0]["num_groups"]), one="group", many="groups"),
        "sentences": [_describe_difference(row, rows=rows) for row in shown],
        "rows": [_describe_difference(row, rows=rows) for row in (*own, *across)],
        "others": len({row["experiment"] for row in own}) - 1,
    }


def _bounds(row: Entry) -> tuple[float, float | None, float | None]:
    low, high = (100 * float(row[name]) if row[name] else None for name in ("low", "high"))
    return 100 * float(row["difference"]), low, high


def _verdict(row: Entry) -> str:
    _, low, high = _bounds(row)
    if low is None or high is None or low <= 0 <= high:
        return "unsure"
    return "gain" if low > 0 else "loss"


def _describe_verdict(row: Entry) -> str:
    if not row["low"]:
        return f"no interval, since {row['num_groups']} groups are fewer than {MIN_GROUPS}"
    return "may be chance" if _verdict(row) == "unsure" else "hard to explain by chance"


def _describe_difference(row: Entry, *, rows: Sequence[Entry]) -> dict[str, Any]:
    value, low, high = _bounds(row)
    this, other = label_of(row["method"]), phrase_of(row["other_method"])
    if row["experiment"] != row["other_experiment"]:
        this, other = f"{this} of {row['experiment']}", f"{other} of {row['other_experiment']}"
    return {
        "this": this,
        "other": other,
        "value": value,
        "direction": "better" if value >= 0 else "worse",
        "interval": f"{signed(low)} to {signed(high)}" if low is not None and high is not None else "",
        "verdict": _describe_verdict(row),
        "groups": int(row["num_groups"]),
        "videos": int(row["n"]),
        "runs": _describe_runs(row, rows=rows),
    }


def _describe_runs(overall: Entry, *, rows: Sequence[Entry]) -> str:
    keys = ("experiment", "method", "other_experiment", "other_method")
    own = [row for row in rows if row["mcnemar_p"] and all(row[key] == overall[key] for key in keys)]
    if not own:
        return "-"
    values = sorted(float(row["mcnemar_p"]) for row in own)
    ends = ["under 0.0001" if value < 0.0001 else f"{value:.2g}" for value in (values[0], values[-1])]
    below = sum(value < _ALPHA for value in values)
    return f"{' to '.join(ends[: len(values)])}; below 0.05 in {below} of {len(values)}"


@dataclass(frozen=True, kw_only=True)
class Score:
    """The top-1 of a method of an experiment, a share, and half of its 95 % interval over seeds, or None."""

    top_1: float
    half: float | None


Scores = Mapping[tuple[str, str], Score]


def _known_costs(rows: Sequence[Entry], *, scores: Scores) -> list[Entry]:
    return [row for row in rows if (row["experiment"], row["method"]) in scores]


def draw_costs(rows: Sequence[Entry], *, scores: Scores) -> Figure:
    """Return accuracy over MACs and over milliseconds, from the rows of costs.tsv."""
    known = _known_costs(rows, scores=scores)
    placed = {
        "MACs": [(float(row["macs"]), row) for row in known if int(row["macs"]) > 0],
        "milliseconds": [(time, row) for row in known if (time := _milliseconds(row))],
    }
    panels = [
        scatter_panel(
            [_point(cost, row=row, first=known[0]["experiment"], scores=scores) for cost, row in reversed(points)],
            title=f"Top-1 over {unit} a video",
            axis=f"{unit} a video",
        )
        for unit, points in placed.items()
        if points
    ]
    return Figure(name="costs", title="Cost against accuracy", panels=panels)


def _point(cost: float, *, row: Entry, first: str, scores: Scores) -> Point:
    # Points of the first experiment, drawn last, are on top. Others, many at few costs, are faint and have no interval.
    experiment, method = row["experiment"], row["method"]
    score = scores[experiment, method]
    half = score.half if experiment == first else None
    return Point(
        cost=cost, accuracy=score.top_1, half=half, experiment=experiment, method=method, is_faint=experiment != first
    )


def _milliseconds(row: Entry) -> float | None:
    needed = [name for stream in METHODS[row["method"]].streams for name in _NEEDS[stream]]
    if any(not row[name] for name in needed):
        return None
    return sum(float(row[name]) for name in needed) or None


def describe_costs(rows: Sequence[Entry], *, scores: Scores) -> dict[str, Any] | None:
    """Return the numbers of costs.tsv with the accuracy of each method; `scores` are by experiment and method."""
    known = _known_costs(rows, scores=scores)
    if not known:
        return None
    lines = [
        {
            "experiment": row["experiment"],
            "method": row["method"],
            "top_1": scores[row["experiment"], row["method"]].top_1,
            "counts": [int(row[name]) for name in ("trained_parameters", "total_parameters", "macs")],
            "times": [float(row[name]) if row[name] else None for name in _STAGES],
            "bytes": int(row["cache_bytes"]),
        }
        for row in known
    ]
    return {
        "rows": lines,
        "untimed": any(_milliseconds(row) is None for row in known),
        "faint": known[0]["experiment"] if len({row["experiment"] for row in known}) > 1 else "",
    }
