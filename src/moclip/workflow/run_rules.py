"""Rules of runs: inputs and dependencies of the jobs that train heads and test them."""

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from moclip.config.experiments import Run
from moclip.config.methods import list_heads, reads
from moclip.dataset.labels import LEARNED
from moclip.workflow.feature_rules import manifest_of
from moclip.workflow.jobs import JobSpec, Output, Params, join_signatures, list_files, to_json

if TYPE_CHECKING:
    from moclip.workflow.plan import Plan

_STREAMS, _MODELS = ("motion", "appearance"), ("network", "text")


def sources_of(plan: "Plan", run: Run) -> dict[str, Output]:
    """Return what a run reads, by name: indexes of streams (`motion`, `appearance`), and models (`network`, `text`)."""
    entry = plan.settings.experiments[run.experiment]
    network = {"variant": entry.motion_network, "split": run.split, "seed": run.seed}
    sources: tuple[tuple[str, str, str, str, Mapping[str, Any]], ...] = (
        ("motion", "motion", "motion_embedding_index", "index", network),
        ("appearance", "appearance", "appearance_index", "index", {"variant": entry.appearance}),
        ("network", "motion", "motion_network", "model", network),
        ("text", "text", "text", "classes", {"variant": entry.text}),
    )
    return {
        name: plan.output(rule, output, **wildcards)
        for name, stream, rule, output, wildcards in sources
        if reads(entry.methods, stream)
    }


def _pick(sources: Iterable[Mapping[str, Output]], names: Collection[str]) -> list[Output]:
    # Each output once: the seeds of an experiment share features.
    return list(dict.fromkeys(output for found in sources for name, output in found.items() if name in names))


def heads_of(plan: "Plan", run: Run, output: str = "heads") -> Output:
    """Return an output of the job that trains the heads of a run."""
    return plan.output("head", output, experiment=run.experiment, split=run.split)


def head(plan: "Plan", experiment: str, split: str) -> JobSpec:
    """Train the heads of all seeds: depends on settings, and on labels, features and models behind train and val."""
    entry, runs = plan.settings.experiments[experiment], plan.seeds(experiment, split)
    sources = {run.seed: sources_of(plan, run) for run in runs}
    indexes, models = (_pick(sources.values(), names) for names in (_STREAMS, _MODELS))
    described = {
        "methods": entry.methods,
        "head": plan.settings.head[entry.head].canonical() if list_heads(entry.methods) else {},
        "shots": entry.shots,
        "seeds": {seed: {name: output.file for name, output in found.items()} for seed, found in sources.items()},
    }

    def params() -> Params:
        return {
            "cfg": to_json(described),
            "sig": plan.signatures.labels(split, LEARNED, names=False),
            "classes": plan.signatures.num_classes(),
            "features": plan.signatures.subset_rows(list_files(indexes), split=split, subsets=LEARNED),
            "models": join_signatures(map(plan.signatures.model, list_files(models))),
        }

    return JobSpec(inputs={"manifest": manifest_of(plan), "indexes": indexes, "models": models}, params=params)


def resolve_run(plan: "Plan", experiment: str) -> dict[str, Any]:
    """Return the part of the configuration that a run depends on, every variant resolved."""
    entry = plan.settings.experiments[experiment]
    named = {part: getattr(entry, part) for part in ("appearance", "motion_network", "text", "head")}
    resolved = {part: getattr(plan.settings, part)[name].canonical() for part, name in named.items() if name}
    # Its other splits and seeds do not matter: another seed tests no run again.
    return {"experiment": entry.canonical(without={"splits", "seeds"}), **resolved}


def evaluate(plan: "Plan", experiment: str, split: str, seed: str) -> JobSpec:
    """Test a run: depends on its head, its settings, labels and features of test, and the class counts of train."""
    run = Run(experiment=experiment, split=int(split), seed=int(seed))
    sources, heads = sources_of(plan, run), heads_of(plan, run)
    indexes, models = (list_files(_pick([sources], names)) for names in (_STREAMS, _MODELS))

    def params() -> Params:
        return {
            "cfg": to_json(resolve_run(plan, experiment)),
            "policy": plan.settings.dataset.rejected_test_videos,
            "sig": plan.signatures.labels(split, ["test"], names=True),
            "classes": plan.signatures.classes(),
            "train": plan.signatures.class_counts(split, "train"),
            "features": plan.signatures.subset_rows(indexes, split=split, subsets=["test"]),
            "models": join_signatures(map(plan.signatures.model, models)),
            "head": plan.signatures.head(heads.file, seed=run.seed),
        }

    return JobSpec(inputs={"manifest": manifest_of(plan), "heads": heads, **sources}, params=params)
