"""The interface of a kind of head: how it is built, fitted, loaded and asked.

Each kind is a module of `moclip.training.heads` with an instance named `STRATEGY`, found by its name. Training,
evaluation, prediction, cost counting and ONNX export use this interface and know no kind.
"""

from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from moclip.errors import ModelError
from moclip.training import heads
from moclip.training.head_files import HeadConfig, TrainedHead
from moclip.training.head_fitting import Task, fit_by_gradient, use_threads
from moclip.training.head_inputs import Fold, Layout, check_finite

Floats = NDArray[np.float32]


class HeadStrategy:
    """A kind of head. A kind that is trained by gradient descent only has to define `build`."""

    has_graph = True  # whether it can be exported as ONNX

    def build(self, layout: Layout, *, num_classes: int, config: HeadConfig) -> nn.Module:
        """Return an untrained module from inputs (B, D) to logits (B, K), with weights from torch's generator."""
        raise NotImplementedError

    def fit(self, train: Fold, val: Fold, *, task: Task) -> TrainedHead:
        """Return a head fitted to the training videos; validation videos choose, and with `refit` train as well."""
        return fit_by_gradient(self.build, train, val, task=task)

    def load(self, head: TrainedHead) -> nn.Module:
        """Return a trained head as a module in eval mode."""
        # Copies, because memory of torch is aligned; see `predict`.
        state = {name: torch.from_numpy(value).clone() for name, value in head.state.items()}
        with torch.device("meta"):  # no time for random weights that are replaced
            module = self.build(head.layout, num_classes=len(state["classifier.bias"]), config=head.config)
        module.load_state_dict(state, assign=True)
        return module.eval().requires_grad_(False)

    def predict(self, head: TrainedHead, inputs: Floats) -> Floats:
        """Return the logits of a trained head, float32 (N, K), for inputs (N, D). No row depends on the others.

        Each row passes alone, from memory of torch. The number of rows of a matrix product and the alignment of their
        memory change the order of sums, so a prediction would depend in its last bits on the other videos in the call.
        """
        module = self.load(head)
        with torch.inference_mode(), use_threads(1):
            rows = torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32))
            logits: NDArray[Any] = torch.cat([module(row.clone()) for row in torch.split(rows, 1)]).numpy()
        return logits


def find_strategy(kind: str) -> HeadStrategy:
    """Return the strategy of a kind of head, from the module of its name."""
    strategy: HeadStrategy = import_module(f"{heads.__name__}.{kind}").STRATEGY
    return strategy


def load_head(head: TrainedHead) -> nn.Module:
    """Return a trained head as a module in eval mode."""
    return find_strategy(head.config.kind).load(head)


def predict_logits(head: TrainedHead, inputs: Floats) -> Floats:
    """Return the logits of a trained head, float32 (N, K), for inputs (N, D). No row depends on the others.

    Raises:
        ModelError: The inputs have another width than the head, or are not finite.
    """
    if inputs.ndim != 2 or inputs.shape[1] != head.layout.width:
        raise ModelError(
            f"head: expected inputs (N, {head.layout.width}), found {inputs.shape}; was it trained on these streams?"
        )
    check_finite(inputs)
    return find_strategy(head.config.kind).predict(head, inputs)
