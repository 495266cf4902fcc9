"""The motion network: a timm backbone over motion fields, with stem and input normalization of CoViAR's recipe.

The only module that imports timm.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from moclip.core.tensors import expect_tensors, read_tensors, write_tensors
from moclip.encoders.catalog import TIMM, check_backbone
from moclip.errors import ModelError

_FORMAT = 1

NO_WEIGHTS = "none"


class MotionNetwork(nn.Module):
    """Batch norm over the two components, a backbone with a 2-channel stem, dropout, and one linear classifier."""

    def __init__(self, backbone: nn.Module, *, name: str, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.name = name
        self.input_norm = nn.BatchNorm2d(2)
        self.backbone = backbone
        self.embedding_dim = int(backbone.num_features)  # type: ignore[arg-type]
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.embedding_dim, num_classes)

    def embed(self, fields: Tensor) -> Tensor:
        """Return the pooled features, (N, D), of coded motion fields, (N, 2, H, W)."""
        # channels_last: 1.4 times as fast in training on a CPU as the default layout.
        normed = self.input_norm(fields).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.backbone(normed)
        return features

    def forward(self, fields: Tensor) -> Tensor:
        """Return the logits, (N, K), of coded motion fields, (N, 2, H, W)."""
        logits: Tensor = self.classifier(self.dropout(self.embed(fields)))
        return logits


def build_network(
    backbone: str, *, weights: str, num_classes: int, dropout: float, classifier_init: str = "normal"
) -> MotionNetwork:
    """Return a network that starts from `weights`: `none` (random), `timm:TAG`, or the path of a safetensors file.

    The RGB kernel of the stem is averaged over its three inputs and repeated for the two components of motion. The
    classifier starts as TSN's (`normal`), or as torch's `nn.Linear` does (`linear`).

    Raises:
        ModelError: There is no such backbone, tag or file, or the file lacks a part of the backbone.

    Source: Wu et al. 2018 (arXiv 1712.00636), section 3.3 and code; Wang et al. 2016 (arXiv 1608.00859), section 3.2.
    """
    body = _create_backbone(backbone, weights=weights)
    if weights != NO_WEIGHTS and not weights.startswith(TIMM):
        _load_weights(body, Path(weights))
    _narrow_stem(body, backbone)
    network = MotionNetwork(body, name=backbone, num_classes=num_classes, dropout=dropout)
    if classifier_init == "normal":
        nn.init.normal_(network.classifier.weight, std=0.001)
        nn.init.zeros_(network.classifier.bias)
    return network.to(memory_format=torch.channels_last)


def _create_backbone(name: str, *, weights: str) -> nn.Module:
    check_backbone(name, weights=weights)
    tag = weights.removeprefix(TIMM) if weights.startswith(TIMM) else ""
    try:
        body: nn.Module = timm.create_model(f"{name}.{tag}" if tag else name, pretrained=bool(tag), num_classes=0)
    except (RuntimeError, OSError, ValueError) as error:
        raise ModelError(f"{name}: cannot build it with weights `{weights}`: {' '.join(str(error).split())}") from None
    return body


def _load_weights(body: nn.Module, path: Path) -> None:
    try:
        with safe_open(str(path), framework="pt") as file:
            names = set(file.keys())
            wanted = list(body.state_dict())
            prefix = _find_prefix(names, wanted=wanted)
            lost = [name for name in wanted if prefix + name not in names]
            if lost:
                raise ModelError(
                    f"{path}: expected `{lost[0]}` and {len(lost) - 1} more parts of the backbone, found none"
                )
            body.load_state_dict({name: file.get_tensor(prefix + name) for name in wanted})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"{path}: expected safetensors that fit the backbone ({' '.join(str(error).split())})"
        ) from None


def _find_prefix(names: set[str], *, wanted: list[str]) -> str:
    # Weights inside a larger model, as `visual.trunk.` of an open_clip checkpoint: the prefix that fits most names.
    tail = wanted[0]
    prefixes = {name.removesuffix(tail) for name in names if name.endswith(tail)} or {""}
    return max(sorted(prefixes), key=lambda prefix: sum(prefix + name in names for name in wanted))


def _narrow_stem(body: nn.Module, name: str) -> None:
    path = str(body.default_cfg["first_conv"])  # type: ignore[index]
    old = body.get_submodule(path)
    if not isinstance(old, nn.Conv2d) or old.in_channels != 3:
        raise ModelError(f"{name}: expected a convolution over 3 channels at its stem, found {old}")
    # The layer itself is kept, with its stride and its way of padding; only its kernel narrows.
    kernel = old.weight.detach().mean(dim=1, keepdim=True)
    old.weight = nn.Parameter(kernel.repeat(1, 2, 1, 1))
    old.in_channels = 2


def stem_parameters(network: MotionNetwork) -> set[str]:
    """Return the names of the parameters of the stem and of the input norm."""
    stem = "backbone." + str(network.backbone.default_cfg["first_conv"])  # type: ignore[index]
    return {name for name, _ in network.named_parameters() if name.startswith((f"{stem}.", "input_norm."))}


def save_network(network: MotionNetwork, path: Path, *, about: Mapping[str, Any]) -> None:
    """Write the weights, and `about` as JSON metadata; equal networks give equal bytes."""
    note = {"format": _FORMAT, "backbone": network.name, "num_classes": network.classifier.out_features, **about}
    write_tensors(path, {name: value.cpu().numpy() for name, value in network.state_dict().items()}, note=note)


def load_network(path: Path) -> MotionNetwork:
    """Return the network written by `save_network`, in eval mode, frozen.

    Raises:
        ModelError: The file is missing, damaged, or no such file.
    """
    with expect_tensors(path, "a trained motion network"):
        tensors, about = read_tensors(path)
        if about["format"] != _FORMAT:
            raise ModelError(f"{path}: expected network format {_FORMAT}, found {about['format']}; train it again")
        network = build_network(about["backbone"], weights=NO_WEIGHTS, num_classes=about["num_classes"], dropout=0.0)
        network.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    return network.eval().requires_grad_(False)
