"""Sections of the report about all experiments: the table of results, cautions, differences, and costs.

Panels and tables of a section have the same rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from moclip.config.methods import METHODS
from moclip.evaluation.statistics import MIN_GROUPS, student_half_width
from moclip.evaluation.summary import SummaryRow
from moclip.report.figures import Figure
from moclip.report.pages import count_of, in_sentence, label_of, percent, phrase_of, signed
from moclip.report.plots import Panel, judge

_ALPHA = 0.05

# Below so many classes top-5 is nearly the share of videos that have scores.
_FEWEST_CLASSES_FOR_TOP_5 = 6

# Of fewer test videos a few make a large difference.
_FEW_VIDEOS = 50

_POOR_ECE = 0.1

_STREAMS = ("motion", "motion_head", "appearance", "appearance_ridge")

_NEEDS = {
    "motion": ("motion_processor_ms", "motion_embedding_processor_ms"),
    "appearance": ("appearance_processor_ms",),
}

_MEASURES = {
    "top_1": ("Top-1", max),
    "top_5": ("Top-5", max),
    "mean_class_accuracy": ("Class mean", max),
    "ece": ("ECE", min),
}

_VERDICTS = {"unsure": "may be chance", "gain": "hard to explain by chance", "loss": "hard to explain by chance"}

Row = dict[str, Any]

Entry = Mapping[str, str]


def describe_results(rows: Sequence[SummaryRow], *, num_classes: int) -> Row:
    """Return the tables of results, of all splits together and of each split, and the tiles above them."""
    means, single = ([row for row in rows if (row.split == "all") == is_mean] for is_mean in (True, False))
    has_top_5 = num_classes >= _FEWEST_CLASSES_FOR_TOP_5
    has_splits = any(row.num_splits > 1 for row in means)
    return {
        "rows": _list_results(means, single=single, has_top_5=has_top_5),
        "single": _list_results(single, single=[], has_top_5=has_top_5) if has_splits else [],
        "has_top_5": has_top_5,
        "has_splits": has_splits,
    }


def _list_results(rows: Sequence[SummaryRow], *, single: Sequence[SummaryRow], has_top_5: bool) -> list[Row]:
    shown = [name for name in _MEASURES if has_top_5 or name != "top_5"]
    best = {name: _MEASURES[name][1](getattr(row, name) for row in rows) for name in shown if rows}
    differ = len({row.fitted_on for row in rows} - {""}) > 1
    lines = []
    for row in rows:
        cells = {
            f"{_MEASURES[name][0]} %": _cell(row, name, is_best=getattr(row, name) == best[name]) for name in shown
        }
        cells["Top-1 %"] |= {"bar": row.top_1, "chance": row.chance_majority, "method": row.method}
        groups = count_of(row.num_groups, one="group", many="groups")
        interval = "\N{EN DASH}"
        if row.top_1_groups_low is not None and row.top_1_groups_high is not None:
            interval = f"{100 * row.top_1_groups_low:.1f} to {100 * row.top_1_groups_high:.1f}"
        over = student_half_width(
            [one.top_1 for one in single if (one.experiment, one.method) == (row.experiment, row.method)]
        )
        fitted = f"fitted on {row.fitted_on}" if differ and row.fitted_on else ""
        lines.append({
            "Experiment": row.experiment,
            "Method": {"text": label_of(row.method), "note": "; ".join(filter(None, [row.encoder_note, fitted]))},
            "Top-1 %": cells.pop("Top-1 %"),
            "95 % over test groups": {"text": interval, "spread": f"({groups})"},
            "Chance %": f"{100 * row.chance_uniform:.1f} / {100 * row.chance_majority:.1f}",
            **({"\N{PLUS-MINUS SIGN} over splits %": 100 * over} if over is not None else {}),
            **cells,
            "n": row.n,
            "Coverage %": 100 * row.coverage,
            **({"Split": row.split} if row.split != "all" else {
                "Runs": f"{row.num_splits} \N{MULTIPLICATION SIGN} {row.num_seeds}"}),
        })  # fmt: skip
    return lines


def _cell(row: SummaryRow, name: str, *, is_best: bool) -> Row:
    value, half = 100 * getattr(row, name), getattr(row, f"{name}_ci95")
    spread = "" if half is None else f"\N{PLUS-MINUS SIGN} {100 * half:.1f}"
    return {"text": f"{value:.1f}", "spread": spread, "value": value, "style": "best" if is_best else ""}


def describe_tiles(rows: Sequence[SummaryRow], *, comparisons: Sequence[Entry]) -> list[Row]:
    """Return the numbers at the top of the page. A difference has a color only if its interval is without 0."""
    first = {row.method: row for row in rows if row.split == "all" and row.experiment == rows[0].experiment}
    fusion, streams = first.get("fusion"), [first[name] for name in _STREAMS if name in first]
    if fusion is None or not streams:
        return []
    best = max(streams, key=lambda row: row.top_1)
    points = 100 * (fusion.top_1 - best.top_1)
    pair = {
        "experiment": fusion.experiment,
        "method": "fusion",
        "other_experiment": fusion.experiment,
        "other_method": best.method,
    }
    found = [row for row in comparisons if row["split"] == "all" and pair.items() <= row.items()]
    low, high = _bounds(found[0])[1:] if found else (None, None)
    verdict = judge(points, low, high)
    videos = count_of(round(abs(points) * fusion.n / 100), one="video", many="videos")
    known = f", 95 % interval {signed(low)} to {signed(high)}" if low is not None and high is not None else ""
    groups = count_of(fusion.num_groups, one="group", many="groups")
    return [
        {"text": percent(fusion.top_1), "style": "fusion",
         "words": f"top-1 of fusion, experiment {fusion.experiment}; chance is {percent(fusion.chance_uniform)} "
         f"(uniform) or {percent(fusion.chance_majority)} (the most frequent class)"},
        {"text": percent(best.top_1), "style": best.method,
         "words": f"top-1 of the better single stream, {phrase_of(best.method)}"},
        {"text": signed(points), "style": "" if verdict == "unsure" else verdict,
         "words": f"points between them, {videos} of {fusion.n:,}{known}: {_VERDICTS[verdict]}"},
        {"text": f"{fusion.n:,}", "style": "", "words": f"test videos behind each number, in {groups}"},
    ]  # fmt: skip


def list_cautions(rows: Sequence[SummaryRow], *, seeds: int, card: Mapping[str, Any]) -> list[str]:
    """Return what a reader must know before the numbers, each caution once."""
    means = [row for row in rows if row.split == "all"]
    cautions = list(dict.fromkeys(part for row in means for part in row.encoder_note.split("; ") if part))
    if seeds < 2:
        cautions.append("one seed: how much the results vary from training to training is not known")
    videos, groups = min(row.n for row in means), min(row.num_groups for row in means)
    if videos < _FEW_VIDEOS:
        cautions.append(f"only {videos} test videos: one video is {100 / max(videos, 1):.1f} points")
    if groups < MIN_GROUPS:
        words = count_of(groups, one="group", many="groups")
        cautions.append(f"the test videos are from {words}, too few for an interval over groups")
    for leak in card["leaks"]:
        variant = f" ({leak['variant']})" if leak["variant"] else ""
        cautions.append(
            f"{in_sentence(leak['label'])}{variant} alone predicts the class of {percent(leak['accuracy'])} of the "
            f"videos (chance {percent(leak['chance'])}): a model may learn it instead of the action, see the data card"
        )
    # Methods are in the order of METHODS, and the last one of each experiment is the one that it is about.
    worst = max({row.experiment: row for row in means}.values(), key=lambda row: row.ece)
    if worst.ece >= _POOR_ECE:
        cautions.append(
            f"test calibration error {percent(worst.ece)} ({phrase_of(worst.method)} of {worst.experiment}): "
            "its confidence is not its accuracy"
        )
    return cautions


def draw_comparisons(rows: Sequence[Entry]) -> Figure:
    """Return the differences of each experiment's methods, and of experiments, from the rows of comparisons.tsv."""
    own, across = _split_comparisons(rows)
    parts = [
        [row for row in own if row["experiment"] == name] for name in dict.fromkeys(row["experiment"] for row in own)
    ]
    panels = [_draw_comparison(part) for part in (*parts, across) if part]
    return Figure(name="comparisons", title="Differences in top-1", panels=panels)


