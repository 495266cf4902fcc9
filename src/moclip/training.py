"""Training on cached features: the motion network of a split and seed, and the heads of a run. No video is opened.

Only training and validation videos are ever read here; the test subset is the business of `runs.evaluate_run`.
"""

import csv
import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from moclip.code_digest import code_digest
from moclip.errors import DatasetError
from moclip.features import locate_videos
from moclip.files import replace_atomically
from moclip.heads import (
    HEAD_STREAMS,
    HeadConfig,
    TrainedHead,
    concatenate_streams,
    save_heads,
    train_head,
    write_history,
)
from moclip.manifest import list_class_names, read_manifest
from moclip.motion import MotionVectors, motion_from_row
from moclip.motion_checkpoint import Epoch
from moclip.motion_loader import Sample
from moclip.motion_network import save_network
from moclip.motion_torch import prepare_torch
from moclip.motion_training import TrainedNetwork, train_motion_network
from moclip.shards import Shard, build_digest
from moclip.streams import Stream, index_fingerprint, load_stream, shared_videos

_log = logging.getLogger(__name__)

# Motion kept in memory while a network trains, packed as it is stored (about 0.13 MB for 170 frames of 340 x 256 px, so
# that the 9,537 videos of a split of UCF101 fit); what is beyond is read from the shards in every epoch.
_KEPT_BYTES = 4 * 2**30
# Keys of a variant that no weight depends on.
_NOT_OF_TRAINING = ("test", "loaders")


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The videos of one subset of a split, in the order of their ids, and their class indices, int64 (N,)."""

    video_ids: tuple[str, ...]
    class_index: Mapping[str, int]

    def select(self, video_ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the class indices of these videos, int64 (N,)."""
        return np.array([self.class_index[video_id] for video_id in video_ids], dtype=np.int64)


def load_labels(manifest: Path, *, split: int, subset: str) -> Labels:
    """Return the videos of a subset (`train`, `val` or `test`) of an official split.

    Raises:
        DatasetError: The dataset has no such split.
    """
    frame = read_manifest(manifest)
    column = f"split_{split}"
    if column not in frame.columns:
        known = ", ".join(name.removeprefix("split_") for name in frame.columns if name.startswith("split_"))
        raise DatasetError(f"{manifest}: expected split {split}, found {known}; change `splits` of the experiment")
    rows = frame[frame[column] == subset].sort_values("video_id")
    classes = {str(video_id): int(index) for video_id, index in zip(rows["video_id"], rows["class_index"], strict=True)}
    return Labels(video_ids=tuple(classes), class_index=classes)


def train_run_heads(
    output: Path,
    *,
    history: Path,
    manifest: Path,
    indexes: Mapping[str, Path],
    methods: Sequence[str],
    variant: Mapping[str, Any],
    split: int,
    seed: int,
) -> None:
    """Train the heads that the methods of a run ask for, and write them and their learning curves.

    `indexes` gives the features of each stream. Selection is on the validation subset alone.
    """
    streams = {name: load_stream(index) for name, index in indexes.items()}
    train, val = (load_labels(manifest, split=split, subset=subset) for subset in ("train", "val"))
    num_classes = len(list_class_names(read_manifest(manifest)))
    config = HeadConfig.from_config(variant)
    heads: dict[str, TrainedHead] = {}
    for method, names in HEAD_STREAMS.items():
        if method in methods:
            chosen = {name: streams[name] for name in names}
            x_train, y_train = _build_fold(train, streams=chosen, config=config)
            x_val, y_val = _build_fold(val, streams=chosen, config=config)
            heads[method] = train_head(
                x_train, y_train, x_val, y_val, num_classes=num_classes, config=config, seed=seed
            )
            _log.info("%s: epoch %d of %d kept", method, heads[method].best_epoch, config.epochs)
    fingerprints = {name: index_fingerprint(index) for name, index in indexes.items()}
    save_heads(
        output,
        heads=heads,
        trained_on=[*train.video_ids, *val.video_ids],
        provenance={"features": fingerprints, "split": split, "seed": seed},
    )
    write_history(history, heads=heads)


