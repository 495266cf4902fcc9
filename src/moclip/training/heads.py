"""The training loop of heads: cached embeddings, with the whole dataset in memory."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moclip.errors import ConfigError, DatasetError, ModelError
from moclip.training.head_files import HeadConfig, HeadEpoch, TrainedHead
from moclip.training.head_inputs import Layout, check_finite
from moclip.training.head_modules import build_head, predict_logits, use_threads
from moclip.training.selection import WEIGHTS, choose, interpolate

Floats = NDArray[np.float32]
Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One subset: inputs float32 (N, D), labels (N,).

    `redraw` gives other inputs, (N, D), for the training of each epoch, counted from 1.
    """

    inputs: Floats
    labels: Ints
    redraw: Callable[[int], Floats] | None = None


def train_head(
    train: Fold,
    val: Fold,
    *,
    num_classes: int,
    config: HeadConfig,
    seed: int,
    layout: Layout | None = None,
    start: Mapping[str, Floats] | None = None,
    threads: int = 1,
) -> TrainedHead:
    """Return a head trained with AdamW and cross-entropy; the same seed and threads give the same bits.

    `select: val` keeps the epoch with the best validation top-1 (of equals, the lower validation loss, then the
    earlier); `last` the last. `refit` trains once more, on train and val together, for as many epochs. Test videos take
    no part. The caller's random state is left as it was, so that heads trained one after another equal heads trained
    alone. `layout` says what the rows are made of; `start` gives the weights to start from.

    Raises:
        ConfigError: `select` is `val` without validation videos, or training diverged.
        DatasetError: There is no training video, or a label is out of range.
        ModelError: An embedding is not finite, or shapes disagree.
    """
    for name, fold in (("train", train), ("val", val)):
        _check_fold(fold, name=name, num_classes=num_classes)
    if not len(train.labels):
        raise DatasetError("head: expected training videos with features, found none; see rejects.tsv")
    if config.select == "val" and not len(val.labels):
        raise ConfigError(
            "head.select: `val` needs validation videos with features and there are none; "
            "raise dataset.validation_fraction or set `select: last`"
        )
    layout = layout or Layout(appearance=train.inputs.shape[1])
    if config.kind == "knn":
        return _fit_neighbours(train, val, num_classes=num_classes, config=config, layout=layout)
    with use_threads(threads):
        first = _fit_from_seed(
            train, val, num_classes=num_classes, config=config, layout=layout, start=start, seed=seed
        )
        if not config.refit:
            return first
        again = replace(config, epochs=first.best_epoch, select="last")
        whole, none = _join(train, val), Fold(inputs=val.inputs[:0], labels=val.labels[:0])
        second = _fit_from_seed(
            whole, none, num_classes=num_classes, config=again, layout=layout, start=start, seed=seed
        )
    return replace(first, state=second.state)


def train_zero_shot_head(
    train: Fold,
    val: Fold,
    *,
    classes: Floats,
    config: HeadConfig,
    seed: int,
) -> TrainedHead:
    """Return a linear head between class embeddings (K, D) and their fine-tuning; validation chooses how far.

    Inputs are image embeddings of unit length times 100. `chosen["alpha"]` is 0 where the prompts alone
    were best.

    Raises:
        ConfigError: There are no validation videos to choose with.

    Source: Wortsman et al. 2022 (arXiv 2109.01903): the weights are interpolated, not the scores.
    """
    if not len(val.labels):
        raise ConfigError("methods: `zero_shot_head` chooses its weight on validation videos and there are none")
    start = {"classifier.weight": classes, "classifier.bias": np.zeros(len(classes), dtype=np.float32)}
    linear = replace(config, kind="linear", normalise="l2")
    tuned = train_head(train, val, num_classes=len(classes), config=linear, seed=seed, start=start)

    def logits(alpha: float) -> Floats:
        state = interpolate(start, tuned.selection_state, weight=alpha)
        return predict_logits(replace(tuned, state=state), val.inputs)

    alpha = choose(WEIGHTS, logits=logits, labels=val.labels.astype(np.int64))
    return replace(
        tuned,
        state=interpolate(start, tuned.state, weight=alpha),
        selection_state=interpolate(start, tuned.selection_state, weight=alpha),
        chosen={"alpha": alpha},
    )


def _fit_neighbours(train: Fold, val: Fold, *, num_classes: int, config: HeadConfig, layout: Layout) -> TrainedHead:
    state = _support(train, num_classes=num_classes)
    head = TrainedHead(state=state, selection_state=state, history=(), best_epoch=0, config=config, layout=layout)

    def with_neighbours(number: float) -> TrainedHead:
        return replace(head, chosen={"neighbours": int(number)})

    def logits(number: float) -> Floats:
        return predict_logits(with_neighbours(number), val.inputs)

    chosen: float = config.neighbours[0]
    if config.select == "val":
        chosen = choose(config.neighbours, logits=logits, labels=val.labels.astype(np.int64))
    final = _support(_join(train, val), num_classes=num_classes) if config.refit else state
    return replace(with_neighbours(chosen), state=final)


def _support(fold: Fold, *, num_classes: int) -> dict[str, NDArray[Any]]:
    return {
        "support": np.ascontiguousarray(fold.inputs, dtype=np.float32),
        "labels": fold.labels.astype(np.int64),
        "num_classes": np.array([num_classes], dtype=np.int64),
    }


def _join(first: Fold, second: Fold) -> Fold:
    def redraw(epoch: int) -> Floats:
        parts = [fold.redraw(epoch) if fold.redraw else fold.inputs for fold in (first, second)]
        return np.concatenate(parts)

    return Fold(
        inputs=np.concatenate([first.inputs, second.inputs]),
        labels=np.concatenate([first.labels, second.labels]),
        redraw=redraw if first.redraw or second.redraw else None,
    )


def _check_fold(fold: Fold, *, name: str, num_classes: int) -> None:
    if len(fold.inputs) != len(fold.labels) or fold.inputs.ndim != 2:
        raise ModelError(
            f"head: {name}: expected inputs (N, D) for {len(fold.labels)} labels, found {fold.inputs.shape}"
        )
    wrong = fold.labels[(fold.labels < 0) | (fold.labels >= num_classes)]
    if len(wrong):
        raise DatasetError(f"head: {name}: expected class indices 0 to {num_classes - 1}, found {wrong[0]}")
    check_finite(fold.inputs)


def _fit_from_seed(
    train: Fold,
    val: Fold,
    *,
    num_classes: int,
    config: HeadConfig,
    layout: Layout,
    start: Mapping[str, Floats] | None,
    seed: int,
) -> TrainedHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_head(layout, num_classes=num_classes, config=config)
        if start is not None:
            model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in start.items()})
        state, history, best = _fit(model, train=train, val=val, config=config)
    return TrainedHead(
        state=state, selection_state=state, history=tuple(history), best_epoch=best, config=config, layout=layout
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
