"""Rules of features: inputs and dependencies of the jobs from the manifest to the motion embeddings."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from moclip.config.experiments import list_used
from moclip.dataset.labels import LEARNED
from moclip.extraction.motion_embedding import embedding_settings
from moclip.workflow.jobs import Inputs, JobSpec, Output, Params, join_signatures, list_files, to_json
from moclip.workflow.signatures import parse_content

if TYPE_CHECKING:
    from moclip.workflow.plan import Plan


def manifest_of(plan: "Plan") -> Output:
    """Return the manifest."""
    return plan.output("manifest", "manifest")


def videos_of(plan: "Plan") -> Output:
    """Return the table that shards are made from: the manifest, or one that does not follow from features."""
    return plan.output("videos", "videos") if plan.splits_follow else manifest_of(plan)


def motion_of(plan: "Plan", network: str) -> Output:
    """Return the index of the motion features that a motion network variant reads."""
    return plan.output("motion_index", "index", variant=plan.settings.motion_network[network].motion)


def demo_dataset(plan: "Plan") -> JobSpec:
    """Render the videos of a generated dataset: depends on their kind and on where they go."""
    cfg = to_json(plan.settings.dataset.canonical(only={"generate", "root", "lists"}))
    return JobSpec(inputs={}, params=lambda: {"cfg": cfg})


def _listing(plan: "Plan", *others: Output) -> JobSpec:
    # The handling of bad videos and the place of the videos do not change the list.
    without = {"root", "on_bad_video", "limits", "rejected_test_videos"}
    if not plan.splits_follow:
        without.add("near_duplicates")  # its other keys belong to the search
    cfg = to_json({"dataset": plan.settings.dataset.canonical(without=without)})
    above: dict[str, Output] = {"complete": plan.output("demo_dataset", "complete")} if plan.complete else {}
    above |= {output.name: output for output in others}
    files = list_files(others)

    def params() -> Params:
        found = [plan.listing(), *(plan.signatures.files([file]) for file in files)]
        return {"cfg": cfg, "sig": join_signatures(found)}

    return JobSpec(inputs=above, params=params)


def videos(plan: "Plan") -> JobSpec:
    """List the videos before near-duplicates are known: depends on the same things as the manifest."""
    return _listing(plan)


def manifest(plan: "Plan") -> JobSpec:
    """List the videos: depends on the dataset's settings, and on the content of its videos and lists."""
    return _listing(plan, *([plan.output("near_duplicates", "near_duplicates")] if plan.splits_follow else []))


def near_duplicates(plan: "Plan") -> JobSpec:
    """Find near-duplicates: depends on the features that describe videos, and on equal bytes."""
    described = _describing_variants(plan)
    limits = plan.settings.dataset.near_duplicates.canonical(without={"keep_together"})
    cfg = to_json({**limits, "features": described})
    features = {
        stage: _shards_or_index(plan, stage, variant=variant) for stage, variant in described.items() if variant
    }
    indexes = [] if plan.splits_follow else [file for found in features.values() for file in list_files(found)]

    def params() -> Params:
        return {"cfg": cfg, "sig": plan.signatures.copies(), "features": plan.signatures.rows(indexes)}

    return JobSpec(inputs={"manifest": videos_of(plan), **features}, params=params)


def _shards_or_index(plan: "Plan", stage: str, *, variant: str) -> list[Output]:
    # An index holds digests of the subsets of splits, so that it comes after splits that follow from features.
    if plan.splits_follow:
        return [plan.output(f"{stage}_shard", "shard", variant=variant, shard=shard) for shard in plan.shards]
    return [plan.output(f"{stage}_index", "index", variant=variant)]


def _describing_variants(plan: "Plan") -> dict[str, str]:
    """Return the variant of each stage that describes videos, "" for none: that with the most frames first."""
    used = {name: plan.settings.appearance[name] for name in list_used(plan.settings, "appearance")}
    # Frames that follow motion wait for an index.
    frames = {name: entry.frames.count for name, entry in used.items() if not entry.motion}
    motion = list_used(plan.settings, "motion")
    return {"appearance": max(frames, key=lambda name: frames[name], default=""), "motion": motion[0] if motion else ""}


def _bad_videos(plan: "Plan") -> dict[str, Any]:
    return plan.settings.dataset.canonical(only={"on_bad_video", "limits"})


def motion_shard(plan: "Plan", variant: str, shard: str) -> JobSpec:
    """Decode the motion vectors of a shard: depends on the variant and on the shard's videos."""
    cfg = to_json({"motion": plan.settings.motion[variant].canonical(), **_bad_videos(plan)})
    return JobSpec(
        inputs={"manifest": videos_of(plan)}, params=lambda: {"cfg": cfg, "sig": plan.signatures.videos(shard)}
    )


def motion_index(plan: "Plan", variant: str) -> JobSpec:
    """Index motion shards: depends on the variant, and on the manifest's videos and subsets."""
    cfg = to_json({"motion": plan.settings.motion[variant].canonical()})
    shards = [plan.output("motion_shard", "shard", variant=variant, shard=shard) for shard in plan.shards]
    return JobSpec(
        inputs={"manifest": manifest_of(plan), "shards": shards},
        params=lambda: {"cfg": cfg, "sig": plan.signatures.features()},
    )


def _followed(plan: "Plan", variant: str) -> list[Output]:
    motion = plan.settings.appearance[variant].motion
    return [plan.output("motion_index", "index", variant=motion)] if motion else []


def _appearance(plan: "Plan", variant: str) -> dict[str, Any]:
    # The encoder counts by its content, the followed motion by its rows.
    return plan.settings.appearance[variant].canonical(without={"model", "weights", "motion"})


