"""The heads: small networks trained on cached embeddings, whole data sets in memory, never a video.

The paper's head is `Linear(1280 + 512, 512) -> ReLU -> Dropout(0.5) -> Linear(512, 101)`, 969,829 parameters. The same
head on the appearance embedding alone is the control that shows what motion adds.
"""

import csv
import json
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from moclip.errors import ConfigError, DatasetError, ModelError
from moclip.files import replace_atomically

# The streams behind each head, in the order in which their embeddings are joined.
HEAD_STREAMS: dict[str, tuple[str, ...]] = {"fusion": ("motion", "appearance"), "appearance": ("appearance",)}
STREAM_ORDER = ("motion", "appearance")
_FORMAT_VERSION = "1"
# Every forward pass of a trained head has so many rows, the last one filled up: the sums of a matrix product are
# ordered by its size, and a prediction would depend in its last bits on how many other videos were asked about.
_CHUNK = 64

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """How a head is built and trained; the defaults are the paper's (its code, for the training)."""

    hidden: int = 512
    dropout: float = 0.5
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    batch_size: int = 64
    epochs: int = 100
    select: Literal["val", "last"] = "val"
    normalise: Literal["none", "l2"] = "none"

    @classmethod
    def from_config(cls, section: Mapping[str, Any]) -> "HeadConfig":
        """Return the settings of one entry under `head`.

        Raises:
            ConfigError: A key is unknown, or a choice is none of the known ones.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(section.keys() - known)
        if unknown:
            raise ConfigError(f"head: unknown key `{unknown[0]}`; known keys: {', '.join(sorted(known))}")
        config = cls(**section)
        for key, choices in (("select", ("val", "last")), ("normalise", ("none", "l2"))):
            if getattr(config, key) not in choices:
                raise ConfigError(f"head.{key}: expected one of {', '.join(choices)}; found {getattr(config, key)!r}")
        return config


@dataclass(frozen=True, kw_only=True)
class HeadEpoch:
    """One epoch, counted from 1; `val_loss` and `val_top_1` are nan without validation videos."""

    epoch: int
    train_loss: float
    val_loss: float
    val_top_1: float


@dataclass(frozen=True, kw_only=True)
class TrainedHead:
    """The weights of the chosen epoch, how they came about, and which epoch (from 1) that was."""

    state: Mapping[str, Tensor]
    history: tuple[HeadEpoch, ...]
    best_epoch: int
    config: HeadConfig


@dataclass(frozen=True, kw_only=True)
class SavedHead:
    """A head as read back from its file."""

    state: Mapping[str, Tensor]
    best_epoch: int
    config: HeadConfig


@dataclass(frozen=True, kw_only=True)
class HeadFile:
    """The heads of one run, the ids of the videos that shaped them (train and val), and what else was noted."""

    heads: Mapping[str, SavedHead]
    trained_on: tuple[str, ...]
    provenance: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Fold:
    """One subset as tensors: inputs float32 (N, D), labels int64 (N,)."""

    inputs: Tensor
    labels: Tensor


def pool_frames(embeddings: Floats, *, offsets: NDArray[np.integer]) -> Floats:
    """Return the mean embedding of each video, float32 (N, D), from those of its frames, (sum of K_i, D).

    The frames of video i are `embeddings[offsets[i]:offsets[i + 1]]`.

    Raises:
        ModelError: The offsets do not cover the embeddings, or a video has no frame.
    """
    counts = np.diff(offsets)
    if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != len(embeddings) or counts.min() < 1:
        raise ModelError(
            f"frame pooling: expected offsets from 0 to {len(embeddings)} with a frame or more for every video"
        )
    sums = np.add.reduceat(embeddings.astype(np.float64), offsets[:-1], axis=0)
    return (sums / counts[:, None]).astype(np.float32)


def concatenate_streams(streams: Mapping[str, Floats], *, normalise: Literal["none", "l2"] = "none") -> Floats:
    """Return the embeddings of each video side by side, float32 (N, sum of D): motion first, then appearance.

    `l2` scales each stream to unit length beforehand; a row of zeros stays one.

    Raises:
        ModelError: A stream is unknown, is no (N, D) array of the same N as the others, or is not finite.
    """
    unknown = sorted(streams.keys() - set(STREAM_ORDER))
    if unknown or not streams:
        raise ModelError(f"streams: expected one or more of {', '.join(STREAM_ORDER)}; found {sorted(streams)}")
    shapes = {name: values.shape for name, values in streams.items()}
    if any(len(shape) != 2 for shape in shapes.values()) or len({shape[0] for shape in shapes.values()}) != 1:
        raise ModelError(f"streams: expected (N, D) arrays over the same N videos, found the shapes {shapes}")
    ordered = [streams[name].astype(np.float32) for name in STREAM_ORDER if name in streams]
    for values in ordered:
        _check_finite(values)
    return np.concatenate([_scale(values) if normalise == "l2" else values for values in ordered], axis=1)


def _scale(values: Floats) -> Floats:
    lengths = np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    return (values / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def _check_finite(values: Floats) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise ModelError(
            f"embeddings: expected finite numbers, found nan or infinity in {len(bad)} rows, first {bad[0]}"
        )


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


def train_head(
    x_train: Floats,
    y_train: NDArray[np.integer],
    x_val: Floats,
    y_val: NDArray[np.integer],
    *,
    num_classes: int,
    config: HeadConfig,
    seed: int,
    threads: int = 1,
) -> TrainedHead:
    """Return a head trained with AdamW and cross-entropy; the same seed and threads give the same bits.

    Inputs are float32 (N, D), labels (N,). `select: val` keeps the epoch with the best validation top-1 (of equals, the
    lower validation loss, then the earlier); `last` the last. Test videos take no part. The caller's random state is
    left as it was, so that heads trained one after another equal heads trained alone.

    Raises:
        ConfigError: `select` is `val` without validation videos, or training diverged.
        DatasetError: There is no training video, or a label is out of range.
        ModelError: An embedding is not finite, or shapes disagree.
    """
    train = _build_fold(x_train, y_train, name="train", num_classes=num_classes)
    val = _build_fold(x_val, y_val, name="val", num_classes=num_classes)
    if not len(train.labels):
        raise DatasetError("head: expected training videos with features, found none; see rejects.tsv")
    if config.select == "val" and not len(val.labels):
        raise ConfigError(
            "head.select: `val` needs validation videos with features and there are none; "
            "raise dataset.validation_fraction or set `select: last`"
        )
    with _torch_state(seed=seed, threads=threads):
        head = build_head(x_train.shape[1], num_classes=num_classes, hidden=config.hidden, dropout=config.dropout)
        return _fit(head, train=train, val=val, config=config)


def _build_fold(inputs: Floats, labels: NDArray[np.integer], *, name: str, num_classes: int) -> _Fold:
    if len(inputs) != len(labels) or inputs.ndim != 2:
        raise ModelError(f"head: {name}: expected inputs (N, D) for {len(labels)} labels, found {inputs.shape}")
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if len(wrong):
        raise DatasetError(f"head: {name}: expected class indices 0 to {num_classes - 1}, found {wrong[0]}")
    _check_finite(inputs)
    floats = np.ascontiguousarray(inputs, dtype=np.float32)
    return _Fold(inputs=torch.from_numpy(floats), labels=torch.from_numpy(labels.astype(np.int64)))


@contextmanager
def _torch_state(*, seed: int | None = None, threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            if seed is not None:
                torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)


def _fit(head: nn.Sequential, *, train: _Fold, val: _Fold, config: HeadConfig) -> TrainedHead:
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    history: list[HeadEpoch] = []
    best: tuple[tuple[float, float], int, dict[str, Tensor]] | None = None
    for epoch in range(1, config.epochs + 1):
        train_loss = _train_epoch(head, train, optimizer=optimizer, batch_size=config.batch_size)
        if not math.isfinite(train_loss):
            raise ConfigError(f"head.learning_rate: training diverged in epoch {epoch}; lower {config.learning_rate}")
        val_loss, val_top_1 = _validate(head, val)
        history.append(HeadEpoch(epoch=epoch, train_loss=train_loss, val_loss=val_loss, val_top_1=val_top_1))
        merit = (val_top_1, -val_loss)
        if best is None or config.select == "last" or merit > best[0]:
            best = (merit, epoch, {name: value.detach().clone() for name, value in head.state_dict().items()})
    if best is None:
        raise ConfigError(f"head.epochs: expected 1 or more, found {config.epochs}")
    return TrainedHead(state=best[2], history=tuple(history), best_epoch=best[1], config=config)


def _train_epoch(head: nn.Module, train: _Fold, *, optimizer: torch.optim.Optimizer, batch_size: int) -> float:
    head.train()
    total = torch.zeros((), dtype=torch.float64)
    for batch in torch.split(torch.randperm(len(train.labels)), batch_size):
        loss = nn.functional.cross_entropy(head(train.inputs[batch]), train.labels[batch])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        total += loss.detach() * len(batch)
    return float(total) / len(train.labels)


@torch.no_grad()
def _validate(head: nn.Module, val: _Fold) -> tuple[float, float]:
    if not len(val.labels):
        return math.nan, math.nan
    head.eval()
    logits = head(val.inputs)
    loss = float(nn.functional.cross_entropy(logits, val.labels))
    # numpy's argmax takes the first of equals, as the metrics do; torch's promises nothing.
    top_1 = float((logits.numpy().argmax(axis=1) == val.labels.numpy()).mean())
    return loss, top_1


@torch.no_grad()
def predict_logits(state: Mapping[str, Tensor], inputs: Floats, *, threads: int = 1) -> Floats:
    """Return the logits of a head, float32 (N, K), for inputs (N, D), without dropout.

    Raises:
        ModelError: The inputs have another width than the head, or are not finite.
    """
    num_inputs = state["hidden.weight"].shape[1]
    if inputs.ndim != 2 or inputs.shape[1] != num_inputs:
        raise ModelError(
            f"head: expected inputs (N, {num_inputs}), found {inputs.shape}; was it trained on these streams?"
        )
    _check_finite(inputs)
    tensor = torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32))
    with _torch_state(threads=threads):
        return np.concatenate([_apply_filled(state, chunk).numpy() for chunk in torch.split(tensor, _CHUNK)])


def _apply_filled(state: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    filled = torch.nn.functional.pad(inputs, (0, 0, 0, _CHUNK - len(inputs)))
    return _apply(state, filled)[: len(inputs)]


def _apply(state: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    hidden = nn.functional.linear(inputs, state["hidden.weight"], state["hidden.bias"]).relu()
    return nn.functional.linear(hidden, state["classifier.weight"], state["classifier.bias"])


def save_heads(
    path: Path,
    *,
    heads: Mapping[str, TrainedHead],
    trained_on: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write the heads of a run to one safetensors file, tensors named `<head>.<layer>`; equal heads give equal bytes.

    `trained_on` lists the train and val videos, so that testing on one of them can be refused. `provenance` is JSON.
    """
    tensors = {f"{name}.{key}": value.contiguous() for name, head in heads.items() for key, value in head.state.items()}
    about = {
        "heads": {name: {"best_epoch": head.best_epoch, "config": asdict(head.config)} for name, head in heads.items()},
        "trained_on": sorted(trained_on),
        "provenance": dict(provenance or {}),
    }
    # One key: safetensors writes several in the order of a hash table, and the bytes would differ between runs.
    metadata = {"moclip": json.dumps({"format": _FORMAT_VERSION, **about}, sort_keys=True)}
    with replace_atomically(path) as temporary:
        save_file(tensors, str(temporary), metadata=metadata)


