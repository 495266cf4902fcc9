"""A small network over the frames of a video that sees their order.

Its output is added to the mean embedding through a gate that starts at 0, so an untrained head equals the kind `mlp` on
the mean of the frames. Positions follow relative time, so that videos may have any number of frames. They start with a
standard deviation of 0.5: positions that start near 0 do not learn order from a few hundred videos.
"""

import torch
from torch import Tensor, nn

from moclip.training.head_files import HeadConfig
from moclip.training.head_inputs import Layout
from moclip.training.head_strategy import HeadStrategy
from moclip.training.heads.mlp import list_mlp_layers

_NUM_BINS, _POSITION_SPREAD = 32, 0.5

_NUM_TAPS = 5

_HEAD_WIDTH, _ATTENTION_DROPOUT = 32, 0.1


class TemporalHead(HeadStrategy):
    """The network over the frames, then the layers of the kind `mlp`. Without frames it is that MLP."""

    def build(self, layout: Layout, *, num_classes: int, config: HeadConfig) -> nn.Module:
        """Return the untrained layers."""
        layers = list_mlp_layers(layout.pooled, num_classes=num_classes, config=config)
        if layout.frames:
            layers["temporal"] = TemporalPooling(layout, config=config)
            layers.move_to_end("temporal", last=False)
        return nn.Sequential(layers)


class TemporalPooling(nn.Module):
    """The mean of the frames plus a gated summary of their sequence."""

    def __init__(self, layout: Layout, *, config: HeadConfig) -> None:
        super().__init__()
        width, num_layers = config.options["width"], config.options["layers"]
        self.layout = layout
        self.norm = nn.LayerNorm(layout.appearance)
        self.project = nn.Linear(layout.appearance, width)
        self.positions = nn.Parameter(_POSITION_SPREAD * torch.randn(_NUM_BINS, width))
        form = {"conv": Convolutions, "transformer": Transformer}[config.options["form"]]
        self.sequence = form(width, num_layers=num_layers)
        self.expand = nn.Linear(width, layout.appearance)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return rows with one appearance embedding, (B, M + A), for rows with all frames, (B, D)."""
        layout = self.layout
        end = layout.motion + layout.appearance * layout.frames
        frames = inputs[:, layout.motion : end].reshape(-1, layout.frames, layout.appearance)
        mask = inputs[:, end:]
        counts = mask.sum(dim=1, keepdim=True)
        mean = (frames * mask[:, :, None]).sum(dim=1) / counts
        tokens = self.project(self.norm(frames)) + self._place(counts)
        pooled = mean + self.gate * self.expand(self.sequence(tokens, mask))
        return torch.cat([inputs[:, : layout.motion], pooled], dim=1)

    def _place(self, counts: Tensor) -> Tensor:
        """Return the position of each frame, (B, F, W), interpolated at its relative time; `counts` is (B, 1)."""
        times = (torch.arange(self.layout.frames, device=counts.device) + 0.5) / counts
        places = (times * _NUM_BINS - 0.5).clamp(0, _NUM_BINS - 1)
        low = places.floor()
        share = (places - low)[:, :, None]
        low = low.long()
        high = (low + 1).clamp(max=_NUM_BINS - 1)
        return (1 - share) * self.positions[low] + share * self.positions[high]


class Convolutions(nn.Module):
    """Convolutions over time, then the mean of the frames that exist."""

    def __init__(self, width: int, *, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv1d(width, width, _NUM_TAPS, padding=_NUM_TAPS // 2) for _ in range(num_layers)
        )

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the summary, (B, W), of tokens (B, F, W) with a mask (B, F)."""
        # Missing frames are zeros, as the padding of a convolution is, so that a shorter video ends where it ends.
        present = mask[:, None, :]
        values = tokens.transpose(1, 2) * present
        for layer in self.layers:
            values = layer(values).relu() * present
        return values.sum(dim=2) / present.sum(dim=2)


class Transformer(nn.Module):
    """Pre-norm attention over the frames and a class token, whose output is the summary."""

    def __init__(self, width: int, *, num_layers: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                max(1, width // _HEAD_WIDTH),
                dim_feedforward=2 * width,
                dropout=_ATTENTION_DROPOUT,
                batch_first=True,
                norm_first=True,
            )
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the summary, (B, W), of tokens (B, F, W) with a mask (B, F)."""
        values = torch.cat([self.token.expand(len(tokens), 1, -1), tokens], dim=1)
        missing = nn.functional.pad(mask == 0, (1, 0), value=False)
        for layer in self.layers:
            values = layer(values, src_key_padding_mask=missing)
        summary: Tensor = self.norm(values[:, 0])
        return summary


STRATEGY = TemporalHead()
