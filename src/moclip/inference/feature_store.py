"""`FeatureStore`: the cached features of a dataset as arrays, by video id."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from moclip.cache.format import Row
from moclip.cache.index import FeatureIndex, IndexedShard, load_table, open_indexed, read_index
from moclip.cache.reader import Shard
from moclip.cache.tables import load_stream
from moclip.core.records import check_recorded
from moclip.dataset.manifest_table import read_table
from moclip.errors import DatasetError, VideoError
from moclip.motion.vectors import MotionVectors, motion_from_row
from moclip.workflow.paths import find_results, result_path

_RULES = ("motion_index", "appearance_index", "motion_embedding_index")


class FeatureStore:
    """The features in a folder of results, such as `results/demo`; a context manager that closes what it opened.

    >>> from moclip import FeatureStore
    >>> with FeatureStore("results/demo") as store:  # doctest: +SKIP
    ...     store.names
    ...     store.read("appearance/demo-clip", "StarBouncing/v_StarBouncing_g01_c01")["embedding"].shape
    ('motion/original', 'appearance/demo-clip', 'motion_embedding/tiny/split-1/seed-0')
    (1, 128)
    """

    def __init__(self, dataset: str | Path) -> None:
        """Find the feature sets in a folder of results.

        Raises:
            DatasetError: There is none.
        """
        self.folder = Path(dataset)
        found = {
            path.parent.relative_to(self.folder).as_posix(): path
            for rule in _RULES
            for path, _ in find_results(self.folder, rule, "index")
        }
        if not found:
            raise DatasetError(
                f"{self.folder}: expected a folder of results such as results/demo, found no features in it"
            )
        self._paths = found
        self._opened = ExitStack()
        self._places: dict[str, dict[str, Shard]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the files that were opened."""
        self._places.clear()
        self._opened.close()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the feature sets: `motion/<variant>`, `appearance/<variant>`, `motion_embedding/...`."""
        return tuple(self._paths)

    def video_ids(self, name: str) -> tuple[str, ...]:
        """Return the videos of a feature set that have features, sorted."""
        return tuple(sorted(video for video, reason in self._reasons(name) if not reason))

    def rejected(self, name: str) -> dict[str, str]:
        """Return the reason for each video of a feature set that has none."""
        return {video: reason for video, reason in sorted(self._reasons(name)) if reason}

    def read(self, name: str, video_id: str) -> Mapping[str, Any]:
        """Return every field of a video by name (docs/formats.md has them); its data is checked against its digest.

        Raises:
            DatasetError: There is no such feature set or video.
            ShardError: The row is damaged.
            VideoError: The video was rejected.
        """
        return self._row(name, video_id).values

    def read_motion(self, name: str, video_id: str) -> MotionVectors:
        """Return the motion vectors of a video from a feature set `motion/<variant>`.

        Raises:
            DatasetError: There is no such feature set or video, or it holds no vectors.
            VideoError: The video was rejected.
        """
        row = self._row(name, video_id)
        if "past" not in row.values:
            raise DatasetError(f"{name}: expected motion vectors, found {', '.join(row.values)}; name motion/<variant>")
        return motion_from_row(row.values)

    def matrix(self, name: str) -> tuple[tuple[str, ...], NDArray[np.float32]]:
        """Return (video ids, embeddings): one float32 row a video, (N, D), averaged over its frames, sorted by id.

        This is what a head is trained on.
        """
        stream = load_stream(self._path(name))
        ids = tuple(sorted(stream.rows))
        return ids, stream.select(ids)

    def frames(self, name: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Yield (video id, embeddings of its frames, (K, D)) of every video of a feature set."""
        table = load_table(self._path(name), field="embedding")
        for place, video_id in enumerate(table.video_ids):
            yield video_id, table.values[table.offsets[place] : table.offsets[place + 1]]

    def labels(self, *, split: int) -> dict[str, tuple[str, str]]:
        """Return (class name, subset) of every video in a split of the manifest.

        Raises:
            DatasetError: There is no manifest, or no such split.
        """
        path, column = check_recorded(result_path(self.folder, "manifest", "manifest")), f"split_{split}"
        manifest = read_table(path)
        if column not in manifest.splits:
            raise DatasetError(f"{self.folder}: expected split {split}, found no such column in manifest.tsv")
        rows = manifest.rows("video_id", "class_name", column)
        return {video: (class_name, subset) for video, class_name, subset in rows if subset}

    def _path(self, name: str) -> Path:
        if name not in self._paths:
            raise DatasetError(f"{self.folder}: no features named {name}; there are {', '.join(self._paths)}")
        return check_recorded(self._paths[name])

    def _find(self, name: str) -> dict[str, Shard]:
        if name not in self._places:
            index = read_index(self._path(name))
            shards = [self._open(index, indexed) for indexed in index.shards]
            self._places[name] = {video: shard for shard in shards for video in shard.video_ids}
        return self._places[name]

    def _reasons(self, name: str) -> Iterator[tuple[str, str]]:
        for shard in dict.fromkeys(self._find(name).values()):
            yield from zip(shard.video_ids, shard.reject_reasons, strict=True)

    def _open(self, index: FeatureIndex, indexed: IndexedShard) -> Shard:
        return self._opened.enter_context(open_indexed(index, indexed))

    def _row(self, name: str, video_id: str) -> Row:
        places = self._find(name)
        if video_id not in places:
            raise DatasetError(f"{name}: no video {video_id}; ids are paths below the dataset's root, without suffix")
        row = places[video_id].read_row(video_id)
        if row.reject_reason:
            raise VideoError(reason=row.reject_reason, detail=row.reject_detail, video_id=video_id)
        return row
