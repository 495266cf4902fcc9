"""What stands above all runs: the summary, the list of videos that were left out, and the report."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from moclip.config import list_used
from moclip.contests import RunPredictions, write_contests
from moclip.features import list_rejects
from moclip.files import replace_atomically
from moclip.manifest import read_manifest
from moclip.mistakes import read_mistakes
from moclip.report import ReportNetwork, ReportRun, ReportTables, build_report
from moclip.summary import RunMetrics, build_summary, write_summary


def summarise_runs(metrics: Sequence[Path], *, output: Path) -> None:
    """Write the table over the runs whose metrics lie at `.../{experiment}/split-{split}/seed-{seed}/metrics.json`."""
    runs: list[RunMetrics] = []
    for path in metrics:
        experiment, split, seed = _numbers_of(path.parent)
        runs.append(RunMetrics(experiment=experiment, split=split, seed=seed, path=path))
    write_summary(output, rows=build_summary(runs))


def compare_runs(
    predictions: Sequence[Path], *, comparisons: Path, gains: Path, manifest: Path, rejected_test_videos: str
) -> None:
    """Write the comparisons of methods, in all and by class, from the predictions of runs, laid out as metrics are."""
    runs: list[RunPredictions] = []
    for path in predictions:
        experiment, split, seed = _numbers_of(path.parent)
        runs.append(RunPredictions(experiment=experiment, split=split, seed=seed, path=path))
    write_contests(
        comparisons, gains=gains, predictions=runs, manifest=manifest, rejected_test_videos=rejected_test_videos
    )


def write_rejects(output: Path, *, indexes: Sequence[Path]) -> None:
    """Write one row for each video that a stage left out; an index lies at `.../{stage}/{variant}/index.json`."""
    with replace_atomically(output) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, dialect="excel-tab", lineterminator="\n")
        table.writerow(["video_id", "stage", "variant", "reason", "detail"])
        for index in indexes:
            stage, variant = index.parts[-3:-1]
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
    config: Mapping[str, Any],
) -> None:
    """Write the page over all runs; `runs` and `networks` are their folders, `mistakes` a file of `moclip.mistakes`.

    The libraries and the commit are those that the first run noted.
    """
    with rejects.open(encoding="utf-8", newline="") as file:
        rejected = list(csv.DictReader(file, dialect="excel-tab"))
    noted = yaml.safe_load((runs[0] / "run.yaml").read_text(encoding="utf-8"))
    page = build_report(
        config["dataset"]["name"],
        manifest=[
            {str(key): value for key, value in row.items()} for row in read_manifest(manifest).to_dict("records")
        ],
        rejects=rejected,
        tables=tables,
        datacard=datacard.read_text(encoding="utf-8"),
        runs=[_report_run(folder) for folder in runs],
        networks=[_report_network(folder) for folder in networks],
        mistakes=read_mistakes(mistakes) if mistakes else None,
        provenance={"commit": noted["commit"], "libraries": noted["libraries"], "configuration": dict(config)},
        links=_links_of(config),
    )
    with replace_atomically(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _links_of(config: Mapping[str, Any]) -> dict[str, str]:
    # The pages of motion pictures lie at `motion_pictures/{variant}.html` beside the report.
    variants = list_used(config, "motion_network") if config["report"]["pictures"] else ()
    names = ["Motion pictures"] if len(variants) == 1 else [f"Motion pictures ({variant})" for variant in variants]
    return {name: f"motion_pictures/{variant}.html" for name, variant in zip(names, variants, strict=True)}


def _numbers_of(folder: Path) -> tuple[str, int, int]:
    name, split, seed = folder.parts[-3:]
    return name, int(split.removeprefix("split-")), int(seed.removeprefix("seed-"))


def _report_run(folder: Path) -> ReportRun:
    experiment, split, seed = _numbers_of(folder)
    metrics, history = folder / "metrics.json", folder / "history.tsv"
    return ReportRun(experiment=experiment, split=split, seed=seed, metrics=metrics, history=history)


def _report_network(folder: Path) -> ReportNetwork:
    variant, split, seed = _numbers_of(folder)
    return ReportNetwork(variant=variant, split=split, seed=seed, history=folder / "history.tsv")
