"""The part of the report that sets what a method costs against how often it is right. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from moclip.methods import METHODS
from moclip.page import build_table
from moclip.plots import Point, draw_scatter, short_number
from moclip.report_marks import SHAPE_OF, build_key, label_of

_STAGES = ("motion_ms", "motion_embedding_ms", "appearance_ms")
_NEEDS = {"motion": ("motion_ms", "motion_embedding_ms"), "appearance": ("appearance_ms",)}
Entry = Mapping[str, str]


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
        _build_figure([(float(row["macs"]), row) for row in known if int(row["macs"]) > 0], scores=scores, axis="MACs"),
        _build_figure(
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
        f"<details><summary>The numbers</summary>{_build_table(known, scores=scores)}</details>"
    )


def _milliseconds(row: Entry) -> float | None:
    needed = [name for stream in METHODS[row["method"]].streams for name in _NEEDS[stream]]
    if any(not row[name] for name in needed):
        return None
    return sum(float(row[name]) for name in needed) or None


def _build_figure(placed: Sequence[tuple[float, Entry]], *, scores: Mapping[tuple[str, str], Score], axis: str) -> str:
    if not placed:
        return ""
    # Those of the first experiment, drawn last, lie on top; the others, many on few costs, are faint and have no line.
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


def _build_table(rows: Sequence[Entry], *, scores: Mapping[tuple[str, str], Score]) -> str:
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
