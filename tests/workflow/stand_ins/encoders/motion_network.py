"""A network that is a text: a digest of all that it was trained on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.numpy import save_file

from moclip.core.files import replace_atomically
from moclip.core.tensors import DIGEST_KEY


@dataclass(frozen=True, kw_only=True)
class MotionNetwork:
    """What stands in for weights."""

    weights: str
    num_classes: int


def save_network(network: MotionNetwork, path: Path, *, about: Mapping[str, Any], **others: Any) -> None:
    """Write the network, and `about` beside it, where the real one has it."""
    note = {"weights": network.weights, "num_classes": network.num_classes, DIGEST_KEY: network.weights, **about}
    with replace_atomically(path) as temporary:
        save_file({}, str(temporary), metadata={"moclip": json.dumps(note, sort_keys=True)})


def load_network(path: Path, **others: Any) -> MotionNetwork:
    """Return the network written by `save_network`."""
    with safe_open(str(path), framework="numpy") as file:
        about = json.loads(file.metadata()["moclip"])
    return MotionNetwork(weights=about["weights"], num_classes=about["num_classes"])
