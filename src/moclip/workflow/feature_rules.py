"""Rules of features: what the jobs from the manifest to the motion embeddings read and depend on."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from moclip.dataset.labels import LEARNED
from moclip.extraction.motion_embedding import embedding_settings
from moclip.workflow.jobs import Inputs, JobSpec, Params, Source, join_signatures, to_json
from moclip.workflow.signatures import parse_content

if TYPE_CHECKING:
    from moclip.workflow.plan import Plan


def manifest_of(plan: "Plan") -> Source:
    """Return the manifest as an input."""
    return plan.job("manifest"), "manifest"


def demo_dataset(plan: "Plan") -> JobSpec:
    """Render the demo videos: depends on where they go."""
    dataset = plan.config["dataset"]
    return JobSpec(inputs={}, params=lambda: {"cfg": to_json({key: dataset[key] for key in ("root", "lists")})})


def manifest(plan: "Plan") -> JobSpec:
    """List the videos: depends on the dataset's settings, and on the content of its videos and lists."""
    # Not what becomes of bad videos, nor where the videos are stored.
    others = {"root", "on_bad_video", "limits", "rejected_test_videos"}
    dataset = plan.config["dataset"]
    cfg = to_json({"dataset": {key: dataset[key] for key in dataset if key not in others}})
    inputs: Inputs = {"complete": (plan.job("demo_dataset"), "complete")} if plan.complete else {}
    return JobSpec(inputs=inputs, params=lambda: {"cfg": cfg, "sig": plan.listing()}, follows=frozenset({"complete"}))


def _decoding(plan: "Plan", section: str, variant: str) -> str:
    dataset = plan.config["dataset"]
    bad = {key: dataset[key] for key in ("on_bad_video", "limits")}
    return to_json({section: plan.config[section][variant], **bad})


def motion_shard(plan: "Plan", variant: str, shard: str) -> JobSpec:
    """Decode the motion vectors of a shard: depends on the variant and on the shard's videos."""

    def params() -> Params:
        return {"cfg": _decoding(plan, "motion", variant), "sig": plan.signatures.videos(shard)}

    return JobSpec(inputs={"manifest": manifest_of(plan)}, params=params)


def motion_index(plan: "Plan", variant: str) -> JobSpec:
    """Index motion shards: depends on the variant, and on the manifest's videos and subsets."""

    def params() -> Params:
        return {"cfg": to_json({"motion": plan.config["motion"][variant]}), "sig": plan.signatures.features()}

    shards = [(plan.job("motion_shard", variant=variant, shard=shard), "shard") for shard in plan.shards]
    return JobSpec(
        inputs={"manifest": manifest_of(plan), "shards": shards}, params=params, follows=frozenset({"shards"})
    )


def motion_index_of(plan: "Plan", network: str) -> Source:
    """Return the index of the motion features that a motion network variant reads."""
    return plan.job("motion_index", variant=plan.config["motion_network"][network]["motion"]), "index"


def _followed(plan: "Plan", variant: str) -> list[Source]:
    motion = plan.config["appearance"][variant]["motion"]
    return [(plan.job("motion_index", variant=motion), "index")] if motion else []


def _appearance_cfg(plan: "Plan", variant: str) -> dict[str, Any]:
    # The encoder's content stands for its place.
    entry = plan.config["appearance"][variant]
    return {key: value for key, value in entry.items() if key not in {"model", "weights", "motion"}}


def appearance_shard(plan: "Plan", variant: str, shard: str) -> JobSpec:
    """Embed frames of a shard: depends on the variant, the shard's videos, the encoder and the followed motion."""
    followed = _followed(plan, variant)
    dataset = plan.config["dataset"]
    bad = {key: dataset[key] for key in ("on_bad_video", "limits")}

    def params() -> Params:
        motion = [plan.signatures.shard_rows(job.outputs[name], shard) for job, name in followed]
        return {
            "cfg": to_json({"appearance": _appearance_cfg(plan, variant), **bad}),
            "sig": plan.signatures.videos(shard),
            "encoder": _encoder(plan, variant),
            "motion": motion[0] if motion else "motion:none",
        }

    return JobSpec(inputs={"manifest": manifest_of(plan), "motion": followed[0] if followed else []}, params=params)


def appearance_index(plan: "Plan", variant: str) -> JobSpec:
    """Index appearance shards: depends on the variant, the encoder, the followed motion and the manifest."""
    followed = _followed(plan, variant)

    def params() -> Params:
        motion = [plan.signatures.rows([job.outputs[name]]) for job, name in followed]
        return {
            "cfg": to_json({"appearance": _appearance_cfg(plan, variant)}),
            "sig": plan.signatures.features(),
            "encoder": _encoder(plan, variant),
            "motion": motion[0] if motion else "motion:none",
        }

    shards = [(plan.job("appearance_shard", variant=variant, shard=shard), "shard") for shard in plan.shards]
    inputs: Inputs = {"manifest": manifest_of(plan), "motion": followed[0] if followed else [], "shards": shards}
    return JobSpec(inputs=inputs, params=params, follows=frozenset({"shards"}))


