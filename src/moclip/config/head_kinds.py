"""The kinds of heads: the keys of `head` that each kind alone reads, and what it needs of its inputs.

A kind is a row here, its keys in `moclip.config.settings`, and a file of its name in `moclip.training.heads`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class HeadKind:
    """Facts of one kind that jobs need without importing torch.

    `options` maps its own keys to their defaults. `epochs` is False for kinds that are fitted in closed form, which
    depend on no seed. `frames` means that it reads every frame of a video instead of one pooled embedding. `ordered`
    means that the order of the frames may change its result. `candidates` names the key with the values from which
    validation chooses.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    epochs: bool = True
    frames: bool = False
    ordered: bool = False
    candidates: str = ""


HEAD_KINDS: dict[str, HeadKind] = {
    "mlp": HeadKind(),
    "linear": HeadKind(),
    "knn": HeadKind(epochs=False, candidates="neighbours"),
    "gated": HeadKind(),
    "attention": HeadKind(frames=True),
    "temporal": HeadKind(options={"form": "conv", "layers": 2, "width": 64}, frames=True, ordered=True),
    "ridge": HeadKind(epochs=False),
    "gda": HeadKind(epochs=False),
}
