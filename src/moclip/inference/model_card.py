"""The model card of a bundle, as Markdown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Licences of pretrained weights that are a matter of public record, by the beginning of open_clip's tag.
_KNOWN_LICENCES = {
    "openai": "MIT, as the repository of OpenAI's CLIP says",
    "laion": "MIT, as LAION and open_clip publish them",
}

_UNKNOWN_LICENCE = "not stated in the files; ask whoever published the weights before you pass the bundle on"

_Z = 1.959964  # 95 % of a normal distribution


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


def wilson_interval(share: float, *, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share that was found among `n` independent videos.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    >>> tuple(round(end, 3) for end in wilson_interval(0.9, n=100))
    (0.826, 0.945)
    """
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return (0.0 if share <= 0 else centre - half), (1.0 if share >= 1 else centre + half)


def build_card(facts: CardFacts) -> str:
    """Return the card."""
    sections = [
        f"# {_plain(facts.name)} on {_plain(facts.dataset)}\n\n"
        "A frozen image encoder and the codec's own motion vectors, joined by a small head (MoCLIP-Lite). "
        "`moclip predict` takes this folder in place of a run.",
        _say_data(facts),
        _say_numbers(facts),
        _say_cost(facts),
        _say_input(facts),
        _LIMITS,
        _say_licences(facts),
        _say_origin(facts),
    ]
    return "\n\n".join(sections) + "\n"


def _say_data(facts: CardFacts) -> str:
    counts = ", ".join(f"{facts.num_videos.get(subset, 0):,} {subset}" for subset in ("train", "val", "test"))
    names = ", ".join(_plain(name) for name in facts.class_names)
    return (
        f"## Data\n\n{_plain(facts.dataset)}, split {facts.split}: {counts} videos, {len(facts.class_names)} classes. "
        "Heads and motion network were trained on the train videos; what had to be chosen (epochs, temperatures) was "
        f"chosen on the val videos; the test videos were read once.\n\nClasses: {names}"
    )


def _say_numbers(facts: CardFacts) -> str:
    lines = ["| method | top-1 % | 95 % interval | class mean % | calibration error | n |", "|---|---|---|---|---|---|"]
    for name, measured in facts.metrics["methods"].items():
        low, high = wilson_interval(measured["top_1"], n=measured["n"])
        lines.append(
            f"| {name} | {100 * measured['top_1']:.1f} | {100 * low:.1f} - {100 * high:.1f} | "
            f"{100 * measured['mean_class_accuracy']:.1f} | {measured['ece']:.3f} | {measured['n']} |"
        )
    fits = ", ".join(f"{name} {value:.2f} (n = {count})" for name, (value, count) in facts.temperatures.items())
    return (
        "## Numbers\n\n" + "\n".join(lines) + "\n\n"
        "The intervals are Wilson's and take test videos for independent; clips cut from one source are not, so that "
        "the truth is wider. One seed: how far seeds differ is in the summary of the dataset. The calibration error is "
        f"that of the plain softmax.\n\nTemperatures, fitted on validation videos: {fits or 'none'}."
    )


def _say_cost(facts: CardFacts) -> str:
    lines = ["| part | parameters | bytes |", "|---|---|---|"]
    lines += [f"| {name} | {count:,} | {size:,} |" for name, count, size in facts.parts]
    return (
        "## Cost\n\n"
        + "\n".join(lines)
        + "\n\nBeside them a video costs one decode for its vectors, and one for its frames."
    )


def _say_input(facts: CardFacts) -> str:
    lines = []
    if facts.appearance:
        frames = facts.appearance["frames"]
        lines.append(
            f"- appearance: {frames['count']} frame(s), policy `{frames['policy']}`, the encoder's own scaling"
        )
    if facts.motion_network:
        lines.append(
            f"- motion: vectors of source `{facts.motion.get('source')}`, field {dict(facts.motion_network['field'])}, "
            f"{facts.motion_network['embedding']['num_segments']} segments, {facts.motion_network['input_px']} px"
        )
    return "## Input\n\n" + "\n".join(lines) + "\n\nEvery key is in `bundle.json`, in the words of config/README.md."


_LIMITS = """## Limits

- It knows the classes above and no other: a video of something else gets one of them, often with confidence.
- It learned from videos made in one way. Another codec, encoder, frame rate or picture size changes motion vectors; a
  video whose codec has none is transcoded first, which no training video was, and predictions say so.
- Probabilities were calibrated on videos like the training ones, and mean nothing certain elsewhere.
- Not for decisions about people."""


def _say_licences(facts: CardFacts) -> str:
    lines = []
    if facts.appearance:
        lines.append(f"- image encoder `{_plain(facts.appearance['model'])}`: {_licence_of(facts)}")
    if facts.motion_network:
        start = facts.motion_network["weights"]
        started = f"started from `{_plain(start)}`, whose licence holds"
        known = "trained here from random weights" if start == "none" else started
        lines.append(f"- motion network `{facts.motion_network['backbone']}`: {known}")
    lines.append(f"- training videos: the licence of {_plain(facts.dataset)}; some datasets allow research only")
    lines.append("- moclip itself: MIT")
    return "## Licences\n\n" + "\n".join(lines)


def _licence_of(facts: CardFacts) -> str:
    if facts.licence:
        return _plain(facts.licence)
    if facts.appearance.get("untrained"):
        return "random weights, nobody's"
    tag = str(facts.appearance.get("weights") or "")
    return next((text for start, text in _KNOWN_LICENCES.items() if tag.startswith(start)), _UNKNOWN_LICENCE)


def _say_origin(facts: CardFacts) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(facts.libraries.items()))
    run = f"Run {_plain(facts.name)}, split {facts.split}, seed {facts.seed}"
    return f"## Origin\n\n{run}, commit {facts.commit}; {versions}."


def _plain(text: object) -> str:
    # Names come from files and folders: nothing in them may act as Markdown or HTML.
    kept = "".join(letter if letter.isprintable() else " " for letter in str(text))
    for mark, stands in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("`", "'")):
        kept = kept.replace(mark, stands)
    return kept