def write_history(path: Path, *, heads: Mapping[str, TrainedHead]) -> None:
    """Write one row for each head and epoch; `chosen` is 1 at the epoch whose weights were kept."""
    with replace_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, dialect="excel-tab", lineterminator="\n")
        table.writerow(["head", "epoch", "train_loss", "val_loss", "val_top_1", "chosen"])
        for name, head in heads.items():
            for row in head.history:
                numbers = [
                    f"{x:.6f}" if math.isfinite(x) else "" for x in (row.train_loss, row.val_loss, row.val_top_1)
                ]
                table.writerow([name, row.epoch, *numbers, int(row.epoch == head.best_epoch)])


def load_heads(path: Path) -> HeadFile:
    """Return the heads written by `save_heads`.

    Raises:
        ModelError: The file is missing, damaged, no file of heads, or of another format.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            about = json.loads((file.metadata() or {})["moclip"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        if about["format"] != _FORMAT_VERSION:
            raise ModelError(f"{path}: expected head format {_FORMAT_VERSION}, found {about['format']}; train it again")
        heads = {name: _load_head(name, tensors=tensors, about=entry) for name, entry in about["heads"].items()}
        return HeadFile(heads=heads, trained_on=tuple(about["trained_on"]), provenance=about["provenance"])
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: expected a file of trained heads ({error}); delete it and run again") from None


def _load_head(name: str, *, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> SavedHead:
    own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
    return SavedHead(
        state={key: own[key] for key in ("hidden.weight", "hidden.bias", "classifier.weight", "classifier.bias")},
        best_epoch=about["best_epoch"],
        config=HeadConfig.from_config(about["config"]),
    )
