"""The methods that a run can report, and the variants that each of them needs."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Method:
    """One row of the table of results.

    `kind` says where its scores come from: `logits` of a model upstream, a `head` trained on the embeddings, or a `mix`
    of the scores of others. `streams` are those that it reads, `needs` the keys of an experiment that it asks for.
    `head_kind` is the kind of a head that does not have the kind of the experiment's head.
    """

    label: str
    kind: Literal["logits", "head", "mix"]
    streams: tuple[str, ...]
    needs: tuple[str, ...]
    head_kind: str = ""

    @property
    def encoders(self) -> tuple[str, ...]:
        """The encoders whose quality the method stands on."""
        return (*self.streams, *(name for name in self.needs if name == "text"))


_BOTH = ("motion", "appearance")

# In the order of tables.
METHODS: dict[str, Method] = {
    "zero_shot": Method(label="Zero-shot", kind="logits", streams=("appearance",), needs=("appearance", "text")),
    "zero_shot_head": Method(
        label="Zero-shot + head", kind="head", streams=("appearance",), needs=("appearance", "text", "head")
    ),
    "motion": Method(label="Motion", kind="logits", streams=("motion",), needs=("motion_network",)),
    "motion_head": Method(label="Motion head", kind="head", streams=("motion",), needs=("motion_network", "head")),
    "appearance": Method(label="Appearance", kind="head", streams=("appearance",), needs=("appearance", "head")),
    "appearance_ridge": Method(
        label="Appearance, ridge",
        kind="head",
        streams=("appearance",),
        needs=("appearance", "head"),
        head_kind="ridge",
    ),
    "shuffled_frames": Method(
        label="Appearance, frames shuffled", kind="head", streams=("appearance",), needs=("appearance", "head")
    ),
    "shuffled_motion": Method(
        label="Fusion, motion shuffled", kind="head", streams=_BOTH, needs=("appearance", "motion_network", "head")
    ),
    "score_fusion": Method(
        label="Score fusion", kind="mix", streams=_BOTH, needs=("appearance", "motion_network", "head")
    ),
    "ridge": Method(
        label="Fusion, ridge",
        kind="head",
        streams=_BOTH,
        needs=("appearance", "motion_network", "head"),
        head_kind="ridge",
    ),
    "fusion": Method(label="Fusion", kind="head", streams=_BOTH, needs=("appearance", "motion_network", "head")),
}


def list_heads(methods: Collection[str]) -> tuple[str, ...]:
    """Return the heads to train for some methods: their own, and the appearance head that score fusion mixes.

    >>> list_heads(["score_fusion", "motion"])
    ('appearance',)
    """
    wanted = {name for name in methods if METHODS[name].kind == "head"}
    if "score_fusion" in methods:
        wanted.add("appearance")
    return tuple(name for name in METHODS if name in wanted)


def fitted_on(method: str, *, refit: bool) -> str:
    """Return the subsets that the last model of a method is fitted on; empty for zero-shot. `refit` is the head's.

    >>> fitted_on("fusion", refit=True), fitted_on("motion", refit=True)
    ('train + val', 'train')
    """
    if METHODS[method].kind == "logits":
        return "train" if "motion" in METHODS[method].streams else ""
    return "train + val" if refit else "train"


def reads(methods: Collection[str], what: str) -> bool:
    """Return whether any of some methods reads a stream (`motion`, `appearance`) or the class embeddings (`text`)."""
    return any(what in METHODS[name].encoders for name in methods)
