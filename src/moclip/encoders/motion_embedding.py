"""Batched inference with a frozen motion network, averaged over segments and crops.

The crops of one video are computed together and with no other video, in parts of a fixed size, so that an embedding
does not depend on the other videos of a batch.
"""

import copy
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moclip.config.network_settings import MotionNetworkVariant
from moclip.core.digests import seed_of
from moclip.core.prefetch import prefetch
from moclip.encoders.fusion import fuse_conv_bn
from moclip.encoders.motion_input import (
    as_floats,
    build_segments,
    crop_for_test,
    decode_crops,
    draw_view,
)
from moclip.encoders.motion_network import MotionNetwork
from moclip.encoders.openvino import compile_openvino
from moclip.encoders.runtime import DTYPES, choose_device
from moclip.motion.vectors import MotionVectors

# Crops that go through the network at a time. On a CPU so few that what a layer writes is still in the cache when the
# next one reads it: 5 are 1.5 times as fast as 25 (benchmarks/motion_network_embedding.py).
_CROPS_AT_ONCE = {"cpu": 5, "cuda": 256}

# Accepted difference between a fused and a plain network, as a share of the length of an embedding.
_MAX_ERROR = 1e-4

# Videos whose crops are made or waiting: a number that keeps memory small.
_VIDEOS_AHEAD = 3

# From coded crops, uint8 (N, 2, P, P), to their features, float32 (N, D), in main memory.
Embed = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class MotionItem:
    """One video to embed: its vectors, and the key that its views follow from."""

    video_id: str
    key: str
    motion: MotionVectors


@dataclass(frozen=True, kw_only=True)
class MotionEmbedding:
    """What a frozen network makes of a video: (D,) and (K,) means, and (V, D) means of augmented views, all float32."""

    video_id: str
    embedding: NDArray[np.float32]
    logits: NDArray[np.float32]
    views: NDArray[np.float32]


def embed_videos(
    network: MotionNetwork,
    items: Iterable[MotionItem],
    *,
    variant: MotionNetworkVariant,
    augmented: Collection[str] = (),
) -> Iterator[MotionEmbedding]:
    """Yield the embedding, logits and views of each video, in order; `augmented` are the ids that get views.

    Fields and crops of the next videos are made in threads meanwhile.

    Raises:
        ModelError: The device or the backend is not there.
    """
    embed = build_embed(network, variant=variant)
    classifier = network.classifier.cpu().float()
    num_views = variant.embedding.views.count
    waiting: list[MotionItem] = []

    def tasks() -> Iterator[Callable[[], tuple[Tensor, Tensor | None]]]:
        for item in items:
            waiting.append(item)
            yield partial(_see, item, variant=variant, with_views=item.video_id in augmented)

    with torch.inference_mode():
        for crops, view_crops in prefetch(tasks(), threads=variant.loaders, num_ahead=_VIDEOS_AHEAD):
            item = waiting.pop(0)
            features = embed(crops)
            views = torch.empty(0, features.shape[1])
            if view_crops is not None:
                views = embed(view_crops).reshape(num_views, -1, features.shape[1]).mean(dim=1)
            yield MotionEmbedding(
                video_id=item.video_id,
                embedding=as_floats(features.mean(dim=0)),
                logits=as_floats(classifier(features).mean(dim=0)),
                views=as_floats(views),
            )


def _see(item: MotionItem, *, variant: MotionNetworkVariant, with_views: bool) -> tuple[Tensor, Tensor | None]:
    embedding, views = variant.embedding, variant.embedding.views
    fields = build_segments(item.motion, variant=variant, num_segments=embedding.num_segments, rng=None)
    crops = crop_for_test(fields, variant=variant, crops=embedding.crops, flips=embedding.flips)
    if not (with_views and views.count):
        return crops, None
    seeds = [seed_of(item.key, "view", number) for number in range(views.count)]
    drawn = [draw_view(item.motion, variant=variant, num_segments=views.num_segments, seed=seed) for seed in seeds]
    return crops, torch.cat(drawn)


def build_embed(network: MotionNetwork, *, variant: MotionNetworkVariant) -> Embed:
    """Return the function that computes the pooled features of coded crops, as `embedding` of the variant says.

    Raises:
        ModelError: The device or the backend is not there.
    """
    embedding, shape = variant.embedding, (2, variant.input_px, variant.input_px)
    if embedding.backend == "openvino":
        # A network of its own: that of the caller stays as it is.
        run = compile_openvino(
            _Features(network.cpu().eval()),
            example=torch.zeros(1, *shape),
            precision=embedding.precision,
            threads=variant.threads,
        )
        return lambda codes: torch.from_numpy(run(decode_crops(codes).numpy()))
    device = choose_device(variant.device, model="motion network")
    return _build_torch_embed(network.to(device).eval(), shape=shape, dtype=DTYPES[embedding.precision], device=device)


class _Features(nn.Module):
    def __init__(self, network: MotionNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network.embed(inputs)


def _build_torch_embed(
    network: MotionNetwork, *, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> Embed:
    at_once = _CROPS_AT_ONCE[device.type]

    def normalise(codes: Tensor) -> Tensor:
        inputs: Tensor = network.input_norm(decode_crops(codes.to(device, non_blocking=True)))
        return inputs.contiguous(memory_format=torch.channels_last)

    with torch.inference_mode():
        example = normalise(torch.zeros(min(at_once, 5), *shape, dtype=torch.uint8))
    fused = copy.deepcopy(network.backbone).requires_grad_(False)
    fuse_conv_bn(fused, run=lambda: fused(example), tolerance=_MAX_ERROR)
    fused.to(dtype)

    @torch.inference_mode()
    def embed(codes: Tensor) -> Tensor:
        codes = codes.pin_memory() if device.type == "cuda" else codes
        parts = [fused(normalise(part).to(dtype)).float() for part in torch.split(codes, at_once)]
        return torch.cat(parts).cpu()

    return embed