def _build_fold(
    labels: Labels, *, streams: Mapping[str, Stream], config: HeadConfig
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    ids = shared_videos(labels.video_ids, streams=streams.values())
    if len(ids) < len(labels.video_ids):
        _log.warning(
            "%d of %d videos have no features and are left out", len(labels.video_ids) - len(ids), len(labels.video_ids)
        )
    embeddings = {name: stream.select(ids) for name, stream in streams.items()}
    return concatenate_streams(embeddings, normalise=config.normalise), labels.select(ids)


def train_network(
    output: Path,
    *,
    history: Path,
    manifest: Path,
    motion_index: Path,
    variant: Mapping[str, Any],
    split: int,
    seed: int,
    cache_dir: Path,
) -> None:
    """Train the motion network of a split and seed from cached motion, and write it and its learning curve.

    A stopped training goes on from its last whole epoch, whose state lies in `cache_dir`.
    """
    prepare_torch(threads=variant["threads"])
    train, val = (load_labels(manifest, split=split, subset=subset) for subset in ("train", "val"))
    num_classes = len(list_class_names(read_manifest(manifest)))
    source = _MotionSource(motion_index, video_ids=[*train.video_ids, *val.video_ids])
    recipe = {key: value for key, value in variant.items() if key not in _NOT_OF_TRAINING}
    labels = [[subset.video_ids, sorted(subset.class_index.items())] for subset in (train, val)]
    identity = build_digest(index_fingerprint(motion_index), labels, recipe, split, seed, code_digest(Path(__file__)))
    checkpoint = cache_dir / "training" / f"{identity}.safetensors"
    with source:
        trained = train_motion_network(
            source.samples(train),
            source.samples(val),
            num_classes=num_classes,
            variant=variant,
            seed=seed,
            checkpoint=checkpoint,
        )
    about = {
        "trained_on": sorted([*train.video_ids, *val.video_ids]),
        "train": sorted(train.video_ids),
        "split": split,
        "seed": seed,
        "best_epoch": trained.best_epoch,
        "motion": index_fingerprint(motion_index),
    }
    _write_network_history(history, trained=trained)
    save_network(trained.network, output, about=about)
    checkpoint.unlink(missing_ok=True)


class _MotionSource:
    """The cached motion of some videos, for any thread; shards stay open, and packed rows in memory up to a bound."""

    def __init__(self, index: Path, *, video_ids: Sequence[str]) -> None:
        self._places = locate_videos(index, video_ids=video_ids)
        self._shards: dict[Path, Shard] = {}
        self._opened = ExitStack()
        self._kept: dict[str, Mapping[str, Any]] = {}
        self._num_bytes = 0
        self._lock = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._opened.close()

    def samples(self, labels: Labels) -> list[Sample]:
        """Return the videos of a subset that have motion."""
        ids = [video_id for video_id in labels.video_ids if video_id in self._places]
        if len(ids) < len(labels.video_ids):
            _log.warning("%d videos have no motion and are left out", len(labels.video_ids) - len(ids))
        return [
            Sample(video_id=video_id, class_index=labels.class_index[video_id], motion=partial(self._load, video_id))
            for video_id in ids
        ]

    def _load(self, video_id: str) -> MotionVectors:
        with self._lock:
            row = self._kept.get(video_id) or self._read(video_id)
        return motion_from_row(row)

    def _read(self, video_id: str) -> Mapping[str, Any]:
        path = self._places[video_id]
        if path not in self._shards:
            self._shards[path] = self._opened.enter_context(Shard(path))
        row = self._shards[path].read_row(video_id).values
        size = sum(np.asarray(value).nbytes for value in row.values())
        if self._num_bytes + size <= _KEPT_BYTES:
            self._num_bytes += size
            self._kept[video_id] = row
        return row


def _write_network_history(path: Path, *, trained: TrainedNetwork) -> None:
    with replace_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, dialect="excel-tab", lineterminator="\n")
        table.writerow([*(field.name for field in fields(Epoch)), "chosen"])
        for entry in trained.history:
            cells = ["" if isinstance(x, float) and math.isnan(x) else x for x in astuple(entry)]
            table.writerow([*cells, int(entry.epoch == trained.best_epoch)])
