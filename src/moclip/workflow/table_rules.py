"""Rules of tables and pages: inputs and dependencies of the jobs that summarize runs.

The runs that they read are no gates: the engine does not evaluate params again when a run has finished, so params must
not depend on files of runs. The record of a table holds their digests.
"""

from typing import TYPE_CHECKING, Any

from moclip.config.experiments import Run, list_used
from moclip.config.methods import list_heads
from moclip.workflow.feature_rules import manifest_of, motion_of
from moclip.workflow.jobs import Inputs, JobSpec, Output, Params, join_signatures, list_files, to_json
from moclip.workflow.run_rules import heads_of, sources_of

if TYPE_CHECKING:
    from moclip.workflow.plan import Plan


def _of_runs(plan: "Plan", output: str, *, experiment: str = "") -> list[Output]:
    runs = [run for run in plan.runs if run.experiment == experiment or not experiment]
    return [plan.output("evaluate", output, experiment=run.experiment, split=run.split, seed=run.seed) for run in runs]


def _indexes(plan: "Plan", *stages: str) -> list[Output]:
    """Return the indexes of all feature sets that decode videos, of the stages `motion` and `appearance`."""
    return [
        plan.output(f"{stage}_index", "index", variant=name)
        for stage in stages
        for name in list_used(plan.settings, stage)
    ]


def _all_indexes(plan: "Plan") -> list[Output]:
    embeddings = [
        plan.output("motion_embedding_index", "index", variant=run.experiment, split=run.split, seed=run.seed)
        for run in plan.network_runs
    ]
    return [*_indexes(plan, "motion", "appearance"), *embeddings]


def _drawn(plan: "Plan") -> list[str]:
    # Folds are pooled in tables, other splits are averaged.
    folds = plan.settings.dataset.splits.folds
    return [f"{folds} folds"] if folds else []


def comparisons(plan: "Plan") -> JobSpec:
    """Compare the methods: depends on predictions and groups, and on which experiments fit their heads again."""
    predictions = _of_runs(plan, "predictions")
    entries = plan.settings.experiments.items()
    refit = [name for name, entry in entries if list_heads(entry.methods) and plan.settings.head[entry.head].refit]

    def params() -> Params:
        return {
            "cfg": to_json({"predictions": list_files(predictions), "refit": refit, "folds": _drawn(plan)}),
            "policy": plan.settings.dataset.rejected_test_videos,
            "sig": plan.signatures.columns(["video_id", "group"]),
            "reads": "reads:predictions",
        }

    return JobSpec(inputs={"manifest": manifest_of(plan), "predictions": predictions}, params=params)


def summary(plan: "Plan") -> JobSpec:
    """Summarize the runs: depends on their metrics and predictions, and on groups."""
    metrics, predictions = _of_runs(plan, "metrics"), _of_runs(plan, "predictions")
    described = plan.settings.dataset.canonical(only={"groups", "near_duplicates"})

    def params() -> Params:
        return {
            "cfg": to_json({"metrics": list_files(metrics), "folds": _drawn(plan), **described}),
            "policy": plan.settings.dataset.rejected_test_videos,
            "sig": plan.signatures.columns(["video_id", "group"]),
            "reads": "reads:metrics predictions",
        }

    inputs: Inputs = {"manifest": manifest_of(plan), "metrics": metrics, "predictions": predictions}
    return JobSpec(inputs=inputs, params=params)


def _describe_cost(plan: "Plan", run: Run) -> dict[str, Any]:
    entry, sources = plan.settings.experiments[run.experiment], sources_of(plan, run)
    described: dict[str, Any] = {
        "experiment": run.experiment,
        "methods": entry.methods,
        "head": heads_of(plan, run).file,
        "seed": run.seed,
        "features": {},
    }
    if "appearance" in sources:
        described["features"]["appearance"] = sources["appearance"].file
        described["appearance"] = plan.settings.appearance[entry.appearance].canonical()
    if "motion" in sources:
        described["features"]["motion_embedding"] = sources["motion"].file
        described["features"]["motion"] = motion_of(plan, entry.motion_network).file
        described["motion_network"] = plan.settings.motion_network[entry.motion_network].canonical()
        described["network"] = sources["network"].file
    return described


def costs(plan: "Plan") -> JobSpec:
    """Measure the cost of each method: depends on the first run of each experiment, and on the feature sets."""
    runs = [next(run for run in plan.runs if run.experiment == name) for name in plan.settings.experiments]
    heads = [heads_of(plan, run) for run in runs]
    sources = (sources_of(plan, run) for run in runs)
    networks = list(dict.fromkeys(found["network"] for found in sources if "network" in found))
    indexes = _all_indexes(plan)

    def params() -> Params:
        signed = (plan.signatures.head(output.file, seed=run.seed) for output, run in zip(heads, runs, strict=True))
        return {
            "cfg": to_json([_describe_cost(plan, run) for run in runs]),
            # The size of a file depends on how many videos share it; the digest of all rows does not.
            "shards": f"shards:{len(plan.shards)}",
            "sig": plan.signatures.rows(list_files(indexes)),
            "heads": join_signatures(signed),
            "networks": join_signatures(map(plan.signatures.model, list_files(networks))),
        }

    return JobSpec(inputs={"indexes": indexes, "heads": heads, "networks": networks}, params=params)


