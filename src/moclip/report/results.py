"""Write the report of all runs of a dataset, as one HTML file, and its figures."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from moclip.config.experiments import list_used
from moclip.config.settings import Settings
from moclip.core.files import replace_atomically
from moclip.dataset.manifest import read_manifest
from moclip.errors import REJECT_REASONS, DatasetError
from moclip.evaluation.comparisons import read_rows
from moclip.evaluation.evaluate import read_metrics
from moclip.evaluation.statistics import student_half_width
from moclip.evaluation.summary import SummaryRow, read_summary
from moclip.report import experiment, sections
from moclip.report.datacard_page import draw_card, list_card_figures
from moclip.report.figures import STYLES, Figure, Style, draw_svg, write_figure
from moclip.report.mistakes import Mistakes, describe_mistakes, read_mistakes
from moclip.report.pages import count_of, describe_dataset, describe_rejects, percent, phrase_of, render_page
from moclip.workflow.paths import find_results, locate, result_path, run_of

_STREAMS = ("motion", "motion_head", "appearance")

_POLICIES = {
    "wrong": "A test video without features counts as wrong.",
    "leave_out": "A test video without features is left out for every method.",
}


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


@dataclass(frozen=True, kw_only=True)
class Results:
    """All tables and runs as they were read; `card` is the content of the data card."""

    rows: Sequence[SummaryRow]
    comparisons: Sequence[sections.Entry]
    gains: Sequence[sections.Entry]
    costs: Sequence[sections.Entry]
    metrics: Mapping[ReportRun, Mapping[str, Any]]
    histories: Mapping[ReportRun, experiment.History]
    networks: Mapping[str, Sequence[experiment.History]]
    card: Mapping[str, Any]

    @property
    def experiments(self) -> list[str]:
        """The names of the experiments, in the order of the configuration."""
        return list(dict.fromkeys(row.experiment for row in self.rows))

    def of(self, name: str) -> tuple[list[Mapping[str, Any]], list[experiment.History]]:
        """Return the metrics and the histories of the runs of an experiment."""
        runs = [run for run in self.metrics if run.experiment == name]
        return [self.metrics[run] for run in runs], [self.histories[run] for run in runs]


def read_results(
    *, tables: ReportTables, runs: Sequence[ReportRun], networks: Sequence[ReportNetwork], datacard: Path
) -> Results:
    """Return the tables and the files of runs.

    Raises:
        DatasetError: A file is missing or is not what it should be.
    """
    variants = dict.fromkeys(network.variant for network in networks)
    try:
        card = json.loads(datacard.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{datacard}: expected a data card ({error}); run the workflow again") from None
    return Results(
        rows=read_summary(tables.summary),
        comparisons=read_rows(tables.comparisons, columns=("split", "difference", "mcnemar_p")),
        gains=read_rows(tables.gains, columns=("experiment", "class_name", "gain")),
        costs=read_rows(tables.costs, columns=("experiment", "method", "macs")),
        metrics={run: read_metrics(run.metrics) for run in runs},
        histories={run: _read_history(run) for run in runs},
        networks={
            variant: [read_rows(one.history, columns=("epoch",)) for one in networks if one.variant == variant]
            for variant in variants
        },
        card=card,
    )


def _read_history(run: ReportRun) -> experiment.History:
    # One file has the heads of all seeds.
    return [row for row in read_rows(run.history, columns=("seed", "epoch")) if row["seed"] == str(run.seed)]


def list_figures(results: Results) -> dict[str, Figure]:
    """Return all figures by the names of their files."""
    figures = [
        sections.draw_comparisons(results.comparisons),
        sections.draw_costs(results.costs, scores=_scores_of(results.rows)),
    ]
    for name in results.experiments:
        metrics, histories = results.of(name)
        figures += experiment.draw_experiment(name, metrics=metrics, histories=histories, gains=results.gains)
    figures += [experiment.draw_network(name, histories=own) for name, own in results.networks.items()]
    figures += list_card_figures(results.card).values()
    return {figure.name: figure for figure in figures}


def build_report(
    dataset_name: str,
    *,
    results: Results,
    manifest: Sequence[Mapping[str, Any]],
    rejects: Sequence[Mapping[str, str]],
    mistakes: Mistakes | None = None,
    provenance: Mapping[str, Any],
    links: Mapping[str, str] | None = None,
) -> str:
    """Return the whole page; equal inputs give equal text.

    `manifest` holds the rows of the manifest (video_id, class_name, group, split_1 and so on), `rejects` those of
    rejects.tsv (video_id, stage, variant, reason, detail). `provenance` is shown entry by entry: text as it is, a list
    as lines of code, a mapping as YAML. `links` leads to other pages: a name and an address, relative to this one.
    """
    drawn = {name: draw_svg(figure) for name, figure in list_figures(results).items() if "datacard-" not in name}
    rows = results.rows
    facts = [
        count_of(len(manifest), one="video", many="videos"),
        count_of(len({row["class_name"] for row in manifest}), one="class", many="classes"),
        count_of(len({row["video_id"] for row in rejects}), one="video left out", many="videos left out"),
        count_of(len(results.experiments), one="experiment", many="experiments"),
    ]
    return render_page(
        "report.html",
        has_script=True,
        name=dataset_name,
        facts=facts,
        warning="; ".join(dict.fromkeys(part for row in rows for part in row.encoder_note.split("; ") if part)),
        links={} if links is None else links,
        results=_describe_results(results),
        comparisons=sections.describe_comparisons(results.comparisons),
        costs=sections.describe_costs(results.costs, scores=_scores_of(rows)),
        experiments=[
            experiment.describe_experiment(name, metrics=metrics, histories=histories, gains=results.gains)
            for name in results.experiments
            for metrics, histories in [results.of(name)]
        ],
        networks=list(results.networks),
        mistakes=describe_mistakes(mistakes) if mistakes else None,
        dataset=describe_dataset(manifest),
        rejects=describe_rejects(rejects),
        card=results.card,
        card_panels=draw_card(results.card),
        provenance=[_describe_origin(key, value) for key, value in provenance.items()],
        charts=drawn,
    )


def _scores_of(rows: Sequence[SummaryRow]) -> dict[tuple[str, str], sections.Score]:
    means = [row for row in rows if row.split == "all"]
    return {(row.experiment, row.method): sections.Score(top_1=row.top_1, half=row.top_1_ci95) for row in means}


_MEASURES = (("top_1", max), ("top_5", max), ("mean_class_accuracy", max), ("ece", min))


def _describe_results(results: Results) -> dict[str, Any]:
    rows, documents = results.rows, list(results.metrics.values())
    means, single = ([row for row in rows if (row.split == "all") == is_mean] for is_mean in (True, False))
    over_splits = _half_over_splits(single)
    few = min(document["num_classes"] for document in documents)
    policies = sorted({document["rejected_test_videos"] for document in documents})
    return {
        "tiles": _describe_tiles(means),
        "rows": _describe_rows(means, over_splits=over_splits),
        "single": _describe_rows(single, over_splits={}) if any(row.num_splits > 1 for row in means) else [],
        "has_splits": any(half is not None for half in over_splits.values()),
        "policy": " ".join(_POLICIES.get(name, name) for name in policies),
        "few": few if few <= 5 else 0,
        "rejected": _describe_rejected(results.metrics),
    }


def _describe_rows(
    rows: Sequence[SummaryRow], *, over_splits: Mapping[tuple[str, str], float | None]
) -> list[dict[str, Any]]:
    fitted = len({row.fitted_on for row in rows} - {""}) > 1
    best = {name: choose((getattr(row, name) for row in rows), default=0) for name, choose in _MEASURES}
    return [
        {
            **{name: getattr(row, name) for name in ("experiment", "method", "split", "n", "coverage", "top_1")},
            "note": "; ".join(
                filter(None, [row.encoder_note, f"fitted on {row.fitted_on}" if fitted and row.fitted_on else ""])
            ),
            "runs": f"{row.num_splits} \N{MULTIPLICATION SIGN} {row.num_seeds}",
            "over_splits": over_splits.get((row.experiment, row.method)),
            "measures": [
                {"mean": (mean := getattr(row, name)), "half": getattr(row, f"{name}_ci95"), "best": mean == best[name]}
                for name, _ in _MEASURES
            ],
        }
        for row in rows
    ]


def _half_over_splits(rows: Sequence[SummaryRow]) -> dict[tuple[str, str], float | None]:
    means: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        means.setdefault((row.experiment, row.method), []).append(row.top_1)
    return {key: student_half_width(values) for key, values in means.items()}


def _describe_rejected(metrics: Mapping[ReportRun, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the number of test videos without scores of some method, by reason, experiment and split."""
    counts: dict[str, dict[str, dict[int, int]]] = {}
    for run, document in metrics.items():
        for reason, count in sorted(document["rejected"].items()):
            counts.setdefault(reason, {}).setdefault(run.experiment, {})[run.split] = count
    lines = []
    for reason, by_experiment in counts.items():
        told: dict[str, list[str]] = {}
        for name, by_split in by_experiment.items():
            words = ", ".join(f"{count:,} in split {split}" for split, count in sorted(by_split.items()))
            told.setdefault(words, []).append(name)
        listed = "; ".join(f"{words} ({', '.join(names)})" for words, names in told.items())
        lines.append({"reason": reason, "meaning": REJECT_REASONS.get(reason, "see rejects.tsv"), "listed": listed})
    return lines


