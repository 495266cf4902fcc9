"""Train a motion network from cached motion vectors, and write its weights and learning curve. Imports torch."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple, fields
from functools import partial
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

import numpy as np

from moclip.cache.index import locate_videos
from moclip.cache.reader import Shard
from moclip.config.network_settings import MotionNetworkVariant
from moclip.core.files import write_tsv
from moclip.dataset.labels import Labels
from moclip.encoders.motion_network import save_network
from moclip.encoders.runtime import prepare_torch
from moclip.motion.vectors import MotionVectors, motion_from_row
from moclip.training.checkpoint import Epoch
from moclip.training.motion_data import Sample
from moclip.training.motion_network import TrainedNetwork, train_motion_network

_log = logging.getLogger(__name__)

# Motion kept in memory while a network trains: 0.8 MB for 170 frames of 320 x 240 px, half of a split of UCF101.
# Other videos are read from the shards in every epoch, at about 1 ms per 100 frames.
_KEPT_BYTES = 4 * 2**30


def write_network(
    output: Path,
    *,
    history: Path,
    labels: tuple[Labels, Labels],
    motion_index: Path,
    num_classes: int,
    variant: MotionNetworkVariant,
    seed: int,
    checkpoint: Path,
    about: Mapping[str, Any],
) -> None:
    """Train a motion network, or continue from `checkpoint`, and write it with `about` and its learning curve.

    `labels` are those of the training and the validation videos.

    Raises:
        ConfigError, DatasetError, ModelError: As `motion_network.train_motion_network`.
    """
    train, val = labels
    prepare_torch(threads=variant.threads)
    with _MotionSource(motion_index, video_ids=[*train.video_ids, *val.video_ids]) as source:
        trained = train_motion_network(
            source.samples(train),
            source.samples(val),
            num_classes=num_classes,
            variant=variant,
            seed=seed,
            checkpoint=checkpoint,
        )
    _write_network_history(history, trained=trained)
    save_network(trained.network, output, about={**about, "best_epoch": trained.best_epoch})


class _MotionSource:
    """The cached motion of some videos, for any thread; shards stay open, and rows stay in memory up to a bound."""

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
    header = [*(field.name for field in fields(Epoch)), "chosen"]
    rows = [(*astuple(entry), int(entry.epoch == trained.best_epoch)) for entry in trained.history]
    write_tsv(path, header=header, rows=rows)
