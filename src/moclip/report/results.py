"""The report of all runs of a dataset, as one HTML file."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import yaml

from moclip.errors import REJECT_REASONS, DatasetError
from moclip.evaluation.comparisons import read_rows
from moclip.evaluation.evaluate import read_metrics
from moclip.evaluation.statistics import student_half_width
from moclip.evaluation.summary import SummaryRow, read_summary
from moclip.report.experiment import build_curves, build_experiment
from moclip.report.mistakes import MISTAKES_STYLE, Mistakes, build_mistakes
from moclip.report.pages import (
    build_class_counts,
    build_page,
    build_rejects,
    build_splits,
    build_table,
    count_of,
    embed_page,
    label_of,
    percent,
    phrase_of,
)
from moclip.report.sections import Score, build_comparisons, build_costs

_STREAMS = ("motion", "motion_head", "appearance")

_PLUS_MINUS, _TIMES, _DOT = "\N{PLUS-MINUS SIGN}", "\N{MULTIPLICATION SIGN}", "\N{MIDDLE DOT}"


@dataclass(frozen=True, kw_only=True)
class ReportRun:
    """One run, and the paths of its metrics and of the learning curves of all seeds."""

    experiment: str
    split: int
    seed: int
    metrics: Path
    history: Path


@dataclass(frozen=True, kw_only=True)
class ReportNetwork:
    """One motion network, and the path of its learning curve."""

    variant: str
    split: int
    seed: int
    history: Path


@dataclass(frozen=True, kw_only=True)
class ReportTables:
    """The paths of the tables of all runs."""

    summary: Path
    comparisons: Path
    gains: Path
    costs: Path


def build_report(
    dataset_name: str,
    *,
    manifest: Sequence[Mapping[str, Any]],
    rejects: Sequence[Mapping[str, str]],
    tables: ReportTables,
    runs: Sequence[ReportRun],
    networks: Sequence[ReportNetwork],
    datacard: str,
    mistakes: Mistakes | None = None,
    provenance: Mapping[str, Any],
    links: Mapping[str, str] | None = None,
) -> str:
    """Return the whole page; equal inputs give equal text.

    `manifest` holds the rows of the manifest (video_id, class_name, group, split_1 and so on), `rejects` those of
    rejects.tsv (video_id, stage, variant, reason, detail), `datacard` the page of that name. `provenance` is
    shown entry by entry: text as it is, a list as lines of code, a mapping as YAML. `links` leads to other pages: a
    name and an address, relative to this one.

    Raises:
        DatasetError: A file is missing or is not what it should be.
    """
    rows = read_summary(tables.summary)
    comparisons = read_rows(tables.comparisons, columns=("split", "difference", "mcnemar_p"))
    gains = read_rows(tables.gains, columns=("experiment", "class_name", "gain"))
    costs = read_rows(tables.costs, columns=("experiment", "method", "macs"))
    metrics = {run: read_metrics(run.metrics) for run in runs}
    histories = {run: _read_history(run.history, seed=run.seed) for run in runs}
    experiments = list(dict.fromkeys(row.experiment for row in rows))
    body = [
        _build_header(
            dataset_name,
            manifest=manifest,
            rejects=rejects,
            rows=rows,
            links=({"Mistakes": "#mistakes"} if mistakes else {}) | dict(links or {}),
        ),
        _build_results(rows, metrics=metrics),
        build_comparisons(comparisons),
        build_costs(costs, scores=_scores_of(rows)),
        '<h2 id="experiments">Class by class</h2>',
        *(
            build_experiment(
                name,
                metrics=[metrics[run] for run in runs if run.experiment == name],
                histories=[histories[run] for run in runs if run.experiment == name],
                gains=[row for row in gains if row["experiment"] == name],
                is_open=name == experiments[0],
            )
            for name in experiments
        ),
        *_build_networks(networks),
        *([build_mistakes(mistakes)] if mistakes else ()),
        f'<h2 id="dataset">Dataset</h2>{build_splits(manifest)}{build_class_counts(manifest)}{build_rejects(rejects)}'
        '<details id="datacard"><summary>Data card: what the videos are made of, and whether it gives the class away'
        f"</summary>{embed_page(datacard, prefix='card-')}</details>",
        _build_provenance(provenance),
    ]
    return build_page(f"{dataset_name}: MoCLIP-Lite results", body=body, style=MISTAKES_STYLE)


def _read_history(path: Path, *, seed: int | None = None) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, dialect="excel-tab"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: expected learning curves ({error}); run the training again") from None
    if rows and "epoch" not in rows[0]:
        raise DatasetError(f"{path}: expected learning curves with a column `epoch`, found {', '.join(rows[0])}")
    return rows if seed is None else [row for row in rows if row.get("seed") == str(seed)]


def _build_header(
    dataset_name: str,
    *,
    manifest: Sequence[Mapping[str, Any]],
    rejects: Sequence[Mapping[str, str]],
    rows: Sequence[SummaryRow],
    links: Mapping[str, str],
) -> str:
    facts = [
        count_of(len(manifest), one="video", many="videos"),
        count_of(len({row["class_name"] for row in manifest}), one="class", many="classes"),
        count_of(len({row["video_id"] for row in rejects}), one="video left out", many="videos left out"),
        count_of(len({row.experiment for row in rows}), one="experiment", many="experiments"),
    ]
    notes = list(dict.fromkeys(part for row in rows for part in row.encoder_note.split("; ") if part))
    warning = f'<p class="warn"><b>Read with care:</b> {escape("; ".join(notes))}.</p>' if notes else ""
    others = "".join(f'<a href="{escape(address)}">{escape(name)}</a>' for name, address in links.items())
    return (
        f'<header><p class="eyebrow">MoCLIP-Lite</p><h1>Results on {escape(dataset_name)}</h1>'
        f'<p class="muted">{f" {_DOT} ".join(facts)}</p>{warning}'
        '<nav><a href="#results">Results</a><a href="#comparisons">Differences</a><a href="#costs">Costs</a>'
        '<a href="#experiments">Class by class</a>'
        '<a href="#dataset">Dataset</a><a href="#provenance">Provenance</a>'
        f'<a href="#datacard">Data card</a>{others}</nav></header>'
    )


def _scores_of(rows: Sequence[SummaryRow]) -> dict[tuple[str, str], Score]:
    means = [row for row in rows if row.split == "all"]
    return {(row.experiment, row.method): Score(top_1=row.top_1, half=row.top_1_ci95) for row in means}


def _build_results(rows: Sequence[SummaryRow], *, metrics: Mapping[ReportRun, Mapping[str, Any]]) -> str:
    means = [row for row in rows if row.split == "all"]
    documents = list(metrics.values())
    explained = {
        "wrong": "A test video without features counts as wrong.",
        "leave_out": "A test video without features is left out for every method.",
    }
    policies = sorted({document["rejected_test_videos"] for document in documents})
    policy = " ".join(explained.get(name, escape(name)) for name in policies)
    few = min(document["num_classes"] for document in documents)
    if few <= 5:
        policy += f" With {few} classes, top-5 only tells whether a video has scores."
    over_splits = _half_over_splits(rows)
    shared = (
        " <i>Over splits</i> is the same over the means of the official splits, which share videos: it tells how much "
        "the choice of a split matters."
        if any(over_splits.values())
        else ""
    )
    details = ""
    if any(row.num_splits > 1 for row in means):
        single = _result_table([row for row in rows if row.split != "all"], over_splits=None)
        details = f"<details><summary>Each split</summary>{single}</details>"
    return (
        f'<h2 id="results">Results</h2>{_build_tiles(means)}'
        f"{_result_table(means, over_splits=over_splits)}"
        f'<p class="note">Mean over splits, {_PLUS_MINUS} half of the 95 % interval (Student) over seeds; none is '
        f"given for one seed or where no seed plays a part.{shared} <i>n</i> is the number of test videos behind "
        "the accuracy, the smallest of any run; coverage is the share of the split's test videos that the method could "
        f"score. {policy} ECE is the expected calibration error over 15 bins.</p>"
        f"{_say_rejected(metrics)}{details}"
    )


def _half_over_splits(rows: Sequence[SummaryRow]) -> dict[tuple[str, str], float | None]:
    means: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.split != "all":
            means.setdefault((row.experiment, row.method), []).append(row.top_1)
    return {key: student_half_width(values) for key, values in means.items()}


def _say_rejected(metrics: Mapping[ReportRun, Mapping[str, Any]]) -> str:
    """Return how many test videos some method has no scores of, by reason, experiment and split."""
    counts: dict[str, dict[str, dict[int, int]]] = {}
    for run, document in metrics.items():
        for reason, count in sorted(document["rejected"].items()):
            counts.setdefault(reason, {}).setdefault(run.experiment, {})[run.split] = count
    if not counts:
        return '<p class="note">Every method has scores of every test video.</p>'
    lines: list[str] = []
    for reason, by_experiment in counts.items():
        told: dict[str, list[str]] = {}
        for experiment, by_split in by_experiment.items():
            words = ", ".join(f"{count:,} in split {split}" for split, count in sorted(by_split.items()))
            told.setdefault(words, []).append(experiment)
        listed = "; ".join(f"{words} ({escape(', '.join(names))})" for words, names in told.items())
        meaning = escape(REJECT_REASONS.get(reason, "see rejects.tsv"))
        lines.append(f"<li><code>{escape(reason)}</code>, {meaning}: {listed}</li>")
    return f'<p class="note">Test videos without scores of some method:</p><ul class="note">{"".join(lines)}</ul>'


def _build_tiles(rows: Sequence[SummaryRow]) -> str:
    first = {row.method: row for row in rows if row.experiment == rows[0].experiment}
    fusion, streams = first.get("fusion"), [first[name] for name in _STREAMS if name in first]
    if fusion is None or not streams:
        return ""
    best = max(streams, key=lambda row: row.top_1)
    gain = 100 * (fusion.top_1 - best.top_1)
    tiles = [
        (percent(fusion.top_1), f"top-1 of fusion, experiment {fusion.experiment}", "fusion"),
        (percent(best.top_1), f"top-1 of the better single stream, {phrase_of(best.method)}", best.method),
        (f"{gain:+.1f}", "points that fusion adds to it", "gain" if gain >= 0 else "loss"),
        (f"{fusion.n:,}", "test videos behind each number", ""),
    ]
    cells = (
        f'<div class="tile"><b class="{style}">{b}</b><span>{escape(text)}</span></div>' for b, text, style in tiles
    )
    return f'<div class="tiles">{"".join(cells)}</div>'


def _result_table(rows: Sequence[SummaryRow], *, over_splits: Mapping[tuple[str, str], float | None] | None) -> str:
    """Return the table of some rows: of each split, or over all, with `over_splits` half an interval by row."""
    several = over_splits is not None and any(half is not None for half in over_splits.values())
    heads = {"Method": "", "Top-1 %": "", "&nbsp;": "wide", **({"Over splits": ""} if several else {})}
    heads |= dict.fromkeys(("Top-5 %", "Class mean %", "ECE %", "n", "Coverage %"), "")
    heads |= {"Split": ""} if over_splits is None else {}
    lines: list[str] = []
    for experiment in dict.fromkeys(row.experiment for row in rows):
        own = [row for row in rows if row.experiment == experiment]
        grid = f"{own[0].num_splits} {_TIMES} {max(row.num_seeds for row in own)}"
        runs = f' <span class="sd">splits {_TIMES} seeds: {grid}</span>' if over_splits is not None else ""
        lines.append(
            f'<tr class="group"><th colspan="{len(heads)}" scope="rowgroup">{escape(experiment)}{runs}</th></tr>'
        )
        best = max(row.top_1 for row in own)
        for row in own:
            half = over_splits.get((experiment, row.method)) if over_splits is not None else None
            extra = f'<td class="sd">{_PLUS_MINUS} {100 * half:.1f}</td>' if half is not None else "<td>-</td>"
            last = f"<td>{escape(row.split)}</td>" if over_splits is None else ""
            is_best = row.top_1 == best and over_splits is not None
            lines.append(_result_row(row, is_best=is_best, extra=extra if several else "", last=last))
    return build_table(heads, lines=lines)


def _result_row(row: SummaryRow, *, is_best: bool, extra: str, last: str) -> str:
    mark = f'<br><span class="mark">{escape(row.encoder_note)}</span>' if row.encoder_note else ""
    cells = [
        f"<td>{_spread(row.top_1, half=row.top_1_ci95)}</td>",
        f'<td class="wide"><span class="bar {row.method}"><i style="width:{100 * row.top_1:.1f}%"></i></span></td>',
        extra,
        f"<td>{_spread(row.top_5, half=row.top_5_ci95)}</td>",
        f"<td>{_spread(row.mean_class_accuracy, half=row.mean_class_accuracy_ci95)}</td>",
        f"<td>{_spread(row.ece, half=row.ece_ci95)}</td>",
        f"<td>{row.n:,}</td><td>{100 * row.coverage:.1f}</td>",
        last,
    ]
    kind = ' class="best"' if is_best else ""
    return f'<tr{kind}><th scope="row">{escape(label_of(row.method))}{mark}</th>{"".join(cells)}</tr>'


def _spread(mean: float, *, half: float | None) -> str:
    words = f' <span class="sd">{_PLUS_MINUS} {100 * half:.1f}</span>' if half is not None else ""
    return f"{100 * mean:.1f}{words}"


def _build_networks(networks: Sequence[ReportNetwork]) -> Iterator[str]:
    if networks:
        yield '<h2 id="networks">Motion networks</h2>'
    for variant in dict.fromkeys(network.variant for network in networks):
        histories = [_read_history(network.history) for network in networks if network.variant == variant]
        yield f"<h3>{escape(variant)}</h3>"
        yield build_curves({"motion": histories}, caption="One network for each split and seed.")


def _build_provenance(provenance: Mapping[str, Any]) -> str:
    short: list[str] = []
    long: list[str] = []
    for key, value in provenance.items():
        name = escape(key.replace("_", " ").capitalize())
        if isinstance(value, Mapping) and any(isinstance(below, Mapping) for below in value.values()):
            text = escape(yaml.safe_dump(dict(value), sort_keys=True, allow_unicode=True, width=100))
            long.append(f"<details><summary>{name}</summary><pre>{text}</pre></details>")
        elif isinstance(value, Mapping):
            short.append(f"<dt>{name}</dt><dd>{escape(', '.join(f'{k} {v}' for k, v in value.items()))}</dd>")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            lines = "<br>".join(f"<code>{escape(str(line))}</code>" for line in value)
            short.append(f"<dt>{name}</dt><dd>{lines}</dd>")
        else:
            short.append(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>")
    return f'<h2 id="provenance">Provenance</h2><dl>{"".join(short)}</dl>{"".join(long)}'
