"""The MLP over frames that are pooled with a learned query. The order of the frames does not matter."""

import math

import torch
from torch import Tensor, nn

from moclip.training.head_files import HeadConfig
from moclip.training.head_inputs import Layout
from moclip.training.head_strategy import HeadStrategy
from moclip.training.heads.mlp import list_mlp_layers


class AttentionHead(HeadStrategy):
    """Attention pooling of the frames, then the layers of the kind `mlp`. Without frames it is that MLP."""

    def build(self, layout: Layout, *, num_classes: int, config: HeadConfig) -> nn.Module:
        """Return the untrained layers."""
        layers = list_mlp_layers(layout.pooled, num_classes=num_classes, config=config)
        if layout.frames:
            layers["attention"] = FrameAttention(layout)
            layers.move_to_end("attention", last=False)
        return nn.Sequential(layers)


class FrameAttention(nn.Module):
    """Attention pooling over the frames of a video; a query of zeros gives the plain mean."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.query = nn.Parameter(torch.zeros(layout.appearance))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return rows with one appearance embedding, (B, M + A), for rows with all frames, (B, D)."""
        layout = self.layout
        end = layout.motion + layout.appearance * layout.frames
        frames = inputs[:, layout.motion : end].reshape(-1, layout.frames, layout.appearance)
        scores = (frames @ self.query / math.sqrt(layout.appearance)).masked_fill(inputs[:, end:] == 0, -math.inf)
        pooled = (scores.softmax(dim=1)[:, :, None] * frames).sum(dim=1)
        return torch.cat([inputs[:, : layout.motion], pooled], dim=1)


STRATEGY = AttentionHead()
