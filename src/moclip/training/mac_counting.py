"""Parameters and multiply-accumulates (MACs) of models, by torch's own counter."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.backends import mha
from torch.utils.flop_counter import FlopCounterMode

from moclip.config.settings import AppearanceVariant
from moclip.encoders.clip import build_outline
from moclip.encoders.motion_network import NO_WEIGHTS, build_network, load_network
from moclip.errors import ModelError
from moclip.training.head_files import TrainedHead
from moclip.training.head_strategy import load_head


def count_macs(call: Callable[[], object]) -> int:
    """Return the multiply-accumulates of what is called: matrix products, convolutions, attention.

    torch counts floating-point operations, two for each; sums, norms and activations are left out, as is customary.
    """
    was_fast = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)  # the fused kernel of attention is one that the counter does not know
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            call()
    finally:
        mha.set_fastpath_enabled(was_fast)
    return int(counter.get_total_flops()) // 2


def count_head(head: TrainedHead) -> tuple[int, int]:
    """Return a head's parameters and its multiply-accumulates for one video.

    Neighbors have no parameters and cost a product with every training video.
    """
    module = load_head(head)
    return _count_parameters(module), count_macs(lambda: module(torch.zeros(1, head.layout.width)))


def count_network(path: Path, *, input_px: int) -> tuple[int, int]:
    """Return a motion network's parameters and its multiply-accumulates for one segment and crop."""
    network = load_network(path)
    return _count_parameters(network), count_macs(lambda: network(torch.zeros(1, 2, input_px, input_px)))


def outline_network(backbone: str, *, num_classes: int, input_px: int) -> tuple[int, int, int]:
    """Return parameters, multiply-accumulates and the width of the embedding of a motion network that does not exist.

    Raises:
        ModelError: There is no such backbone.
    """
    with torch.device("meta"):
        network = build_network(backbone, weights=NO_WEIGHTS, num_classes=num_classes, dropout=0.0).eval()
        macs = count_macs(lambda: network(torch.zeros(1, 2, input_px, input_px)))
    return _count_parameters(network), macs, network.embedding_dim


def count_image_tower(variant: AppearanceVariant) -> tuple[int, int]:
    """Return the parameters of an encoder's image tower and its multiply-accumulates for one frame.

    Raises:
        ModelError: The counter saw nothing: the tower runs in kernels that it does not know.
    """
    model = build_outline(variant.model)
    size = model.visual.image_size
    height, width = (size, size) if isinstance(size, int) else size
    image: Tensor = torch.zeros(1, 3, height, width, device="meta")
    macs = count_macs(lambda: model.encode_image(image))
    if not macs:
        raise ModelError(f"{variant.model}: expected multiply-accumulates to count, found none")
    return _count_parameters(model.visual), macs


def _count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
