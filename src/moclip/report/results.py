"""Write the report of all runs of a dataset, as one HTML file, and its figures."""

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
from moclip.evaluation.summary import SummaryRow, read_summary
from moclip.report import experiment, sections
from moclip.report.datacard_page import list_card_figures
from moclip.report.figures import Charts, Figure, Style, draw_figures
from moclip.report.mistakes import read_mistakes
from moclip.report.pages import count_of, describe_dataset, describe_rejects, render_page
from moclip.workflow.paths import find_results, locate, result_path, run_of

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
    """All tables and runs as they were read, the sections made from them, and the content of the data card."""

    rows: Sequence[SummaryRow]
    comparisons: Sequence[sections.Entry]
    costs: Sequence[sections.Row]
    metrics: Mapping[ReportRun, Mapping[str, Any]]
    experiments: Sequence[experiment.Row]
    networks: Mapping[str, Sequence[experiment.History]]
    card: Mapping[str, Any]


def read_results(
    *,
    tables: ReportTables,
    runs: Sequence[ReportRun],
    networks: Sequence[ReportNetwork],
    datacard: Path,
) -> Results:
    """Return the tables and the files of runs.

    Raises:
        DatasetError: A file is missing or is not what it should be.
    """
    try:
        card = json.loads(datacard.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{datacard}: expected a data card ({error}); run the workflow again") from None
    rows, metrics = read_summary(tables.summary), {run: read_metrics(run.metrics) for run in runs}
    gains = read_rows(tables.gains, columns=("experiment", "class_name", "gain"))
    costs = read_rows(tables.costs, columns=("experiment", "method", "macs"))
    described = []
    for name in dict.fromkeys(row.experiment for row in rows):
        own = [run for run in runs if run.experiment == name]
        histories = [_read_history(run) for run in own]
        described.append(
            experiment.describe_experiment(
                name, metrics=[metrics[run] for run in own], histories=histories, gains=gains
            )
        )
    return Results(
        rows=rows,
        comparisons=read_rows(tables.comparisons, columns=("split", "difference", "mcnemar_p")),
        costs=sections.describe_costs(costs, means=rows),
        metrics=metrics,
        experiments=described,
        networks={
            variant: [read_rows(one.history, columns=("epoch",)) for one in networks if one.variant == variant]
            for variant in dict.fromkeys(network.variant for network in networks)
        },
        card=card,
    )


def _read_history(run: ReportRun) -> experiment.History:
    # One file has the heads of all seeds.
    return [row for row in read_rows(run.history, columns=("seed", "epoch")) if row["seed"] == str(run.seed)]


def list_figures(results: Results) -> list[Figure]:
    """Return all figures of the report that have something to draw."""
    figures = [
        sections.draw_comparisons(results.comparisons),
        sections.draw_costs(results.costs),
        *(figure for section in results.experiments for figure in experiment.list_figures(section)),
        *(
            Figure(
                name=f"network-{name}", title=f"Motion network {name}", panels=experiment.draw_curves({"motion": own})
            )
            for name, own in results.networks.items()
        ),
        *list_card_figures(results.card),
    ]
    return [figure for figure in figures if figure.panels]


def build_report(
    dataset_name: str,
    *,
    results: Results,
    manifest: Sequence[Mapping[str, Any]],
    rejects: Sequence[Mapping[str, str]],
    mistakes: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any],
    links: Mapping[str, str] | None = None,
    charts: Mapping[str, Charts] | None = None,
) -> str:
    """Return the whole page; equal inputs give equal text.

    `manifest` holds the rows of the manifest (video_id, class_name, group, split_1 and so on), `rejects` those of
    rejects.tsv (video_id, stage, variant, reason, detail). `provenance` is shown entry by entry, text as it is, and
    all else as YAML. `links` leads to other pages: a name and an address, relative to this one. `charts` are those of
    `list_figures`, which are drawn if they are not given.
    """
    rows, documents = results.rows, list(results.metrics.values())
    facts = [
        count_of(len(manifest), one="video", many="videos"),
        count_of(len({row["class_name"] for row in manifest}), one="class", many="classes"),
        count_of(len({row["video_id"] for row in rejects}), one="video left out", many="videos left out"),
        count_of(len(results.experiments), one="experiment", many="experiments"),
    ]
    seeds = len({run.seed for run in results.metrics})
    policies = sorted({document["rejected_test_videos"] for document in documents})
    return render_page(
        "report.html",
        has_script=True,
        name=dataset_name,
        facts=facts,
        cautions=sections.list_cautions(rows, seeds=seeds, card=results.card),
        links={} if links is None else links,
        tiles=sections.describe_tiles(rows, comparisons=results.comparisons),
        results=sections.describe_results(rows, num_classes=min(document["num_classes"] for document in documents)),
        scoring=" ".join(_POLICIES.get(name, name) for name in policies),
        unscored=_list_unscored(results.metrics),
        comparisons=sections.describe_comparisons(results.comparisons),
        costs=results.costs,
        experiments=results.experiments,
        networks=list(results.networks),
        mistakes=mistakes,
        dataset=describe_dataset(manifest),
        rejects=describe_rejects(rejects),
        card=results.card,
        provenance={
            key.replace("_", " ").capitalize(): value
            if isinstance(value, str)
            else yaml.safe_dump(value, sort_keys=True, allow_unicode=True, width=100)
            for key, value in provenance.items()
        },
        charts=draw_figures(list_figures(results)) if charts is None else charts,
    )


def _list_unscored(metrics: Mapping[ReportRun, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the number of test videos without scores of some method, by experiment, split and reason."""
    counts = {
        (run.experiment, run.split, reason): count
        for run, document in metrics.items()
        for reason, count in document["rejected"].items()
    }
    return [
        {"Experiment": name, "Split": str(split), "Reason": reason,
         "Meaning": REJECT_REASONS.get(reason, "see rejects.tsv"), "Test videos": count}
        for (name, split, reason), count in sorted(counts.items())
    ]  # fmt: skip


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
    videos = [{str(key): value for key, value in row.items()} for row in read_manifest(manifest).to_dict("records")]
    results = read_results(
        tables=tables, runs=[_report_run(path) for path in runs], datacard=datacard,
        networks=[_report_network(path) for path in networks],
    )  # fmt: skip
    noted = yaml.safe_load(runs[0].with_name("run.yaml").read_text(encoding="utf-8"))
    known = {figure.name: figure for figure in list_figures(results)}
    wanted = {path.stem: Figure(name=path.stem, title=path.stem, panels=()) for path in figures}
    page = build_report(
        settings.dataset.name,
        results=results,
        manifest=videos,
        rejects=read_rows(rejects, columns=("video_id", "reason")),
        mistakes=read_mistakes(mistakes) if mistakes else None,
        provenance={"commit": noted["commit"], "libraries": noted["libraries"], "configuration": settings.canonical()},
        links=_links_of(settings),
        charts=draw_figures(list((wanted | known).values()), folder=figures[0].parent),
    )
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
    drawn = list_figures(found)
    draw_figures(drawn, style=style, folder=folder)
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
