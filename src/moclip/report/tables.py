"""Write the summary, the table of rejected videos, and the report from the results of all runs."""

import csv
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import yaml

from moclip.cache.index import list_rejects
from moclip.config.experiments import list_used
from moclip.config.settings import Settings
from moclip.core.files import replace_atomically
from moclip.dataset.manifest import read_manifest
from moclip.evaluation.comparisons import RunPredictions, write_contests
from moclip.evaluation.summary import RunMetrics, build_summary, write_summary
from moclip.report.mistakes import read_mistakes
from moclip.report.results import ReportNetwork, ReportRun, ReportTables, build_report
from moclip.workflow.paths import locate, result_path, run_of


def summarise_runs(metrics: Sequence[Path], *, output: Path) -> None:
    """Write the table of all runs, from their `metrics.json`."""
    runs: list[RunMetrics] = []
    for path in metrics:
        run = run_of(path, "evaluate", "metrics")
        runs.append(RunMetrics(experiment=run.experiment, split=run.split, seed=run.seed, path=path))
    write_summary(output, rows=build_summary(runs))


def compare_runs(
    predictions: Sequence[Path], *, comparisons: Path, gains: Path, manifest: Path, rejected_test_videos: str
) -> None:
    """Write the comparisons of methods, in all and by class, from the predictions of runs, laid out as metrics are."""
    runs: list[RunPredictions] = []
    for path in predictions:
        run = run_of(path, "evaluate", "predictions")
        runs.append(RunPredictions(experiment=run.experiment, split=run.split, seed=run.seed, path=path))
    write_contests(
        comparisons, gains=gains, predictions=runs, manifest=manifest, rejected_test_videos=rejected_test_videos
    )


def write_rejects(output: Path, *, indexes: Sequence[Path]) -> None:
    """Write one row for each video that a stage rejected, by the indexes of motion and appearance."""
    with replace_atomically(output) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, dialect="excel-tab", lineterminator="\n")
        table.writerow(["video_id", "stage", "variant", "reason", "detail"])
        for index in indexes:
            stage, variant = _stage_of(index)
            for video_id, reason, detail in list_rejects(index):
                table.writerow([video_id, stage, variant, reason, " ".join(detail.split())])


def write_report(
    output: Path,
    *,
    manifest: Path,
    rejects: Path,
    tables: ReportTables,
    datacard: Path,
    runs: Sequence[Path],
    networks: Sequence[Path],
    mistakes: Path | None,
    settings: Settings,
) -> None:
    """Write the page over all runs; `runs` and `networks` are their folders, `mistakes` that of `report.mistakes`.

    The libraries and the commit are those that the first run noted.
    """
    with rejects.open(encoding="utf-8", newline="") as file:
        rejected = list(csv.DictReader(file, dialect="excel-tab"))
    noted = yaml.safe_load((runs[0] / "run.yaml").read_text(encoding="utf-8"))
    page = build_report(
        settings.dataset.name,
        manifest=[
            {str(key): value for key, value in row.items()} for row in read_manifest(manifest).to_dict("records")
        ],
        rejects=rejected,
        tables=tables,
        datacard=datacard.read_text(encoding="utf-8"),
        runs=[_report_run(folder) for folder in runs],
        networks=[_report_network(folder) for folder in networks],
        mistakes=read_mistakes(mistakes) if mistakes else None,
        provenance={"commit": noted["commit"], "libraries": noted["libraries"], "configuration": settings.canonical()},
        links=_links_of(settings),
    )
    with replace_atomically(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _links_of(settings: Settings) -> dict[str, str]:
    # The pages of motion pictures are at `motion_pictures/{variant}.html`, relative to the report.
    variants = list_used(settings, "motion_network") if settings.report.pictures else ()
    names = ["Motion pictures"] if len(variants) == 1 else [f"Motion pictures ({variant})" for variant in variants]
    return {name: f"motion_pictures/{variant}.html" for name, variant in zip(names, variants, strict=True)}


def _stage_of(index: Path) -> tuple[str, str]:
    for stage in ("motion", "appearance"):
        with suppress(ValueError):
            return stage, locate(index, f"{stage}_index", "index")[1]["variant"]
    raise ValueError(f"{index}: expected the index of a motion or appearance variant")


def _report_run(folder: Path) -> ReportRun:
    metrics = folder / "metrics.json"
    run, (results, names) = run_of(metrics, "evaluate", "metrics"), locate(metrics, "evaluate", "metrics")
    history = result_path(results, "head", "history", experiment=names["experiment"], split=names["split"])
    return ReportRun(experiment=run.experiment, split=run.split, seed=run.seed, metrics=metrics, history=history)


def _report_network(folder: Path) -> ReportNetwork:
    history = folder / "history.tsv"
    run = run_of(history, "motion_network", "history")
    return ReportNetwork(variant=run.experiment, split=run.split, seed=run.seed, history=history)
