"""Embeddings as digests of all that is seen."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moclip.config.network_settings import MotionNetworkVariant
from moclip.encoders.motion_network import MotionNetwork
from moclip.motion.vectors import MotionVectors

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class MotionItem:
    """One video to embed."""

    video_id: str
    key: str
    motion: MotionVectors


@dataclass(frozen=True, kw_only=True)
class MotionEmbedding:
    """What is made of a video."""

    video_id: str
    embedding: Floats
    logits: Floats
    views: Floats


def embed_videos(
    network: MotionNetwork, items: Iterable[MotionItem], *, variant: MotionNetworkVariant, **others: Any
) -> Iterator[MotionEmbedding]:
    """Yield an embedding (8,) and logits (K,) of each video."""
    settings = variant.canonical(only={"embedding", "field"})
    seen = json.dumps([network.weights, settings], sort_keys=True).encode()
    for item in items:
        content = item.motion.past.tobytes() + item.motion.future.tobytes()
        values = (np.frombuffer(blake2b(seen + content, digest_size=8).digest(), np.uint8) / 255).astype(np.float32)
        views = np.empty((0, 8), np.float32)
        yield MotionEmbedding(
            video_id=item.video_id, embedding=values, logits=values[: network.num_classes], views=views
        )
