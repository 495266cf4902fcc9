"""The section of the report about one experiment: gains, classes, confusion, calibration and learning curves.

Panels and tables of a section have the same rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moclip.config.methods import METHODS
from moclip.errors import DatasetError
from moclip.evaluation.comparisons import read_rows
from moclip.report.figures import Figure, write_svg
from moclip.report.pages import label_of, percent, phrase_of
from moclip.report.plots import Panel

_NUM_ENDS = 10

_MAX_BARS = 2 * _NUM_ENDS + 4

# Rows of a panel of classes, of which a page of a paper has two.
_MAX_CLASSES = 52

# In the order in which marks are drawn: fusion, drawn last, is on top. The rest would crowd a row.
_SHOWN_BY_CLASS = ("zero_shot", "motion", "appearance", "fusion")

_MAX_PAIRS = 20

_MAX_EPOCHS = 6

_EPOCH_COLUMNS = ("epoch", "train_loss", "val_loss", "train_top_1", "val_top_1", "chosen")

Row = dict[str, Any]

History = Sequence[Mapping[str, str]]

Metrics = Sequence[Mapping[str, Any]]

Counts = NDArray[np.int64]


def describe_experiment(
    name: str, *, metrics: Metrics, histories: Sequence[History], gains: Sequence[Mapping[str, str]]
) -> Row:
    """Return the tables and panels of an experiment from the metrics and head histories of its runs, and all gains."""
    names, methods = metrics[0]["class_names"], metrics[0]["methods"]
    shown = [method for method in _SHOWN_BY_CLASS if method in methods] or list(methods)
    confusion = {method: _sum(metrics, method=method, key="confusion") for method in shown}
    totals = confusion[shown[0]].sum(axis=1) + _sum(metrics, method=shown[0], key="rejected_per_class")
    confused = shown[-1]
    classes = _list_classes(confusion, totals=totals, names=names)
    gained = [_describe_gain(row) for row in gains if row["experiment"] == name]
    by_head = _by_head(histories)
    reliability = list(_list_reliability(metrics))
    cells = _list_cells(confusion[confused], totals=totals, names=names)
    return {
        "name": name,
        "runs": "one run" if len(metrics) == 1 else f"{len(metrics)} runs, test videos pooled",
        "confused": confused,
        "chance_percent": 100 / len(names),
        "absent": len(names) - len(classes),
        "gains": sorted(gained, key=lambda row: (row["name"], row["against"])),
        "is_short": len(gained) > _MAX_BARS * len({row["against"] for row in gained}),
        "classes": classes,
        "pairs": _list_pairs(cells),
        "calibration": _list_calibration(metrics),
        "kept": "; ".join(_list_kept(by_head)),
        "panels": {
            "gains": list(_draw_gains(gained)),
            "classes": list(_draw_classes(classes)),
            "confusion": [Panel(title=f"Confusion matrix of {phrase_of(confused)}", kind="heatmap", rows=cells)],
            "reliability": reliability,
            "heads": draw_curves(by_head),
        },
    }


def list_figures(section: Mapping[str, Any]) -> list[Figure]:
    """Return the figures of a section."""
    return [
        Figure(name=f"{kind}-{section['name']}", title=f"{kind} of {section['name']}", panels=panels)
        for kind, panels in section["panels"].items()
    ]


def _sum(metrics: Metrics, *, method: str, key: str) -> Counts:
    return np.asarray(np.sum([document["methods"][method][key] for document in metrics], axis=0), np.int64)


def _list_classes(confusion: Mapping[str, Counts], *, totals: Counts, names: Sequence[str]) -> list[Row]:
    # Classes with test videos, by what fusion adds to the better of its streams.
    present = np.flatnonzero(totals)
    shares = {method: 100 * np.diag(own)[present] / totals[present] for method, own in confusion.items()}
    streams = [shares[method] for method in ("motion", "appearance") if method in shares]
    gain = shares["fusion"] - np.max(streams, axis=0) if "fusion" in shares and streams else None
    order = range(len(present)) if gain is None else np.argsort(-gain, kind="stable")
    return [
        {
            "class": names[present[index]],
            "videos": int(totals[present[index]]),
            **{f"{method}_percent": float(values[index]) for method, values in shares.items()},
            **({} if gain is None else {"gain": float(gain[index])}),
        }
        for index in order
    ]


def _draw_classes(rows: Sequence[Row]) -> Iterator[Panel]:
    for start in range(0, len(rows), _MAX_CLASSES):
        part = rows[start : start + _MAX_CLASSES]
        note = f"({start + 1} to {start + len(part)})" if len(rows) > _MAX_CLASSES else ""
        yield Panel(title="Accuracy of each class", note=note, kind="classes", rows=part)


def _list_cells(confusion: Counts, *, totals: Counts, names: Sequence[str]) -> list[Row]:
    """Return the cells of a confusion matrix, classes that are confused next to each other; all of the diagonal."""
    known = np.flatnonzero(totals + confusion.sum(axis=0))
    order = known[_order_classes(confusion[np.ix_(known, known)])]
    return [
        {"true": names[true], "predicted": names[said], "videos": int(confusion[true, said]), "of": int(totals[true])}
        for true in order
        for said in order
        if confusion[true, said] or true == said
    ]


def _order_classes(confusion: Counts) -> list[int]:
    # The leaves of a tree of classes by how often they are confused, either way.
    if len(confusion) < 3:
        return list(range(len(confusion)))
    from scipy.cluster.hierarchy import leaves_list, linkage  # noqa: PLC0415 (a second)
    from scipy.spatial.distance import squareform  # noqa: PLC0415

    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    distance = 1 - (shares + shares.T) / 2
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return [int(leaf) for leaf in leaves_list(tree)]


def _list_pairs(cells: Sequence[Row]) -> list[Row]:
    wrong = sorted((row for row in cells if row["true"] != row["predicted"]), key=lambda row: -row["videos"])
    return [
        {"True class": row["true"], "Taken for": row["predicted"], "Videos": row["videos"], "Of": row["of"]}
        for row in wrong[:_MAX_PAIRS]
    ]


def _list_reliability(metrics: Metrics) -> Iterator[Panel]:
    for method in (name for name in METHODS if name in metrics[0]["methods"]):
        runs = [document["methods"][method]["reliability"] for document in metrics]
        counts = np.array([run["count"] for run in runs])
        total = counts.sum(axis=0)
        confidence, accuracy = (
            100 * (counts * np.array([run[key] for run in runs], float)).sum(axis=0) / np.maximum(total, 1)
            for key in ("confidence", "accuracy")
        )
        rows = [
            {"method": method, "from_percent": 100 * bin_ / len(total), "to_percent": 100 * (bin_ + 1) / len(total),
             "videos": int(total[bin_]), "confidence_percent": float(confidence[bin_]),
             "accuracy_percent": float(accuracy[bin_])}
            for bin_ in np.flatnonzero(total).tolist()
        ]  # fmt: skip
        if rows:
            yield Panel(title=label_of(method), note=f"ECE {percent(_mean_ece(metrics, method=method))}",
                        kind="reliability", rows=rows)  # fmt: skip


def _mean_ece(metrics: Metrics, *, method: str) -> float:
    return float(np.mean([document["methods"][method]["ece"] for document in metrics]))


def _list_calibration(metrics: Metrics) -> list[Row]:
    rows = []
    for panel in _list_reliability(metrics):
        method = panel.rows[0]["method"]
        videos = [row["videos"] for row in panel.rows]
        gaps = [row["confidence_percent"] - row["accuracy_percent"] for row in panel.rows]
        rows.append({"method": method, "ECE_percent": 100 * _mean_ece(metrics, method=method),
                     "confidence_less_accuracy": float(np.average(gaps, weights=videos))})  # fmt: skip
    return rows


def _by_head(histories: Sequence[History]) -> dict[str, list[History]]:
    by_head: dict[str, list[History]] = {}
    for history in histories:
        for head in dict.fromkeys(row["head"] for row in history):
            by_head.setdefault(head, []).append([row for row in history if row["head"] == head])
    return by_head


def draw_curves(histories: Mapping[str, Sequence[History]]) -> list[Panel]:
    """Return charts of loss and top-1 over epochs: the mean of the runs of each method, and their range.

    A column of a history that is absent or empty is not drawn.
    """
    measures = (("loss", "Loss", "nats", 1.0), ("top_1", "Top-1 accuracy", "%", 100.0))
    panels = [
        Panel(title=title, kind="curves", axis=axis, rows=list(_list_epochs(histories, measure=measure, scale=scale)))
        for measure, title, axis, scale in measures
    ]
    return [panel for panel in panels if panel.rows]


def _list_epochs(histories: Mapping[str, Sequence[History]], *, measure: str, scale: float) -> Iterator[Row]:
    for method, runs in histories.items():
        for subset, word in (("train", "training"), ("val", "validation")):
            name = f"{label_of(method)}, {word}"
            for epoch in range(max(map(len, runs), default=0)):
                cells = [run[epoch].get(f"{subset}_{measure}") for run in runs if epoch < len(run)]
                values = [scale * float(cell) for cell in cells if cell]
                if values:
                    bounds = {"value": sum(values) / len(values), "low": min(values), "high": max(values)}
                    yield {"line": name, "method": method, "subset": subset, "epoch": epoch + 1, **bounds}


def _list_kept(by_head: Mapping[str, Sequence[History]]) -> Iterator[str]:
    for head, histories in by_head.items():
        kept = sorted(int(row["epoch"]) for history in histories for row in history if row.get("chosen") == "1")
        if kept:
            shown = ", ".join(map(str, kept)) if len(kept) <= _MAX_EPOCHS else f"{kept[0]} to {kept[-1]}"
            yield f"{phrase_of(head)} {shown}"


def _describe_gain(row: Mapping[str, str]) -> Row:
    low, high = (100 * float(row[name]) if row.get(name) else None for name in ("low", "high"))
    return {
        "name": row["class_name"], "against": label_of(row["stream"]), "tests": int(row["num_tests"]),
        "fusion_percent": 100 * float(row["fusion"]), "other_percent": 100 * float(row["accuracy"]),
        "groups": int(row["num_groups"]), "points": 100 * float(row["gain"]), "low": low, "high": high,
    }  # fmt: skip


def _draw_gains(rows: Sequence[Row]) -> Iterator[Panel]:
    for stream in dict.fromkeys(row["against"] for row in rows):
        own = sorted((row for row in rows if row["against"] == stream), key=lambda row: (-row["points"], row["name"]))
        parts = {"": own}
        if len(own) > _MAX_BARS:
            parts = {", largest gains": own[:_NUM_ENDS], ", smallest gains": own[-_NUM_ENDS:]}
        for words, part in parts.items():
            title = f"Fusion less {stream[0].lower()}{stream[1:]}{words}"
            yield Panel(title=title, kind="gains", axis="gain, points of accuracy", rows=part)


def write_network_curve(path: Path, *, history: Path, title: str) -> None:
    """Write the learning curve of a `history.tsv` as an SVG document: training dashed, validation whole.

    Raises:
        DatasetError: The history is missing or is none.
    """
    try:
        rows = read_rows(history, columns=_EPOCH_COLUMNS)
        kept = next(row["epoch"] for row in rows if row["chosen"] == "1")
        panels = draw_curves({"motion": [rows]})
    except (DatasetError, StopIteration, ValueError) as error:
        raise DatasetError(
            f"{history}: expected the history of a motion network ({error!r}); run again, which makes it again",
            damaged=history,
        ) from None
    write_svg(path, figure=Figure(name="curve", title=f"{title}, epoch {kept} kept", panels=panels))
