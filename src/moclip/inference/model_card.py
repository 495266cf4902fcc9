"""The model card of a bundle, as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from moclip.evaluation.statistics import CONFIDENCE
from moclip.report.pages import render

# Licences of pretrained weights that are a matter of public record, by the beginning of open_clip's tag.
_KNOWN_LICENCES = {
    "openai": "MIT, as the repository of OpenAI's CLIP says",
    "laion": "MIT, as LAION and open_clip publish them",
}

_UNKNOWN_LICENCE = "not stated in the files; ask whoever published the weights before you pass the bundle on"


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """The content of a card.

    Attributes:
        name: Name of the run.
        dataset: Name of the dataset.
        split, seed: Of the run.
        commit: The code that tested the run.
        class_names: The classes.
        num_videos: How many videos each subset of the split has.
        metrics: The run's metrics.json.
        temperatures: (temperature, number of validation videos) of each calibrated method.
        parts: (part, number of parameters, bytes) of each model.
        appearance: Settings of the appearance variant, or nothing.
        motion_network: Settings of the motion network variant, or nothing.
        motion: Settings of the motion variant.
        libraries: Versions, by name.
        licence: What the exporter says of the weights' licence, or nothing.
        graphs: What the inputs of each ONNX graph are made of, by its name; empty without ONNX.
    """

    name: str
    dataset: str
    split: int
    seed: int
    commit: str
    class_names: Sequence[str]
    num_videos: Mapping[str, int]
    metrics: Mapping[str, Any]
    temperatures: Mapping[str, tuple[float, int]]
    parts: Sequence[tuple[str, int, int]]
    appearance: Mapping[str, Any]
    motion_network: Mapping[str, Any]
    motion: Mapping[str, Any]
    libraries: Mapping[str, str]
    licence: str = ""
    graphs: Mapping[str, Any] = field(default_factory=dict)


def wilson_interval(share: float, *, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share that was found among `n` independent videos.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    >>> tuple(round(end, 3) for end in wilson_interval(0.9, n=100))
    (0.826, 0.945)
    """
    from scipy.stats import binomtest  # noqa: PLC0415 (two seconds, and only an export needs it)

    interval = binomtest(round(share * n), n).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def build_card(facts: CardFacts) -> str:
    """Return the card."""
    rows = []
    for name, measured in facts.metrics["methods"].items():
        low, high = wilson_interval(measured["top_1"], n=measured["n"])
        rows.append({**measured, "name": name, "low": low, "high": high})
    fits = [f"{name} {value:.2f} (n = {count})" for name, (value, count) in facts.temperatures.items()]
    return render(
        "model_card.md",
        facts=facts,
        rows=rows,
        counts=", ".join(f"{facts.num_videos.get(subset, 0):,} {subset}" for subset in ("train", "val", "test")),
        temperatures=", ".join(fits) or "none",
        versions=", ".join(f"{name} {version}" for name, version in sorted(facts.libraries.items())),
        licence=_licence_of(facts) if facts.appearance else "",
        **_describe_graphs(facts.graphs),
    )


def _describe_graphs(graphs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the blocks of code for ONNX need: how each input is made, and how frames are pooled."""
    poolings = [graph["pooling"] for name, graph in graphs.items() if name.startswith("head_")]
    return {
        "graphs": graphs,
        "image": graphs.get("image_encoder"),
        "motion": graphs.get("motion_network"),
        "pooling": poolings[0] if poolings else "mean",
    }


def _licence_of(facts: CardFacts) -> str:
    if facts.licence:
        return facts.licence
    if facts.appearance.get("untrained"):
        return "random weights, nobody's"
    tag = str(facts.appearance.get("weights") or "")
    return next((text for start, text in _KNOWN_LICENCES.items() if tag.startswith(start)), _UNKNOWN_LICENCE)
