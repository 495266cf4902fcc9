"""Rules of tables and pages: what the jobs that summarize runs read and depend on.

The runs that they read are no gates: the engine does not evaluate params again when a run has finished, so params must
not depend on files of runs. The record of a table holds their digests.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from moclip.config.experiments import Run, list_used
from moclip.config.methods import list_heads
from moclip.workflow.feature_rules import manifest_of, motion_index_of, network_of
from moclip.workflow.jobs import Inputs, JobSpec, Params, Source, join_signatures, name_read, to_json, unique
from moclip.workflow.run_rules import heads_of, models_of, run_files

if TYPE_CHECKING:
    from moclip.workflow.plan import Plan


def _of_runs(plan: "Plan", output: str, runs: Sequence[Run] | None = None) -> list[Source]:
    return [(plan.run_job(run), output) for run in (plan.runs if runs is None else runs)]


def _signed(plan: "Plan", pairs: Sequence[Source]) -> str:
    return plan.signatures.files([job.outputs[output] for job, output in pairs])


def _indexes(plan: "Plan") -> list[Source]:
    motion = [(plan.job("motion_index", variant=name), "index") for name in plan.motion]
    appearance = [(plan.job("appearance_index", variant=name), "index") for name in plan.appearance]
    embeddings = [
        (plan.job("motion_embedding_index", variant=run.experiment, split=run.split, seed=run.seed), "index")
        for run in plan.network_runs
    ]
    return [*motion, *appearance, *embeddings]


def comparisons(plan: "Plan") -> JobSpec:
    """Compare the methods: depends on predictions and groups."""
    predictions = _of_runs(plan, "predictions")

    def params() -> Params:
        return {
            "cfg": json.dumps([job.outputs[output] for job, output in predictions]),
            "policy": plan.config["dataset"]["rejected_test_videos"],
            "sig": plan.signatures.columns(["video_id", "group"]),
            "reads": name_read(["predictions"]),
        }

    inputs: Inputs = {"manifest": manifest_of(plan), "predictions": predictions}
    return JobSpec(inputs=inputs, params=params, follows=frozenset({"predictions"}))


def summary(plan: "Plan") -> JobSpec:
    """Summarize the runs: depends on their metrics."""
    metrics = _of_runs(plan, "metrics")

    def params() -> Params:
        cfg = json.dumps([job.outputs[output] for job, output in metrics])
        return {"cfg": cfg, "reads": name_read(["metrics"])}

    return JobSpec(inputs={"metrics": metrics}, params=params, follows=frozenset({"metrics"}))


def cost_runs(plan: "Plan") -> list[dict[str, Any]]:
    """Return the first run of each experiment and what it is made of, for the table of costs."""
    first: dict[str, Run] = {}
    for run in plan.runs:
        first.setdefault(run.experiment, run)
    return [_describe_cost(plan, run) for run in first.values()]


def _describe_cost(plan: "Plan", run: Run) -> dict[str, Any]:
    entry, files = plan.config["experiments"][run.experiment], run_files(plan, run)
    features = {"appearance": files.get("appearance"), "motion_embedding": files.get("motion")}
    variants = {}
    if "motion" in files:
        motion, index = motion_index_of(plan, entry["motion_network"])
        features["motion"] = motion.outputs[index]
        variants["motion_network"] = plan.config["motion_network"][entry["motion_network"]]
    if "appearance" in files:
        variants["appearance"] = plan.config["appearance"][entry["appearance"]]
    return {
        **variants,
        **{key: files[key] for key in ("network",) if key in files},
        "experiment": run.experiment,
        "methods": entry["methods"],
        "head": plan.paths.run_head(run.experiment, run.split, run.seed)["head"],
        "features": {name: path for name, path in features.items() if path},
    }


def costs(plan: "Plan") -> JobSpec:
    """Measure what each method costs: depends on heads, networks and feature sets."""
    first = {entry["experiment"]: entry for entry in cost_runs(plan)}
    runs = [next(run for run in plan.runs if run.experiment == name) for name in first]
    heads = unique(heads_of(plan, run) for run in runs)
    networks = unique(models_of(plan, run)["network"] for run in runs if "network" in models_of(plan, run))

    def params() -> Params:
        names = [run.name for run in runs]
        indexes = [heads_of(plan, run)[0].outputs["index"] for run in runs]
        return {
            "cfg": to_json(list(first.values())),
            "benchmarks": plan.paths.benchmarks,
            # The size of a file depends on how many videos share it; the digest of all rows does not.
            "shards": f"shards:{len(plan.shards)}",
            "sig": plan.signatures.rows([job.outputs[output] for job, output in _indexes(plan)]),
            "heads": join_signatures(
                plan.signatures.head(path, name) for path, name in zip(indexes, names, strict=True)
            ),
            "networks": join_signatures(plan.signatures.model(job.outputs[output]) for job, output in networks),
        }

    return JobSpec(inputs={"indexes": _indexes(plan), "heads": heads, "networks": networks}, params=params)


def rejects(plan: "Plan") -> JobSpec:
    """List the rejected videos: depends on the rows of motion and appearance."""
    indexes = [pair for pair in _indexes(plan) if pair[0].rule != "motion_embedding_index"]

    def params() -> Params:
        files = [job.outputs[output] for job, output in indexes]
        return {"cfg": json.dumps(files), "sig": plan.signatures.rows(files)}

    return JobSpec(inputs={"indexes": indexes}, params=params)


def splits_of_network(plan: "Plan", variant: str) -> list[int]:
    """Return the splits that some experiment trains a motion network variant on."""
    return sorted({run.split for run in plan.network_runs if run.experiment == variant})


def motion_pictures(plan: "Plan", variant: str) -> JobSpec:
    """Draw training videos of a motion network: depends on the field settings and on the motion of train."""
    motion, index = motion_index_of(plan, variant)
    entry = {key: plan.config["motion_network"][variant][key] for key in ("field", "max_px")}
    shown = {key: plan.config["report"][key] for key in ("pictures", "picture_frames")}
    splits = splits_of_network(plan, variant)

    def params() -> Params:
        files = [motion.outputs[index]]
        return {
            "cfg": to_json({"report": shown, "motion_network": {variant: entry}, "splits": splits}),
            "sig": plan.signatures.trained_on(splits),
            "motion": join_signatures(
                plan.signatures.subset_rows(files, split=split, subsets=["train"]) for split in splits
            ),
        }

    return JobSpec(inputs={"manifest": manifest_of(plan), "motion": (motion, index)}, params=params)


def datacard(plan: "Plan") -> JobSpec:
    """Measure the dataset: depends on the manifest and the motion rows."""
    indexes = [pair for pair in _indexes(plan) if pair[0].rule == "motion_index"]
    manifest, table = manifest_of(plan)

    def params() -> Params:
        files = [job.outputs[output] for job, output in indexes]
        return {
            "cfg": to_json({"dataset": plan.paths.dataset, "motion": list(plan.motion)}),
            "sig": plan.signatures.files([manifest.outputs[table]]),
            "features": plan.signatures.rows(files),
        }

    return JobSpec(inputs={"manifest": manifest_of(plan), "indexes": indexes}, params=params)


def mistakes(plan: "Plan") -> JobSpec:
    """Draw misclassified videos: depends on predictions, the manifest's videos and the motion rows."""
    predictions = _of_runs(plan, "predictions", [run for run in plan.runs if run.experiment == plan.mistaken])
    # The vectors that are drawn are those that the experiment saw, or any.
    network = plan.config["experiments"][plan.mistaken].get("motion_network")
    motion = [pair for pair in _indexes(plan) if pair[0].rule == "motion_index"][:1]
    motion = [motion_index_of(plan, network)] if network else motion

    def params() -> Params:
        return {
            "cfg": json.dumps({"number": plan.config["report"]["mistakes"]}),
            "experiment": plan.mistaken,
            "sig": plan.signatures.columns(["video_id", "path", "class_name", "fingerprint"]),
            "motion": plan.signatures.rows([job.outputs[output] for job, output in motion]),
            "reads": name_read(["predictions"]),
        }

    inputs: Inputs = {"manifest": manifest_of(plan), "predictions": predictions, "motion": motion}
    return JobSpec(inputs=inputs, params=params, follows=frozenset({"predictions"}))


