"""A sum of streams, each weighed by a learned gate."""

import torch
from torch import Tensor, nn

from moclip.training.head_files import HeadConfig
from moclip.training.head_inputs import Layout
from moclip.training.head_strategy import HeadStrategy


class GatedHead(HeadStrategy):
    """Gated fusion of the streams, then dropout and a linear classifier."""

    def build(self, layout: Layout, *, num_classes: int, config: HeadConfig) -> nn.Module:
        """Return the untrained module."""
        return GatedFusion(layout, num_classes=num_classes, config=config)


class GatedFusion(nn.Module):
    """Streams projected to one width, each weighed, unit by unit, by a gate that sees all of them, then added.

    Source: Arevalo et al. 2017 (arXiv 1702.01992), section 3.1, with a gate for each stream.
    """

    def __init__(self, layout: Layout, *, num_classes: int, config: HeadConfig) -> None:
        super().__init__()
        self.widths = layout.streams
        for name, width in self.widths.items():
            self.add_module(f"project_{name}", nn.Linear(width, config.hidden))
            self.add_module(f"gate_{name}", nn.Linear(layout.pooled, config.hidden))
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) for inputs (B, D)."""
        parts = zip(self.widths, torch.split(inputs, list(self.widths.values()), dim=1), strict=True)
        terms = [
            self.get_submodule(f"project_{name}")(part).relu()
            * torch.sigmoid(self.get_submodule(f"gate_{name}")(inputs))
            for name, part in parts
        ]
        logits: Tensor = self.classifier(self.dropout(torch.stack(terms).sum(dim=0)))
        return logits


STRATEGY = GatedHead()
