"""Heads as torch modules, and the forward pass of a trained head at test time.

The paper's head is `Linear(1280 + 512, 512) -> ReLU -> Dropout(0.5) -> Linear(512, 101)`, 969,829 parameters. The same
head on the appearance embedding alone is the control for the contribution of motion. Training, evaluation, prediction
and ONNX export use these modules.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moclip.errors import ModelError
from moclip.training.head_files import HeadConfig, TrainedHead
from moclip.training.head_inputs import Layout, check_finite

_TEMPERATURE = 0.07  # of the votes of neighbors: Wu et al. 2018 (arXiv 1805.01978), section 3.4

_SMALLEST = 1e-12


class GatedHead(nn.Module):
    """Streams projected to one width, each weighed, unit by unit, by a gate that sees all of them, then added.

    Source: Arevalo et al. 2017 (arXiv 1702.01992), section 3.1, with a gate for each stream.
    """

    def __init__(self, layout: Layout, *, num_classes: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.widths = {name: getattr(layout, name) for name in ("motion", "appearance") if getattr(layout, name)}
        for name, width in self.widths.items():
            self.add_module(f"project_{name}", nn.Linear(width, hidden))
            self.add_module(f"gate_{name}", nn.Linear(layout.pooled, hidden))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, num_classes)

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


class NeighbourHead(nn.Module):
    """Votes of the nearest training videos, each weighed by exp(cosine / 0.07).

    Among equally near videos, the earlier one in the training set counts.
    """

    def __init__(self, support: Tensor, labels: Tensor, *, num_classes: int, neighbours: int) -> None:
        super().__init__()
        self.register_buffer("support", _unit(support))
        self.register_buffer("labels", labels)
        self.num_classes, self.neighbours = num_classes, neighbours

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the log of each class's share of the votes, float32 (B, K), for inputs (B, D)."""
        cosine = _unit(inputs) @ self.get_buffer("support").T
        nearest = cosine.argsort(dim=1, descending=True, stable=True)[:, : self.neighbours]
        weights = ((cosine.gather(1, nearest).double() - 1.0) / _TEMPERATURE).exp()
        votes = torch.zeros(len(inputs), self.num_classes, dtype=torch.float64)
        votes.scatter_add_(1, self.get_buffer("labels")[nearest], weights)
        return (votes / votes.sum(dim=1, keepdim=True)).clamp_min(_SMALLEST).log().float()


def _unit(values: Tensor) -> Tensor:
    return nn.functional.normalize(values.double(), dim=1, eps=_SMALLEST).float()


def build_head(layout: Layout, *, num_classes: int, config: HeadConfig) -> nn.Module:
    """Return an untrained head, with weights from torch's global generator.

    Source: Huang et al. 2025 (arXiv 2509.17084), section 3.3, for the kind `mlp`.
    """
    if config.kind == "linear":
        return nn.Sequential(OrderedDict[str, nn.Module](classifier=nn.Linear(layout.width, num_classes)))
    if config.kind == "gated":
        return GatedHead(layout, num_classes=num_classes, hidden=config.hidden, dropout=config.dropout)
    layers = OrderedDict[str, nn.Module](
        hidden=nn.Linear(layout.pooled, config.hidden),
        activation=nn.ReLU(),
        dropout=nn.Dropout(config.dropout),
        classifier=nn.Linear(config.hidden, num_classes),
    )
    if config.kind == "attention" and layout.frames:
        layers["attention"] = FrameAttention(layout)
        layers.move_to_end("attention", last=False)
    return nn.Sequential(layers)


def load_head(head: TrainedHead) -> nn.Module:
    """Return a trained head as a module in eval mode."""
    # Copies, because memory of torch is aligned; see `predict_logits`.
    state = {name: torch.from_numpy(value).clone() for name, value in head.state.items()}
    if head.config.kind == "knn":
        num_classes, neighbours = int(state["num_classes"][0]), int(head.chosen["neighbours"])
        return NeighbourHead(state["support"], state["labels"], num_classes=num_classes, neighbours=neighbours).eval()
    with torch.device("meta"):  # no time for random weights that are replaced
        module = build_head(head.layout, num_classes=len(state["classifier.bias"]), config=head.config)
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def predict_logits(head: TrainedHead, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits of a trained head, float32 (N, K), for inputs (N, D). No row depends on the others.

    Each row passes alone, from memory of torch. The number of rows of a matrix product and the alignment of their
    memory change the order of sums, so a prediction would depend in its last bits on the other videos in the call.

    Raises:
        ModelError: The inputs have another width than the head, or are not finite.
    """
    if inputs.ndim != 2 or inputs.shape[1] != head.layout.width:
        raise ModelError(
            f"head: expected inputs (N, {head.layout.width}), found {inputs.shape}; was it trained on these streams?"
        )
    check_finite(inputs)
    module = load_head(head)
    with torch.inference_mode(), use_threads(1):
        rows = torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32))
        logits: NDArray[Any] = torch.cat([module(row.clone()) for row in torch.split(rows, 1)]).numpy()
    return logits


@contextmanager
def use_threads(number: int) -> Iterator[None]:
    """Let torch compute with this number of threads inside the block: other numbers round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
