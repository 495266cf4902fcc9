"""Rules of runs: what the jobs that train heads and test them read and depend on."""

import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from moclip.config.experiments import Run
from moclip.config.methods import list_heads, reads
from moclip.dataset.labels import LEARNED
from moclip.workflow.feature_rules import manifest_of, network_of
from moclip.workflow.jobs import JobSpec, Params, Source, join_signatures, to_json, unique

if TYPE_CHECKING:
    from moclip.workflow.plan import Plan


def _uses(plan: "Plan", experiment: str, what: str) -> bool:
    return reads(plan.config["experiments"][experiment]["methods"], what)


def batch_of(plan: "Plan", experiment: str) -> str:
    """Return the batch of an experiment, named after the variants that it reads."""
    entry = plan.config["experiments"][experiment]
    keys = {"appearance": "appearance", "motion": "motion_network"}
    return "+".join(entry[key] for stream, key in keys.items() if _uses(plan, experiment, stream))


def list_batches(plan: "Plan") -> dict[tuple[str, str], list[Run]]:
    """Return the runs of each batch of heads, by the batch and its split."""
    found: dict[tuple[str, str], list[Run]] = {}
    # Sorted: another order of the experiments trains nothing again.
    for run in sorted(plan.runs):
        found.setdefault((batch_of(plan, run.experiment), str(run.split)), []).append(run)
    return found


def batch_rule(batch: str, split: str) -> str:
    """Return the name of the rule of a batch: letters, digits and `_`, different for each batch."""
    # `a-b` and `a_b` would both become `a_b`, so a name with other signs gets a digest.
    plain = re.fullmatch(r"[A-Za-z0-9]+(\+[A-Za-z0-9]+)?", batch)
    mark = "" if plain else f"_{blake2b(batch.encode(), digest_size=3).hexdigest()}"
    return re.sub(r"\W", "_", f"head_{batch}{mark}_split_{split}")


def streams_of(plan: "Plan", run: Run) -> dict[str, Source]:
    """Return the indexes of the feature sets that a run reads, by stream."""
    entry = plan.config["experiments"][run.experiment]
    found = {}
    if _uses(plan, run.experiment, "motion"):
        place = {"variant": entry["motion_network"], "split": run.split, "seed": run.seed}
        found["motion"] = (plan.job("motion_embedding_index", **place), "index")
    if _uses(plan, run.experiment, "appearance"):
        found["appearance"] = (plan.job("appearance_index", variant=entry["appearance"]), "index")
    return found


def models_of(plan: "Plan", run: Run) -> dict[str, Source]:
    """Return the motion network and the class embeddings behind a run, as far as it reads them."""
    entry = plan.config["experiments"][run.experiment]
    found = {}
    if _uses(plan, run.experiment, "motion"):
        found["network"] = network_of(plan, entry["motion_network"], run.split, run.seed)
    if _uses(plan, run.experiment, "text"):
        found["text"] = (plan.job("text", variant=entry["text"]), "classes")
    return found


def run_files(plan: "Plan", run: Run) -> dict[str, str]:
    """Return the files that a run is made from, by name."""
    return {
        name: job.outputs[output] for name, (job, output) in {**streams_of(plan, run), **models_of(plan, run)}.items()
    }


def _describe_run(plan: "Plan", run: Run) -> dict[str, Any]:
    entry = plan.config["experiments"][run.experiment]
    files = plan.paths.run_head(run.experiment, run.split, run.seed)
    return {
        **run_files(plan, run),
        "output": files["head"],
        "history": files["history"],
        "seed": run.seed,
        "methods": entry["methods"],
        "head": plan.config["head"][entry["head"]] if list_heads(entry["methods"]) else {},
        "shots": entry["shots"],
    }


def head(plan: "Plan", batch: str, split: str) -> JobSpec:
    """Train a batch of heads: depends on its runs, and on labels, features and models behind train and val."""
    runs = list_batches(plan)[batch, split]
    indexes = unique(pair for run in runs for pair in streams_of(plan, run).values())
    models = unique(pair for run in runs for pair in models_of(plan, run).values())
    described = {run.name: _describe_run(plan, run) for run in runs}

    def params() -> Params:
        files = [job.outputs[output] for job, output in indexes]
        return {
            "cfg": to_json(described),
            "split": f"split:{split}",
            "sig": plan.signatures.labels(split, LEARNED, names=False),
            "classes": plan.signatures.num_classes(),
            "features": plan.signatures.subset_rows(files, split=split, subsets=LEARNED),
            "models": join_signatures(plan.signatures.model(job.outputs[output]) for job, output in models),
        }

    heads = [plan.paths.run_head(run.experiment, run.split, run.seed) for run in runs]
    also = {
        "heads": tuple(files["head"] for files in heads),
        "histories": tuple(files["history"] for files in heads),
    }
    return JobSpec(
        inputs={"manifest": manifest_of(plan), "indexes": indexes, "models": models}, params=params, also=also
    )


def heads_of(plan: "Plan", run: Run) -> Source:
    """Return the index of heads of a run as an input."""
    return plan.job("head", batch=batch_of(plan, run.experiment), split=run.split), "index"


def resolve_run(plan: "Plan", experiment: str) -> dict[str, Any]:
    """Return the part of the configuration that a run is made of, every variant resolved."""
    entry = plan.config["experiments"][experiment]
    parts = ("appearance", "motion_network", "text", "head")
    resolved = {part: plan.config[part][entry[part]] for part in parts if entry.get(part)}
    # Its other splits and seeds do not matter: another seed tests no run again.
    own = {key: value for key, value in entry.items() if key not in {"splits", "seeds"}}
    return {"experiment": own, **resolved}


def evaluate(plan: "Plan", experiment: str, split: str, seed: str) -> JobSpec:
    """Test a run: depends on its head, its resolved settings, and labels and features of the test subset."""
    run = Run(experiment=experiment, split=int(split), seed=int(seed))
    indexes, below = streams_of(plan, run), models_of(plan, run)
    heads, index = heads_of(plan, run)

    def params() -> Params:
        files = [job.outputs[output] for job, output in indexes.values()]
        return {
            "cfg": to_json(resolve_run(plan, experiment)),
            "policy": plan.config["dataset"]["rejected_test_videos"],
            "sig": plan.signatures.labels(split, ["test"], names=True),
            "classes": plan.signatures.classes(),
            "features": plan.signatures.subset_rows(files, split=split, subsets=["test"]),
            "models": join_signatures(plan.signatures.model(job.outputs[output]) for job, output in below.values()),
            "head": plan.signatures.head(heads.outputs[index], run.name),
        }

    return JobSpec(inputs={"manifest": manifest_of(plan), "heads": (heads, index), **indexes, **below}, params=params)
