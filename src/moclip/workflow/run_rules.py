"""Rules of runs: inputs and dependencies of the jobs that train heads and test them."""

from typing import TYPE_CHECKING, Any

from moclip.config.experiments import Run
from moclip.config.methods import list_heads, reads
from moclip.dataset.labels import LEARNED
from moclip.workflow.feature_rules import manifest_of
from moclip.workflow.jobs import JobSpec, Output, Params, join_signatures, list_files, to_json

if TYPE_CHECKING:
    from moclip.workflow.plan import Plan


def streams_of(plan: "Plan", run: Run) -> dict[str, Output]:
    """Return the indexes of the feature sets that a run reads, by stream."""
    entry, place = plan.settings.experiments[run.experiment], {"split": run.split, "seed": run.seed}
    found = {}
    if reads(entry.methods, "motion"):
        found["motion"] = plan.output("motion_embedding_index", "index", variant=entry.motion_network, **place)
    if reads(entry.methods, "appearance"):
        found["appearance"] = plan.output("appearance_index", "index", variant=entry.appearance)
    return found


def models_of(plan: "Plan", run: Run) -> dict[str, Output]:
    """Return the motion network and the class embeddings behind a run, as far as it reads them."""
    entry, place = plan.settings.experiments[run.experiment], {"split": run.split, "seed": run.seed}
    found = {}
    if reads(entry.methods, "motion"):
        found["network"] = plan.output("motion_network", "model", variant=entry.motion_network, **place)
    if reads(entry.methods, "text"):
        found["text"] = plan.output("text", "classes", variant=entry.text)
    return found


def heads_of(plan: "Plan", run: Run, output: str = "heads") -> Output:
    """Return an output of the job that trains the heads of a run."""
    return plan.output("head", output, experiment=run.experiment, split=run.split)


def head(plan: "Plan", experiment: str, split: str) -> JobSpec:
    """Train the heads of all seeds: depends on settings, and on labels, features and models behind train and val."""
    entry, runs = plan.settings.experiments[experiment], plan.seeds(experiment, split)
    streams = {run.seed: streams_of(plan, run) for run in runs}
    models = {run.seed: models_of(plan, run) for run in runs}
    indexes, below = (
        list(dict.fromkeys(output for found in of.values() for output in found.values())) for of in (streams, models)
    )
    described = {
        "methods": entry.methods,
        "head": plan.settings.head[entry.head].canonical() if list_heads(entry.methods) else {},
        "shots": entry.shots,
        "seeds": {
            seed: {name: output.file for name, output in {**streams[seed], **models[seed]}.items()} for seed in streams
        },
    }

    def params() -> Params:
        return {
            "cfg": to_json(described),
            "sig": plan.signatures.labels(split, LEARNED, names=False),
            "classes": plan.signatures.num_classes(),
            "features": plan.signatures.subset_rows(list_files(indexes), split=split, subsets=LEARNED),
            "models": join_signatures(map(plan.signatures.model, list_files(below))),
        }

    return JobSpec(inputs={"manifest": manifest_of(plan), "indexes": indexes, "models": below}, params=params)


def resolve_run(plan: "Plan", experiment: str) -> dict[str, Any]:
    """Return the part of the configuration that a run depends on, every variant resolved."""
    entry = plan.settings.experiments[experiment]
    named = {part: getattr(entry, part) for part in ("appearance", "motion_network", "text", "head")}
    resolved = {part: getattr(plan.settings, part)[name].canonical() for part, name in named.items() if name}
    # Its other splits and seeds do not matter: another seed tests no run again.
    return {"experiment": entry.canonical(without={"splits", "seeds"}), **resolved}


def evaluate(plan: "Plan", experiment: str, split: str, seed: str) -> JobSpec:
    """Test a run: depends on its head, its resolved settings, and labels and features of the test subset."""
    run = Run(experiment=experiment, split=int(split), seed=int(seed))
    indexes, below, heads = streams_of(plan, run), models_of(plan, run), heads_of(plan, run)

    def params() -> Params:
        files = list_files(indexes.values())
        return {
            "cfg": to_json(resolve_run(plan, experiment)),
            "policy": plan.settings.dataset.rejected_test_videos,
            "sig": plan.signatures.labels(split, ["test"], names=True),
            "classes": plan.signatures.classes(),
            "features": plan.signatures.subset_rows(files, split=split, subsets=["test"]),
            "models": join_signatures(map(plan.signatures.model, list_files(below.values()))),
            "head": plan.signatures.head(heads.file, seed=run.seed),
        }

    return JobSpec(inputs={"manifest": manifest_of(plan), "heads": heads, **indexes, **below}, params=params)
