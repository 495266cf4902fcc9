"""Inputs of a head: the embeddings of its streams, concatenated, one row per video."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from moclip.cache.tables import Stream, Views, load_stream, load_views
from moclip.config.head_kinds import HEAD_KINDS
from moclip.core.digests import seed_of
from moclip.core.numerics import unit
from moclip.encoders.zero_shot import SCALE
from moclip.errors import ModelError
from moclip.extraction.text import ClassEmbeddings, read_class_embeddings

if TYPE_CHECKING:
    from moclip.training.head_files import HeadConfig

# The order in which the embeddings of the streams are joined.
STREAM_ORDER = ("motion", "appearance")

_LAYER_NORM_EPSILON = 1e-5

Floats = NDArray[np.float32]

Normalise = Literal["none", "l2", "layer"]

# How the embeddings of a video's frames become one: their mean, the first in time, or all of them side by side.
Pooling = Literal["mean", "first", "concat"]

POOLINGS = ("mean", "first", "concat")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The widths of the parts of a row, in their order: motion, appearance, and the mask of the frames.

    Frames side by side (`pooling: concat`) are one wide appearance part.
    With `frames` above 0 the appearance part holds that many embeddings of `appearance` numbers each, and `frames`
    numbers follow that are 1 where there is such a frame and 0 where the video has fewer.
    """

    motion: int = 0
    appearance: int = 0
    frames: int = 0

    @property
    def streams(self) -> dict[str, int]:
        """The width of each stream that is present, by name, in the order of a row; frames count once."""
        given = {"motion": self.motion, "appearance": self.appearance}
        return {name: given[name] for name in STREAM_ORDER if given[name]}

    @property
    def width(self) -> int:
        """How many numbers a row has."""
        return self.motion + self.appearance * max(self.frames, 1) + self.frames

    @property
    def pooled(self) -> int:
        """How many numbers a row has once its frames are one embedding."""
        return self.motion + self.appearance


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One subset: inputs float32 (N, D), labels (N,), and the group of each video where they are known.

    `redraw` gives other inputs, (N, D), for the training of each epoch, counted from 1.
    """

    inputs: Floats
    labels: NDArray[np.integer[Any]]
    groups: tuple[str, ...] = ()
    redraw: Callable[[int], Floats] | None = None


def join_folds(first: Fold, second: Fold) -> Fold:
    """Return the videos of both subsets, those of the first before those of the second."""

    def redraw(epoch: int) -> Floats:
        parts = [fold.redraw(epoch) if fold.redraw else fold.inputs for fold in (first, second)]
        return np.concatenate(parts)

    return Fold(
        inputs=np.concatenate([first.inputs, second.inputs]),
        labels=np.concatenate([first.labels, second.labels]),
        groups=first.groups + second.groups,
        redraw=redraw if first.redraw or second.redraw else None,
    )


def concatenate_streams(streams: Mapping[str, Floats], *, normalise: Normalise = "none") -> Floats:
    """Return the embeddings of each video side by side, float32 (N, sum of D): motion first, then appearance.

    `l2` scales each stream to unit length beforehand, `layer` to mean 0 and variance 1 within the row; a row of zeros
    stays one.

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
        check_finite(values)
    return np.concatenate([scale(values, normalise=normalise) for values in ordered], axis=1)


def scale(values: Floats, *, normalise: Normalise) -> Floats:
    """Return embeddings, float32 (..., D), as `normalise` says, over the last axis."""
    if normalise == "none":
        return values
    if normalise == "l2":
        return unit(values).astype(np.float32)
    wide = values.astype(np.float64)
    wide -= wide.mean(axis=-1, keepdims=True)
    variance = (wide**2).mean(axis=-1, keepdims=True)
    return np.asarray(wide / np.sqrt(variance + _LAYER_NORM_EPSILON), dtype=np.float32)


