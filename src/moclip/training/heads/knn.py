"""Votes of the nearest training videos by cosine similarity. Nothing is trained."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moclip.training.head_files import TrainedHead
from moclip.training.head_fitting import Task
from moclip.training.head_inputs import Fold, join_folds
from moclip.training.head_strategy import HeadStrategy
from moclip.training.selection import choose

_TEMPERATURE = 0.07  # of the votes of neighbors: Wu et al. 2018 (arXiv 1805.01978), section 3.4

_SMALLEST = 1e-12


class NeighborHead(HeadStrategy):
    """The training videos and the number of neighbors, which validation chooses."""

    has_graph = False

    def fit(self, train: Fold, val: Fold, *, task: Task) -> TrainedHead:
        """Return the stored training videos, with `refit` those of validation as well."""
        config = task.config
        state = _support(train, num_classes=task.num_classes)
        head = TrainedHead(
            state=state, selection_state=state, history=(), best_epoch=0, config=config, layout=task.layout
        )

        def with_neighbours(number: float) -> TrainedHead:
            return replace(head, chosen={"neighbours": int(number)})

        chosen: float = config.neighbours[0]
        if config.select == "val":
            chosen = choose(
                config.neighbours,
                logits=lambda number: self.predict(with_neighbours(number), val.inputs),
                labels=val.labels.astype(np.int64),
            )
        final = _support(join_folds(train, val), num_classes=task.num_classes) if config.refit else state
        return replace(with_neighbours(chosen), state=final)

    def load(self, head: TrainedHead) -> nn.Module:
        """Return the votes of the stored videos as a module."""
        state = {name: torch.from_numpy(value).clone() for name, value in head.state.items()}
        num_classes, neighbours = int(state["num_classes"][0]), int(head.chosen["neighbours"])
        return Neighbors(state["support"], state["labels"], num_classes=num_classes, neighbours=neighbours).eval()


class Neighbors(nn.Module):
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


def _support(fold: Fold, *, num_classes: int) -> dict[str, NDArray[Any]]:
    return {
        "support": np.ascontiguousarray(fold.inputs, dtype=np.float32),
        "labels": fold.labels.astype(np.int64),
        "num_classes": np.array([num_classes], dtype=np.int64),
    }


STRATEGY = NeighborHead()
