"""The model card of a bundle, as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moclip.inference.quality import MeasuredMethod, describe_chance
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
        tested: The test results of each method.
        calibration: How the percentages of each method came about, in words.
        parts: (part, number of parameters, bytes) of each model.
        appearance: Settings of the appearance variant, or nothing.
        motion_network: Settings of the motion network variant, or nothing.
        motion: Settings of the motion variant.
        libraries: Versions, by name.
        licence: What the exporter says of the weights' licence, or nothing.
    """

    name: str
    dataset: str
    split: int
    seed: int
    commit: str
    class_names: Sequence[str]
    num_videos: Mapping[str, int]
    tested: Mapping[str, MeasuredMethod]
    calibration: Mapping[str, str]
    parts: Sequence[tuple[str, int, int]]
    appearance: Mapping[str, Any]
    motion_network: Mapping[str, Any]
    motion: Mapping[str, Any]
    libraries: Mapping[str, str]
    licence: str = ""


def build_card(facts: CardFacts) -> str:
    """Return the card."""
    return render(
        "model_card.md",
        facts=facts,
        chance=describe_chance(next(iter(facts.tested.values()))),
        counts=", ".join(f"{facts.num_videos.get(subset, 0):,} {subset}" for subset in ("train", "val", "test")),
        versions=", ".join(f"{name} {version}" for name, version in sorted(facts.libraries.items())),
        licence=_licence_of(facts) if facts.appearance else "",
    )


def _licence_of(facts: CardFacts) -> str:
    if facts.licence:
        return facts.licence
    if facts.appearance.get("untrained"):
        return "random weights, nobody's"
    tag = str(facts.appearance.get("weights") or "")
    return next((text for start, text in _KNOWN_LICENCES.items() if tag.startswith(start)), _UNKNOWN_LICENCE)