def _encoder(plan: "Plan", variant: str) -> str:
    return f"encoder:{plan.contents.encoder(plan.settings.appearance[variant])}"


def appearance_shard(plan: "Plan", variant: str, shard: str) -> JobSpec:
    """Embed frames of a shard: depends on the variant, the shard's videos, the encoder and the followed motion."""
    followed = _followed(plan, variant)
    cfg = to_json({"appearance": _appearance(plan, variant), **_bad_videos(plan)})

    def params() -> Params:
        motion = [plan.signatures.shard_rows(index.file, shard) for index in followed]
        return {
            "cfg": cfg,
            "sig": plan.signatures.videos(shard),
            "encoder": _encoder(plan, variant),
            "motion": motion[0] if motion else "motion:none",
        }

    return JobSpec(inputs={"manifest": videos_of(plan), "motion": followed[0] if followed else []}, params=params)


def appearance_index(plan: "Plan", variant: str) -> JobSpec:
    """Index appearance shards: depends on the variant, the encoder, the followed motion and the manifest."""
    followed = _followed(plan, variant)

    def params() -> Params:
        return {
            "cfg": to_json({"appearance": _appearance(plan, variant)}),
            "sig": plan.signatures.features(),
            "encoder": _encoder(plan, variant),
            "motion": plan.signatures.rows([followed[0].file]) if followed else "motion:none",
        }

    shards = [plan.output("appearance_shard", "shard", variant=variant, shard=shard) for shard in plan.shards]
    inputs: Inputs = {"manifest": manifest_of(plan), "motion": followed[0] if followed else [], "shards": shards}
    return JobSpec(inputs=inputs, params=params)


def text(plan: "Plan", variant: str) -> JobSpec:
    """Embed the classes: depends on the parsed prompts, the encoder and its tokenizer, and the class names."""
    entry = plan.settings.text[variant]
    appearance = plan.settings.appearance[entry.appearance]

    def read_prompts(file: str) -> str:
        return file if file == "from_class_names" else parse_content(Path(file), parse=yaml.safe_load)

    def params() -> Params:
        prompts = {"templates": read_prompts(entry.templates), "phrases": read_prompts(entry.phrases)}
        encoder = appearance.canonical(only={"untrained", "device", "precision"})
        return {
            "cfg": to_json({"text": prompts, "encoder": encoder}),
            "encoder": f"{_encoder(plan, entry.appearance)} {plan.contents.tokenizer(appearance)}",
            "sig": plan.signatures.classes(),
        }

    return JobSpec(inputs={"manifest": manifest_of(plan)}, params=params)


def motion_network(plan: "Plan", variant: str, split: str, seed: str) -> JobSpec:
    """Train a motion network: depends on its recipe and initial weights, and on labels and motion of train and val."""
    entry, motion = plan.settings.motion_network[variant], motion_of(plan, variant)
    # Neither how the network embeds videos, nor how many threads load batches.
    recipe = entry.canonical(without={"embedding", "loaders", "motion", "weights"})

    def params() -> Params:
        return {
            "cfg": to_json({"motion_network": recipe}),
            "run": f"run:split {split}, seed {seed}",
            "weights": f"weights:{plan.contents.weights(entry.weights)}",
            "sig": plan.signatures.labels(split, LEARNED, names=False),
            "classes": plan.signatures.num_classes(),
            "motion": plan.signatures.subset_rows([motion.file], split=split, subsets=LEARNED),
        }

    return JobSpec(inputs={"manifest": manifest_of(plan), "motion": motion}, params=params)


def motion_network_curve(plan: "Plan", variant: str, split: str, seed: str) -> JobSpec:
    """Draw the learning curve of a motion network: depends on its history."""
    history = plan.output("motion_network", "history", variant=variant, split=split, seed=seed)
    title = f"title:{variant}, split {split}, seed {seed}"
    return JobSpec(
        inputs={"history": history}, params=lambda: {"cfg": title, "sig": plan.signatures.files([history.file])}
    )


def motion_embedding_shard(plan: "Plan", variant: str, split: str, seed: str, shard: str) -> JobSpec:
    """Embed the motion of a shard: depends on the network, the test settings and the motion rows."""
    motion = motion_of(plan, variant)
    model = plan.output("motion_network", "model", variant=variant, split=split, seed=seed)
    embedded = plan.embedded[int(shard)]

    def params() -> Params:
        return {
            "cfg": to_json({"motion_network": embedding_settings(plan.settings.motion_network[variant])}),
            "sig": join_signatures(plan.signatures.shard_rows(motion.file, one) for one in embedded),
            "network": plan.signatures.model(model.file),
        }

    return JobSpec(inputs={"manifest": manifest_of(plan), "motion": motion, "model": model}, params=params)


def motion_embedding_index(plan: "Plan", variant: str, split: str, seed: str) -> JobSpec:
    """Index motion embeddings: depends on the network, the test settings, the motion rows and the subsets."""
    motion, place = motion_of(plan, variant), {"variant": variant, "split": split, "seed": seed}
    model = plan.output("motion_network", "model", **place)

    def params() -> Params:
        return {
            "cfg": to_json({"motion_network": embedding_settings(plan.settings.motion_network[variant])}),
            "sig": plan.signatures.rows([motion.file]),
            "subsets": plan.signatures.features(["video_id"]),
            "network": plan.signatures.model(model.file),
        }

    numbers = range(len(plan.embedded))
    shards = [plan.output("motion_embedding_shard", "shard", **place, shard=number) for number in numbers]
    inputs: Inputs = {"manifest": manifest_of(plan), "motion": motion, "model": model, "shards": shards}
    return JobSpec(inputs=inputs, params=params)
