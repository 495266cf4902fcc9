"""The parts of the report that set methods against each other: in all, and class by class. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from moclip.page import build_table, count_of
from moclip.plots import Row, draw_rows, signed
from moclip.report_marks import label_of, phrase_of

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
