"""A network that is a text: a digest of all that it was trained on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moclip.files import replace_atomically


@dataclass(frozen=True, kw_only=True)
class MotionNetwork:
    """What stands in for weights."""

    weights: str
    num_classes: int


@dataclass(frozen=True, kw_only=True)
class SavedNetwork:
    """A network as read back from its file."""

    network: MotionNetwork
    about: Mapping[str, Any]


def save_network(network: MotionNetwork, path: Path, *, about: Mapping[str, Any], **others: Any) -> None:
    """Write the network, and `about` beside it."""
    note = {"weights": network.weights, "num_classes": network.num_classes, "about": dict(about)}
    with replace_atomically(path) as temporary:
        temporary.write_text(json.dumps(note, sort_keys=True))


def load_network(path: Path, **others: Any) -> SavedNetwork:
    """Return the network written by `save_network`."""
    note = json.loads(path.read_text())
    network = MotionNetwork(weights=note["weights"], num_classes=note["num_classes"])
    return SavedNetwork(network=network, about=note["about"])