def _describe_tiles(rows: Sequence[SummaryRow]) -> list[tuple[str, str, str]]:
    first = {row.method: row for row in rows if row.experiment == rows[0].experiment}
    fusion, streams = first.get("fusion"), [first[name] for name in _STREAMS if name in first]
    if fusion is None or not streams:
        return []
    best = max(streams, key=lambda row: row.top_1)
    gain = 100 * (fusion.top_1 - best.top_1)
    return [
        (percent(fusion.top_1), f"top-1 of fusion, experiment {fusion.experiment}", "fusion"),
        (percent(best.top_1), f"top-1 of the better single stream, {phrase_of(best.method)}", best.method),
        (f"{gain:+.1f}", "points that fusion adds to it", "gain" if gain >= 0 else "loss"),
        (f"{fusion.n:,}", "test videos behind each number", ""),
    ]


def _describe_origin(key: str, value: Any) -> dict[str, Any]:
    name = key.replace("_", " ").capitalize()
    if isinstance(value, Mapping) and any(isinstance(below, Mapping) for below in value.values()):
        text = yaml.safe_dump(dict(value), sort_keys=True, allow_unicode=True, width=100)
        return {"name": name, "yaml": text, "lines": [], "text": ""}
    if isinstance(value, Mapping):
        return {"name": name, "yaml": "", "lines": [], "text": ", ".join(f"{k} {v}" for k, v in value.items())}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return {"name": name, "yaml": "", "lines": list(value), "text": ""}
    return {"name": name, "yaml": "", "lines": [], "text": str(value)}