def _split_comparisons(rows: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    overall = [row for row in rows if row["split"] == "all"]
    own = [row for row in overall if row["experiment"] == row["other_experiment"]]
    return own, [row for row in overall if row["experiment"] != row["other_experiment"]]


def _draw_comparison(rows: Sequence[Entry]) -> Panel:
    first, drawn = rows[0], []
    within = first["experiment"] == first["other_experiment"]
    title = f"{label_of(first['method'])} of each experiment against that of {first['other_experiment']}"
    if within:
        title = f"{first['experiment']}: {phrase_of(first['method'])} against"
    for row in rows:
        points, low, high = _bounds(row)
        name = label_of(row["other_method"]) if within else row["experiment"]
        drawn.append(
            {
                "name": name,
                "points": points,
                "low": low,
                "high": high,
                "groups": int(row["num_groups"]),
                "videos": int(row["n"]),
            }
        )
    return Panel(title=title, kind="intervals", axis="difference in top-1, points", rows=drawn)


def _bounds(row: Entry) -> tuple[float, float | None, float | None]:
    low, high = (100 * float(row[name]) if row[name] else None for name in ("low", "high"))
    return 100 * float(row["difference"]), low, high


def describe_comparisons(rows: Sequence[Entry]) -> Row | None:
    """Return sentences on the first experiment, and the numbers, from the rows of comparisons.tsv."""
    own, across = _split_comparisons(rows)
    if not own and not across:
        return None
    shown = [row for row in own if row["experiment"] == own[0]["experiment"]] or across
    return {
        "experiment": shown[0]["experiment"],
        "videos": count_of(int(shown[0]["n"]), one="test video", many="test videos"),
        "groups": count_of(int(shown[0]["num_groups"]), one="group", many="groups"),
        "sentences": [_describe_difference(row) for row in shown],
        "rows": [
            {"Methods": " against ".join(_name_pair(row)),
             **dict(zip(("points", "low", "high"), _bounds(row), strict=True)),
             "Groups": int(row["num_groups"]), "Videos": int(row["n"]),
             "McNemar's p by run": _describe_runs(row, rows=rows)}
            for row in (*own, *across)
        ],
        "others": len({row["experiment"] for row in own}) - 1,
    }  # fmt: skip


def _name_pair(row: Entry) -> tuple[str, str]:
    this, other = label_of(row["method"]), phrase_of(row["other_method"])
    if row["experiment"] != row["other_experiment"]:
        return f"{this} of {row['experiment']}", f"{other} of {row['other_experiment']}"
    return this, other


def _describe_difference(row: Entry) -> Row:
    points, low, high = _bounds(row)
    words = f"is {abs(points):.1f} points {'better' if points >= 0 else 'worse'} than {_name_pair(row)[1]}"
    if low is not None and high is not None:
        words += f" (95 % interval {signed(low)} to {signed(high)})"
    return {"this": _name_pair(row)[0], "words": f"{words}: {_VERDICTS[judge(points, low, high)]}."}


def _describe_runs(overall: Entry, *, rows: Sequence[Entry]) -> str:
    keys = ("experiment", "method", "other_experiment", "other_method")
    values = sorted(
        float(row["mcnemar_p"]) for row in rows if row["mcnemar_p"] and all(row[key] == overall[key] for key in keys)
    )
    ends = ["under 0.0001" if value < 0.0001 else f"{value:.2g}" for value in values]
    below = sum(value < _ALPHA for value in values)
    return f"{' to '.join(dict.fromkeys([ends[0], ends[-1]]))}; below 0.05 in {below} of {len(values)}" if ends else "-"


def describe_costs(rows: Sequence[Entry], *, means: Sequence[SummaryRow]) -> list[Row]:
    """Return the rows of costs.tsv with the accuracy of each method, and its chance."""
    scores = {(row.experiment, row.method): row for row in means if row.split == "all"}
    lines = []
    for row in (row for row in rows if (row["experiment"], row["method"]) in scores):
        numbers = {
            name: float(cell) if cell else None for name, cell in row.items() if name not in {"experiment", "method"}
        }
        score, half = scores[row["experiment"], row["method"]], scores[row["experiment"], row["method"]].top_1_ci95
        bounds = (None, None) if half is None else (100 * (score.top_1 - half), 100 * min(score.top_1 + half, 1))
        lines.append({
            "experiment": row["experiment"],
            "method": row["method"],
            "top_1_percent": 100 * score.top_1,
            "chance_percent": 100 * score.chance_majority,
            **{name: value if value is None or name.endswith("_ms") else int(value) for name, value in numbers.items()},
            "bounds": bounds,
            "total_ms": _milliseconds(row["method"], numbers=numbers),
        })  # fmt: skip
    return lines


def _milliseconds(method: str, *, numbers: Mapping[str, float | None]) -> float | None:
    times = [numbers[name] for stream in METHODS[method].streams for name in _NEEDS[stream]]
    return sum(time for time in times if time is not None) or None if None not in times else None


def draw_costs(lines: Sequence[Row]) -> Figure:
    """Return accuracy over MACs and over milliseconds."""
    return Figure(name="costs", title="Cost against accuracy", panels=list(_draw_costs(lines)))


def _draw_costs(lines: Sequence[Row]) -> Iterator[Panel]:
    for column, unit in (("macs", "MACs"), ("total_ms", "milliseconds")):
        rows = [
            {"cost": row[column],
             **{name: row[name] for name in ("experiment", "method", "top_1_percent", "chance_percent")},
             "low": row["bounds"][0], "high": row["bounds"][1]}
            for row in lines
            if row[column]
        ]  # fmt: skip
        if rows:
            yield Panel(title=f"Top-1 over {unit} a video", kind="scatter", axis=f"{unit} a video", rows=rows)
