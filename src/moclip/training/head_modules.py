"""Heads as torch modules: the paper's MLP, a linear probe, gated fusion, and attention over frames.

The paper's head is `Linear(1280 + 512, 512) -> ReLU -> Dropout(0.5) -> Linear(512, 101)`, 969,829 parameters. The same
head on the appearance embedding alone is the control for the contribution of motion. `head_inference` has the same
forward passes in NumPy; a test compares the two.
"""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from moclip.training.head_files import HeadConfig
from moclip.training.head_inputs import Layout


def build_head(num_inputs: int, *, num_classes: int, hidden: int, dropout: float) -> nn.Sequential:
    """Return the paper's MLP with fresh weights from torch's global generator.

    Source: Huang et al. 2025 (arXiv 2509.17084), section 3.3; 969,829 parameters at 1792 -> 512 -> 101.
    """
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            hidden=nn.Linear(num_inputs, hidden),
            activation=nn.ReLU(),
            dropout=nn.Dropout(dropout),
            classifier=nn.Linear(hidden, num_classes),
        )
    )


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


class _FrameAttention(nn.Module):
    """One embedding from those of the frames: a mean whose weights a learned query gives (zeros: the plain mean)."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.query = nn.Parameter(torch.zeros(layout.appearance))

    def forward(self, inputs: Tensor) -> Tensor:
        layout = self.layout
        end = layout.motion + layout.appearance * layout.frames
        frames = inputs[:, layout.motion : end].reshape(-1, layout.frames, layout.appearance)
        scores = (frames @ self.query / math.sqrt(layout.appearance)).masked_fill(inputs[:, end:] == 0, -math.inf)
        pooled = (scores.softmax(dim=1)[:, :, None] * frames).sum(dim=1)
        return torch.cat([inputs[:, : layout.motion], pooled], dim=1)


def build_model(layout: Layout, *, num_classes: int, config: HeadConfig) -> nn.Module:
    """Return the head of a configuration with fresh weights from torch's global generator."""
    if config.kind == "linear":
        return nn.Sequential(OrderedDict[str, nn.Module](classifier=nn.Linear(layout.width, num_classes)))
    if config.kind == "gated":
        return GatedHead(layout, num_classes=num_classes, hidden=config.hidden, dropout=config.dropout)
    head = build_head(layout.pooled, num_classes=num_classes, hidden=config.hidden, dropout=config.dropout)
    if config.kind == "attention" and layout.frames:
        return nn.Sequential(OrderedDict([("attention", _FrameAttention(layout)), *head.named_children()]))
    return head


class MlpSteps:
    """The loss and the gradients of `Linear -> ReLU -> Dropout -> Linear` under cross-entropy."""

    def __init__(self, head: nn.Module, *, dropout: float) -> None:
        self._keep = 1.0 - dropout
        for parameter in head.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self._parameters = {name: value.detach() for name, value in head.named_parameters()}
        self._gradients = {name: value.grad for name, value in head.named_parameters() if value.grad is not None}

    @torch.no_grad()
    def run(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of a batch, inputs (B, D), labels (B,), and write the gradients of all parameters."""
        weights, gradients = self._parameters, self._gradients
        hidden = torch.addmm(weights["hidden.bias"], inputs, weights["hidden.weight"].T).relu_()
        gate = (hidden > 0).float()
        if self._keep < 1:
            gate.mul_(torch.empty_like(hidden).bernoulli_(self._keep)).div_(self._keep)
            hidden = hidden.mul_(gate)
        logits = torch.addmm(weights["classifier.bias"], hidden, weights["classifier.weight"].T)
        log_shares = logits.log_softmax(dim=1)
        rows = torch.arange(len(labels))
        loss = -log_shares[rows, labels].mean()
        error = log_shares.exp_()
        error[rows, labels] -= 1.0
        error.div_(len(labels))
        torch.mm(error.T, hidden, out=gradients["classifier.weight"])
        torch.sum(error, dim=0, out=gradients["classifier.bias"])
        back = torch.mm(error, weights["classifier.weight"]).mul_(gate)
        torch.mm(back.T, inputs, out=gradients["hidden.weight"])
        torch.sum(back, dim=0, out=gradients["hidden.bias"])
        return loss