def rejects(plan: "Plan") -> JobSpec:
    """List the rejected videos: depends on the rows of motion and appearance."""
    indexes = _indexes(plan, "motion", "appearance")
    files = list_files(indexes)
    return JobSpec(
        inputs={"indexes": indexes}, params=lambda: {"cfg": to_json(files), "sig": plan.signatures.rows(files)}
    )


def motion_pictures(plan: "Plan", variant: str) -> JobSpec:
    """Draw training videos of a motion network: depends on the field settings and on the motion of train."""
    motion = motion_of(plan, variant)
    entry = plan.settings.motion_network[variant].canonical(only={"field", "max_px"})
    shown = plan.settings.report.canonical(only={"pictures", "picture_frames"})
    splits = sorted({run.split for run in plan.network_runs if run.experiment == variant})

    def params() -> Params:
        rows = (plan.signatures.subset_rows([motion.file], split=split, subsets=["train"]) for split in splits)
        return {
            "cfg": to_json({"report": shown, "motion_network": {variant: entry}, "splits": splits}),
            "sig": plan.signatures.trained_on(splits),
            "motion": join_signatures(rows),
        }

    return JobSpec(inputs={"manifest": manifest_of(plan), "motion": motion}, params=params)


def datacard(plan: "Plan") -> JobSpec:
    """Measure the dataset: depends on the manifest, the near-duplicates and the motion rows."""
    indexes, manifest = _indexes(plan, "motion"), manifest_of(plan)
    near = plan.output("near_duplicates", "near_duplicates")
    described = plan.settings.dataset.canonical(only={"groups", "near_duplicates", "splits"})

    def params() -> Params:
        motion = list_used(plan.settings, "motion")
        return {
            "cfg": to_json({"dataset": plan.paths.dataset, "motion": motion, **described}),
            "sig": plan.signatures.files([manifest.file, near.file]),
            "features": plan.signatures.rows(list_files(indexes)),
        }

    return JobSpec(inputs={"manifest": manifest, "near_duplicates": near, "indexes": indexes}, params=params)


def mistakes(plan: "Plan") -> JobSpec:
    """Draw misclassified videos: depends on predictions, the manifest's videos and the motion rows."""
    predictions = _of_runs(plan, "predictions", experiment=plan.mistaken)
    # The vectors that are drawn are those that the experiment saw, or any.
    network = plan.settings.experiments[plan.mistaken].motion_network
    motion = [motion_of(plan, network)] if network else _indexes(plan, "motion")[:1]

    def params() -> Params:
        return {
            "cfg": to_json({"number": plan.settings.report.mistakes}),
            "experiment": plan.mistaken,
            "sig": plan.signatures.columns(["video_id", "path", "class_name", "fingerprint"]),
            "motion": plan.signatures.rows(list_files(motion)),
            "reads": "reads:predictions",
        }

    inputs: Inputs = {"manifest": manifest_of(plan), "predictions": predictions, "motion": motion}
    return JobSpec(inputs=inputs, params=params)


def list_figures(plan: "Plan") -> list[str]:
    """Return the names of the figures that the report draws."""
    names = ["comparisons", "costs"]
    for experiment, entry in plan.settings.experiments.items():
        kinds = ["classes", "confusion", "reliability"]
        kinds += ["gains"] if "fusion" in entry.methods else []
        kinds += ["heads"] if list_heads(entry.methods) else []
        names += [f"{kind}-{experiment}" for kind in kinds]
    names += [f"network-{variant}" for variant in list_used(plan.settings, "motion_network")]
    return names + [f"datacard-{variant}" for variant in list_used(plan.settings, "motion")]


def report(plan: "Plan") -> JobSpec:
    """Write the report: depends on the whole configuration and on every table and index."""
    tables: dict[str, Output | list[Output]] = {
        name: plan.output("comparisons" if name == "gains" else name, name)
        for name in ("rejects", "summary", "comparisons", "gains", "costs")
    }
    tables["datacard"] = plan.output("datacard", "card")
    tables["metrics"] = _of_runs(plan, "metrics")
    tables["networks"] = [
        plan.output("motion_network", "history", variant=run.experiment, split=run.split, seed=run.seed)
        for run in plan.network_runs
    ]
    tables["mistakes"] = [plan.output("mistakes", "mistakes")] if plan.mistaken else []
    pages = list_used(plan.settings, "motion_network") if plan.settings.report.pictures else ()
    histories = list(dict.fromkeys(heads_of(plan, run, "history") for run in plan.runs))
    indexes, manifest = _all_indexes(plan), manifest_of(plan)

    def params() -> Params:
        return {
            "cfg": to_json(plan.settings.canonical()),
            "order": to_json([*plan.settings.experiments]),
            "sig": plan.signatures.files([manifest.file]),
            "features": plan.signatures.rows(list_files(indexes)),
            "heads": plan.signatures.files(list_files(histories)),
            "reads": f"reads:{' '.join(tables)}",
            "pages": to_json(list(pages)),
        }

    inputs: Inputs = {"manifest": manifest, **tables, "heads": histories, "indexes": indexes}
    patterns = plan.paths.outputs("figure")
    figures = {name: tuple(file.format(figure=f) for f in list_figures(plan)) for name, file in patterns.items()}
    return JobSpec(inputs=inputs, params=params, also=figures)