def list_figures(plan: "Plan") -> list[str]:
    """Return the names of the figures that the report draws."""
    names = ["comparisons", "costs"]
    for experiment, entry in plan.config["experiments"].items():
        kinds = ["classes", "confusion", "reliability"]
        kinds += ["gains"] if "fusion" in entry["methods"] else []
        kinds += ["heads"] if list_heads(entry["methods"]) else []
        names += [f"{kind}-{experiment}" for kind in kinds]
    names += [f"network-{variant}" for variant in list_used(plan.config, "motion_network")]
    return names + [f"datacard-{variant}" for variant in plan.motion]


def report(plan: "Plan") -> JobSpec:
    """Write the report: depends on the whole configuration and on every table and index."""
    manifest, table = manifest_of(plan)
    tables = {
        "rejects": (plan.job("rejects"), "rejects"),
        "summary": (plan.job("summary"), "summary"),
        "comparisons": (plan.job("comparisons"), "comparisons"),
        "gains": (plan.job("comparisons"), "gains"),
        "costs": (plan.job("costs"), "costs"),
        "datacard": (plan.job("datacard"), "card"),
    }
    networks = [network_of(plan, run.experiment, run.split, run.seed, "history") for run in plan.network_runs]
    lists = {
        "metrics": _of_runs(plan, "metrics"),
        "networks": networks,
        "mistakes": [(plan.job("mistakes"), "mistakes")] if plan.mistaken else [],
    }
    pages = list_used(plan.config, "motion_network") if plan.config["report"]["pictures"] else ()
    heads = unique(heads_of(plan, run) for run in plan.runs)
    indexes = _indexes(plan)

    def params() -> Params:
        return {
            "cfg": json.dumps(plan.config, sort_keys=True),
            "order": json.dumps([*plan.config["experiments"]]),
            "sig": plan.signatures.files([manifest.outputs[table]]),
            "features": plan.signatures.rows([job.outputs[output] for job, output in indexes]),
            "heads": _signed(plan, heads),
            "reads": name_read([*tables, *lists]),
            "pages": json.dumps(list(pages)),
        }

    inputs: Inputs = {"manifest": manifest_of(plan), **tables, **lists, "heads": heads, "indexes": indexes}
    patterns = plan.paths.outputs("figure")
    also = {name: tuple(file.format(figure=f) for f in list_figures(plan)) for name, file in patterns.items()}
    return JobSpec(inputs=inputs, params=params, follows=frozenset({*tables, "metrics", "mistakes"}), also=also)
