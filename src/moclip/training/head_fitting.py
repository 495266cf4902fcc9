"""Fit a head by gradient descent: cached embeddings, with the whole dataset in memory."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moclip.errors import ConfigError
from moclip.training.head_files import HeadConfig, HeadEpoch, TrainedHead
from moclip.training.head_inputs import Fold, Layout, join_folds

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Task:
    """The number of classes, the settings, the parts of the inputs, the seed, and the weights to start from."""

    num_classes: int
    config: HeadConfig
    layout: Layout
    seed: int
    start: Mapping[str, Floats] | None = None


def fit_by_gradient(build: Callable[..., nn.Module], train: Fold, val: Fold, *, task: Task) -> TrainedHead:
    """Return the module of `build`, trained with AdamW and cross-entropy. The same seed and threads give the same bits.

    `select: val` keeps the epoch with the best validation top-1 (of equals, the lower validation loss, then the
    earlier); `last` the last. `refit` trains once more, on train and val together, for as many epochs.

    Raises:
        ConfigError: Training diverged.
    """
    first = _fit_from_seed(build, train, val, task=task)
    if not task.config.refit:
        return first
    again = replace(task, config=replace(task.config, epochs=first.best_epoch, select="last"))
    whole, none = join_folds(train, val), Fold(inputs=val.inputs[:0], labels=val.labels[:0])
    return replace(first, state=_fit_from_seed(build, whole, none, task=again).state)


def _fit_from_seed(build: Callable[..., nn.Module], train: Fold, val: Fold, *, task: Task) -> TrainedHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        model = build(task.layout, num_classes=task.num_classes, config=task.config)
        if task.start is not None:
            model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in task.start.items()})
        state, history, best = _fit(model, train=train, val=val, config=task.config)
    return TrainedHead(
        state=state,
        selection_state=state,
        history=tuple(history),
        best_epoch=best,
        config=task.config,
        layout=task.layout,
    )


def _fit(
    model: nn.Module, *, train: Fold, val: Fold, config: HeadConfig
) -> tuple[dict[str, Floats], list[HeadEpoch], int]:
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    history: list[HeadEpoch] = []
    best: tuple[tuple[float, float], int, dict[str, Floats]] | None = None
    for epoch in range(1, config.epochs + 1):
        train_loss = _train_epoch(model, train, epoch=epoch, optimizer=optimizer, batch_size=config.batch_size)
        if not math.isfinite(train_loss):
            raise ConfigError(f"head.learning_rate: training diverged in epoch {epoch}; lower {config.learning_rate}")
        val_loss, val_top_1 = _validate(model, val)
        history.append(HeadEpoch(epoch=epoch, train_loss=train_loss, val_loss=val_loss, val_top_1=val_top_1))
        merit = (val_top_1, -val_loss)
        is_last = config.select == "last" and epoch == config.epochs
        if is_last or (config.select == "val" and (best is None or merit > best[0])):
            best = (merit, epoch, {name: value.numpy().copy() for name, value in model.state_dict().items()})
    if best is None:
        raise ConfigError(f"head.epochs: expected 1 or more, found {config.epochs}")
    return best[2], history, best[1]


def _train_epoch(
    model: nn.Module, train: Fold, *, epoch: int, optimizer: torch.optim.Optimizer, batch_size: int
) -> float:
    model.train()
    inputs, labels = _tensor(train.redraw(epoch) if train.redraw else train.inputs), _tensor(train.labels)
    total = torch.zeros((), dtype=torch.float64)
    for batch in torch.split(torch.randperm(len(labels)), batch_size):
        # index_select takes half the time of indexing with `[batch]`.
        loss = nn.functional.cross_entropy(model(inputs.index_select(0, batch)), labels[batch])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        total += loss.detach() * len(batch)
    return float(total) / len(labels)


def _tensor(values: NDArray[Any]) -> Tensor:
    kind = np.float32 if np.issubdtype(values.dtype, np.floating) else np.int64
    return torch.from_numpy(np.ascontiguousarray(values, dtype=kind))


@torch.inference_mode()
def _validate(model: nn.Module, val: Fold) -> tuple[float, float]:
    if not len(val.labels):
        return math.nan, math.nan
    model.eval()
    logits = model(_tensor(val.inputs))
    loss = float(nn.functional.cross_entropy(logits, _tensor(val.labels)))
    # numpy's argmax takes the first of equals, as the metrics do; torch's promises nothing.
    return loss, float((logits.numpy().argmax(axis=1) == val.labels).mean())


@contextmanager
def use_threads(number: int) -> Iterator[None]:
    """Let torch compute with this number of threads inside the block: other numbers round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
