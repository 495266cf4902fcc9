"""The videos of one subset of a split, with their classes and groups, as the manifest gives them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moclip.errors import DatasetError
from moclip.labels import SUBSETS
from moclip.manifest import read_manifest


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The videos of one subset of a split, in the order of their ids, with their class indices and groups."""

    video_ids: tuple[str, ...]
    class_index: Mapping[str, int]
    groups: Mapping[str, str]

    def select(self, video_ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the class indices of these videos, int64 (N,)."""
        return np.array([self.class_index[video_id] for video_id in video_ids], dtype=np.int64)

    def keep(self, video_ids: Iterable[str]) -> "Labels":
        """Return the labels of these videos alone."""
        wanted = set(video_ids)
        ids = tuple(video_id for video_id in self.video_ids if video_id in wanted)
        return Labels(
            video_ids=ids,
            class_index={video_id: self.class_index[video_id] for video_id in ids},
            groups={video_id: self.groups[video_id] for video_id in ids},
        )


# What a model is trained and chosen on; it depends on these videos alone.
LEARNED = ("train", "val")


def list_subsets(manifest: Path) -> dict[str, frozenset[str]]:
    """Return the ids of the videos of every subset of every split of a manifest, by names such as `split_1/train`."""
    frame = read_manifest(manifest)
    splits = [name for name in frame.columns if name.startswith("split_")]
    return {
        f"{split}/{subset}": frozenset(frame.loc[frame[split] == subset, "video_id"])
        for split in splits
        for subset in SUBSETS
    }


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
    ids = [str(video_id) for video_id in rows["video_id"]]
    return Labels(
        video_ids=tuple(ids),
        class_index=dict(zip(ids, map(int, rows["class_index"]), strict=True)),
        groups=dict(zip(ids, map(str, rows["group"]), strict=True)),
    )
