"""Write the summary, the comparisons and the table of rejected videos from the results of all runs."""

import csv
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from moclip.cache.index import list_rejects
from moclip.core.files import replace_atomically
from moclip.dataset.groups import describe_groups
from moclip.dataset.manifest_table import read_table
from moclip.evaluation.comparisons import write_contests
from moclip.evaluation.predictions import RunFile
from moclip.evaluation.summary import RunResults, build_summary, write_summary
from moclip.workflow.paths import locate, run_of

if TYPE_CHECKING:
    from moclip.config.dataset_settings import Dataset


def summarise_runs(
    metrics: Sequence[Path],
    *,
    predictions: Sequence[Path],
    output: Path,
    manifest: Path,
    dataset: "Dataset",
) -> None:
    """Write the table of all runs, from their `metrics.json` and `predictions.tsv`."""
    places = {run_of(path, "evaluate", "predictions"): path for path in predictions}
    runs: list[RunResults] = []
    for path in metrics:
        run = run_of(path, "evaluate", "metrics")
        runs.append(
            RunResults(experiment=run.experiment, split=run.split, seed=run.seed, metrics=path, predictions=places[run])
        )
    groups = dict(read_table(manifest).rows("video_id", "group"))
    rows = build_summary(
        runs,
        groups=groups,
        leave_out=dataset.rejected_test_videos == "leave_out",
        are_folds=dataset.splits.folds > 0,
        group_source=describe_groups(dataset, groups=groups),
    )
    write_summary(output, rows=rows)


def compare_runs(
    predictions: Sequence[Path],
    *,
    comparisons: Path,
    gains: Path,
    manifest: Path,
    rejected_test_videos: str,
    are_folds: bool,
    refit: Collection[str],
) -> None:
    """Write the comparisons of methods, in all and by class, from the predictions of runs, laid out as metrics are.

    `refit` names the experiments whose heads are fitted on train and val together.
    """
    runs: list[RunFile] = []
    for path in predictions:
        run = run_of(path, "evaluate", "predictions")
        runs.append(RunFile(experiment=run.experiment, split=run.split, seed=run.seed, path=path))
    write_contests(
        comparisons,
        gains=gains,
        predictions=runs,
        manifest=manifest,
        rejected_test_videos=rejected_test_videos,
        are_folds=are_folds,
        refit=refit,
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


def _stage_of(index: Path) -> tuple[str, str]:
    for stage in ("motion", "appearance"):
        with suppress(ValueError):
            return stage, locate(index, f"{stage}_index", "index")[1]["variant"]
    raise ValueError(f"{index}: expected the index of a motion or appearance variant")
