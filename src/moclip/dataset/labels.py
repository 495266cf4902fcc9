"""Load the videos of one subset of a split, with their classes and groups."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moclip.dataset.lists import SUBSETS
from moclip.dataset.manifest_table import read_table
from moclip.errors import DatasetError


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
    table = read_table(manifest)
    found: dict[str, set[str]] = {f"{split}/{subset}": set() for split in table.splits for subset in SUBSETS}
    for split in table.splits:
        for video_id, subset in zip(table["video_id"], table[split], strict=True):
            if subset:
                found[f"{split}/{subset}"].add(video_id)
    return {name: frozenset(ids) for name, ids in found.items()}


def load_labels(manifest: Path, *, split: int, subset: str) -> Labels:
    """Return the videos of a subset (`train`, `val` or `test`) of an official split.

    Raises:
        DatasetError: The dataset has no such split.
    """
    table = read_table(manifest)
    column = f"split_{split}"
    if column not in table.splits:
        known = ", ".join(name.removeprefix("split_") for name in table.splits)
        raise DatasetError(f"{manifest}: expected split {split}, found {known}; change `splits` of the experiment")
    rows = [row for row in table.rows("video_id", "class_index", "group", column) if row[3] == subset]
    return Labels(
        video_ids=tuple(row[0] for row in rows),
        class_index={row[0]: row[1] for row in rows},
        groups={row[0]: row[2] for row in rows},
    )