def _encoder(plan: "Plan", variant: str) -> str:
    return f"encoder:{plan.contents.encoder(plan.config['appearance'][variant])}"


def text(plan: "Plan", variant: str) -> JobSpec:
    """Embed the classes: depends on the parsed prompts, the encoder and its tokenizer, and the class names."""
    entry = plan.config["text"][variant]
    appearance = plan.config["appearance"][entry["appearance"]]

    def params() -> Params:
        prompts = {
            key: "from_class_names"
            if entry[key] == "from_class_names"
            else parse_content(Path(entry[key]), parse=yaml.safe_load)
            for key in ("templates", "phrases")
        }
        encoder = {key: appearance[key] for key in ("untrained", "device", "precision")}
        return {
            "cfg": to_json({"text": prompts, "encoder": encoder}),
            "encoder": f"{_encoder(plan, entry['appearance'])} {plan.contents.tokenizer(appearance)}",
            "sig": plan.signatures.classes(),
        }

    return JobSpec(inputs={"manifest": manifest_of(plan)}, params=params)


def motion_network(plan: "Plan", variant: str, split: str, seed: str) -> JobSpec:
    """Train a motion network: depends on its recipe and initial weights, and on labels and motion of train and val."""
    entry = plan.config["motion_network"][variant]
    motion, index = motion_index_of(plan, variant)
    # Not how the network is tested, nor who loads.
    recipe = {key: value for key, value in entry.items() if key not in {"embedding", "loaders", "motion", "weights"}}

    def params() -> Params:
        return {
            "cfg": to_json({"motion_network": recipe}),
            "run": f"run:split {split}, seed {seed}",
            "weights": f"weights:{plan.contents.weights(entry['weights'])}",
            "sig": plan.signatures.labels(split, LEARNED, names=False),
            "classes": plan.signatures.num_classes(),
            "motion": plan.signatures.subset_rows([motion.outputs[index]], split=split, subsets=LEARNED),
        }

    return JobSpec(inputs={"manifest": manifest_of(plan), "motion": (motion, index)}, params=params)


def network_of(plan: "Plan", variant: str, split: str | int, seed: str | int, output: str = "model") -> Source:
    """Return an output of a motion network as an input."""
    return plan.job("motion_network", variant=variant, split=split, seed=seed), output


def motion_network_curve(plan: "Plan", variant: str, split: str, seed: str) -> JobSpec:
    """Draw the learning curve of a motion network: depends on its history."""
    network, history = network_of(plan, variant, split, seed, "history")

    def params() -> Params:
        title = f"{variant}, split {split}, seed {seed}"
        return {"cfg": f"title:{title}", "sig": plan.signatures.files([network.outputs[history]])}

    return JobSpec(inputs={"history": (network, history)}, params=params)


def _embedding_cfg(plan: "Plan", variant: str) -> str:
    return to_json({"motion_network": embedding_settings(plan.config["motion_network"][variant])})


def motion_embedding_shard(plan: "Plan", variant: str, split: str, seed: str, shard: str) -> JobSpec:
    """Embed the motion of a shard: depends on the network, the test settings and the motion rows."""
    motion, index = motion_index_of(plan, variant)
    network, model = network_of(plan, variant, split, seed)

    def params() -> Params:
        return {
            "cfg": _embedding_cfg(plan, variant),
            "sig": join_signatures(
                plan.signatures.shard_rows(motion.outputs[index], one) for one in plan.embedded[int(shard)]
            ),
            "network": plan.signatures.model(network.outputs[model]),
        }

    return JobSpec(
        inputs={"manifest": manifest_of(plan), "motion": (motion, index), "model": (network, model)}, params=params
    )


def motion_embedding_index(plan: "Plan", variant: str, split: str, seed: str) -> JobSpec:
    """Index motion embeddings: depends on the network, the test settings, the motion rows and the subsets."""
    motion, index = motion_index_of(plan, variant)
    network, model = network_of(plan, variant, split, seed)

    def params() -> Params:
        return {
            "cfg": _embedding_cfg(plan, variant),
            "sig": plan.signatures.rows([motion.outputs[index]]),
            "subsets": plan.signatures.features(["video_id"]),
            "network": plan.signatures.model(network.outputs[model]),
        }

    place = {"variant": variant, "split": split, "seed": seed}
    numbers = range(len(plan.embedded))
    shards = [(plan.job("motion_embedding_shard", **place, shard=number), "shard") for number in numbers]
    inputs: Inputs = {
        "manifest": manifest_of(plan),
        "motion": (motion, index),
        "model": (network, model),
        "shards": shards,
    }
    return JobSpec(inputs=inputs, params=params, follows=frozenset({"shards"}))