def join_frames(frames: Floats, *, mask: Floats, motion: Floats | None, normalise: Normalise) -> Floats:
    """Return rows with every frame in them, float32 (N, D): motion, the frames (N, F, D) flat, their mask (N, F)."""
    check_finite(frames.reshape(len(frames), -1))
    scaled = scale(frames, normalise=normalise) * mask[:, :, None]
    parts = [scaled.reshape(len(frames), -1), mask.astype(np.float32)]
    if motion is not None:
        parts.insert(0, concatenate_streams({"motion": motion}, normalise=normalise))
    return np.concatenate(parts, axis=1, dtype=np.float32)


def shuffle_rows(values: Floats, *, seed: int, subset: str) -> Floats:
    """Return the rows, (N, D), permuted between videos; equal seed and subset give equal order."""
    order = np.random.default_rng(seed_of("shuffled motion", seed, subset)).permutation(len(values))
    return np.asarray(values[order], dtype=np.float32)


def shuffle_frames(frames: Floats, *, mask: Floats, video_ids: Sequence[str], seed: int) -> Floats:
    """Return frames, (N, F, D), with those of each video in a random order, which follows from seed and id."""
    shuffled = frames.copy()
    for row, video_id in enumerate(video_ids):
        count = int(mask[row].sum())
        order = np.random.default_rng(seed_of("shuffled frames", seed, video_id)).permutation(count)
        shuffled[row, :count] = frames[row, order]
    return shuffled


def check_finite(values: Floats) -> None:
    """Pass embeddings, (N, D), without nan and infinity.

    Raises:
        ModelError: There is one.
    """
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise ModelError(
            f"embeddings: expected finite numbers, found nan or infinity in {len(bad)} rows, first {bad[0]}"
        )


class FeatureLoader:
    """Streams and class embeddings, each read once, when it is first asked for."""

    def __init__(self) -> None:
        self._streams: dict[tuple[Path, str], Stream] = {}
        self._texts: dict[Path, ClassEmbeddings] = {}
        self._views: dict[Path, Views] = {}

    def stream(self, index: Path, *, field: str = "embedding") -> Stream:
        """Return one field of the features behind an index."""
        if (index, field) not in self._streams:
            self._streams[index, field] = load_stream(index, field=field)
        return self._streams[index, field]

    def views(self, index: Path) -> Views:
        """Return the augmented views behind an index."""
        if index not in self._views:
            self._views[index] = load_views(index)
        return self._views[index]

    def text(self, path: Path) -> ClassEmbeddings:
        """Return class embeddings."""
        if path not in self._texts:
            self._texts[path] = read_class_embeddings(path)
        return self._texts[path]


def build_inputs(
    method: str,
    video_ids: Sequence[str],
    *,
    streams: Mapping[str, Stream],
    config: "HeadConfig",
    seed: int,
    subset: str,
    num_frames: int,
) -> tuple[Floats, Layout]:
    """Return what a head of `method` sees of these videos, float32 (N, D), and what its rows are made of.

    `num_frames` is how many frames a head that sees each of them was trained with.
    """
    if method == "zero_shot_head":
        unit = scale(streams["appearance"].select(video_ids), normalise="l2")
        return np.asarray(SCALE * unit, dtype=np.float32), Layout(appearance=unit.shape[1])
    values = {name: stream.select(video_ids) for name, stream in streams.items()}
    if config.pooling != "mean" and "appearance" in values:
        count = 1 if config.pooling == "first" else num_frames
        frames, _ = streams["appearance"].select_frames(video_ids, num_frames=count)
        values["appearance"] = frames.reshape(len(frames), -1)
    if method == "shuffled_motion":
        values["motion"] = shuffle_rows(values["motion"], seed=seed, subset=subset)
    widths = {name: value.shape[1] for name, value in values.items()}
    if HEAD_KINDS[config.kind].frames and "appearance" in values:
        frames, mask = streams["appearance"].select_frames(video_ids, num_frames=num_frames)
        if method == "shuffled_frames":
            frames = shuffle_frames(frames, mask=mask, video_ids=video_ids, seed=seed)
        joined = join_frames(frames, mask=mask, motion=values.get("motion"), normalise=config.normalise)
        return joined, Layout(frames=mask.shape[1], **widths)
    return concatenate_streams(values, normalise=config.normalise), Layout(**widths)