def write_report(
    output: Path,
    *,
    figures: Sequence[Path],
    manifest: Path,
    rejects: Path,
    tables: ReportTables,
    datacard: Path,
    runs: Sequence[Path],
    networks: Sequence[Path],
    mistakes: Path | None,
    settings: Settings,
) -> None:
    """Write the page over all runs, and each of `figures` as PDF, PNG and TSV.

    `runs` are the `metrics.json` of all runs, `networks` the `history.tsv` of all motion networks. The libraries and
    the commit are those that the first run noted.
    """
    results = read_results(
        tables=tables, runs=[_report_run(path) for path in runs], datacard=datacard,
        networks=[_report_network(path) for path in networks],
    )  # fmt: skip
    noted = yaml.safe_load(runs[0].with_name("run.yaml").read_text(encoding="utf-8"))
    with rejects.open(encoding="utf-8", newline="") as file:
        rejected = list(csv.DictReader(file, dialect="excel-tab"))
    page = build_report(
        settings.dataset.name,
        results=results,
        manifest=[
            {str(key): value for key, value in row.items()} for row in read_manifest(manifest).to_dict("records")
        ],
        rejects=rejected,
        mistakes=read_mistakes(mistakes) if mistakes else None,
        provenance={"commit": noted["commit"], "libraries": noted["libraries"], "configuration": settings.canonical()},
        links=_links_of(settings),
    )
    drawn = list_figures(results)
    for path in dict.fromkeys(path.with_suffix("") for path in figures):
        figure = drawn.get(path.name, Figure(name=path.name, title=path.name, panels=()))
        write_figure(path.parent, figure=figure, style=STYLES["paper"])
    with replace_atomically(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def write_figures(folder: Path, *, results: Path, style: Style) -> list[str]:
    """Draw the figures of a finished folder of results into another folder, and return their names.

    Raises:
        DatasetError: The folder has no results.
    """
    outputs = {"summary": "summary", "comparisons": "comparisons", "gains": "comparisons", "costs": "costs"}
    tables = ReportTables(**{name: result_path(results, rule, name) for name, rule in outputs.items()})
    known = {row.experiment for row in read_summary(tables.summary)}
    runs = [_report_run(path) for path, _ in find_results(results, "evaluate", "metrics")]
    found = read_results(
        tables=tables,
        runs=[run for run in runs if run.experiment in known],
        networks=[_report_network(path) for path, _ in find_results(results, "motion_network", "history")],
        datacard=result_path(results, "datacard", "card"),
    )
    drawn = [figure for figure in list_figures(found).values() if figure.panels]
    for figure in drawn:
        write_figure(folder, figure=figure, style=style)
    return [figure.name for figure in drawn]


def _links_of(settings: Settings) -> dict[str, str]:
    # The pages of motion pictures are at `motion_pictures/{variant}.html`, relative to the report.
    variants = list_used(settings, "motion_network") if settings.report.pictures else ()
    names = ["Motion pictures"] if len(variants) == 1 else [f"Motion pictures ({variant})" for variant in variants]
    return {name: f"motion_pictures/{variant}.html" for name, variant in zip(names, variants, strict=True)}


def _report_run(path: Path) -> ReportRun:
    run, (results, names) = run_of(path, "evaluate", "metrics"), locate(path, "evaluate", "metrics")
    history = result_path(results, "head", "history", experiment=names["experiment"], split=names["split"])
    return ReportRun(experiment=run.experiment, split=run.split, seed=run.seed, metrics=path, history=history)


def _report_network(path: Path) -> ReportNetwork:
    run = run_of(path, "motion_network", "history")
    return ReportNetwork(variant=run.experiment, split=run.split, seed=run.seed, history=path)
