"""Estimate the cost of the next run: videos, frames, minutes and disk space.

Missing rows follow from the keys of the cache, without decoding. The time of a row comes from earlier runs on this
machine: the workflow writes the seconds of each job to `benchmarks/`, and its log the number of computed rows.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from moclip.cache.pool import list_row_keys
from moclip.cache.reader import Shard
from moclip.config.settings import Settings
from moclip.dataset.fingerprints import memo_file
from moclip.dataset.manifest import list_known_videos
from moclip.errors import ShardError
from moclip.extraction.extractor import Video
from moclip.workflow.feature_sets import FeatureSet, list_feature_sets, list_shard_videos

_COMPUTED = re.compile(r"(\d+) rows computed")

# Seconds and bytes of a row where no job of a stage has run on this machine yet. The output marks them as assumed.
ASSUMED: dict[str, tuple[float, float]] = {
    "motion": (0.05, 45_000.0),
    "appearance": (0.2, 2_300.0),
    "motion_embedding": (0.4, 5_600.0),
}


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """The missing rows of one feature set, their seconds on one core and bytes, and the source of the rate."""

    name: str
    num_videos: int
    num_missing: int
    seconds: float
    num_bytes: float
    rate: str


@dataclass(frozen=True, kw_only=True)
class CostPlan:
    """The cost of the next run. `num_frames` is None while no video of the dataset has been decoded."""

    num_videos: int
    num_new: int
    num_frames: int | None
    stages: tuple[StageCost, ...]

    @property
    def seconds(self) -> float:
        """Seconds on one core."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def num_bytes(self) -> float:
        """Bytes to be written to the cache."""
        return sum(stage.num_bytes for stage in self.stages)


def plan_cost(settings: Settings) -> CostPlan:
    """Return the cost of the rows that the next run would extract. Training time is not estimated.

    A video whose bytes were never read counts as one whose rows are all missing.

    Raises:
        DatasetError: The lists are wrong.
    """
    dataset, cache_dir = settings.dataset, Path(settings.cache_dir)
    known = list_known_videos(dataset, memo=memo_file(cache_dir, dataset=dataset.name))
    videos = [
        Video(video_id=video_id, path=Path(dataset.root) / path, fingerprint=fingerprint)
        for video_id, path, fingerprint in known
    ]
    sets = list_feature_sets(settings)
    stages = [_cost_of(entry, videos=videos, settings=settings) for entry in sets]
    return CostPlan(
        num_videos=len(videos),
        num_new=sum(not video.fingerprint for video in videos),
        num_frames=_count_frames(sets, num_videos=len(videos)),
        stages=tuple(stages),
    )


def _cost_of(feature_set: FeatureSet, *, videos: Sequence[Video], settings: Settings) -> StageCost:
    pools = feature_set.pools(Path(settings.cache_dir))
    missing = _count_missing(feature_set, videos=videos, pools=pools, settings=settings)
    rates = list(_measured_rates(feature_set, dataset=settings.dataset.name))
    sizes = [size for pool in pools for size in _row_sizes(pool)]
    seconds, num_bytes = ASSUMED[feature_set.name.split("/")[0]]
    return StageCost(
        name=feature_set.name,
        num_videos=len(videos),
        num_missing=missing,
        seconds=missing * (median(rates) if rates else seconds),
        num_bytes=missing * (median(sizes) if sizes else num_bytes),
        rate=f"measured in {len(rates)} jobs" if rates else "assumed: no job of this kind has run here",
    )


def _count_missing(
    feature_set: FeatureSet, *, videos: Sequence[Video], pools: Sequence[Path], settings: Settings
) -> int:
    extractor, wanted = feature_set.extractor, {video.video_id: video for video in videos}
    if extractor is None:
        return len(videos)
    if feature_set.motion is not None:
        # Its rows are computed from motion rows, which replace the videos here. New videos have none yet.
        try:
            shards = list_shard_videos(feature_set, settings=settings)
        except ShardError:
            return len(videos)
        read = {video.video_id: video for shard in shards.values() for video in shard}
        wanted = dict.fromkeys(wanted, Video(video_id="", path=Path(), fingerprint="")) | read
    cached = {key for pool in pools for key in list_row_keys(pool)}
    return sum(not video.fingerprint or extractor.row_key(video) not in cached for video in wanted.values())


def _measured_rates(feature_set: FeatureSet, *, dataset: str) -> Iterator[float]:
    folder = Path("benchmarks/results") / dataset / feature_set.name
    for path in sorted(folder.glob("shard-*.tsv")):
        log = Path("logs") / dataset / feature_set.name / f"{path.stem}.log"
        if not log.is_file():
            continue
        counted = _COMPUTED.findall(log.read_text(encoding="utf-8", errors="replace"))
        if counted and int(counted[-1]):
            yield float(path.read_text(encoding="utf-8").splitlines()[1].split("\t")[0]) / int(counted[-1])


def _row_sizes(pool: Path) -> Iterator[float]:
    for path in sorted(pool.glob("*.h5"))[:32]:
        with suppress(ShardError), Shard(path) as shard:
            if shard.row_keys:
                yield path.stat().st_size / len(shard.row_keys)


def _count_frames(sets: Sequence[FeatureSet], *, num_videos: int) -> int | None:
    # The mean over the videos of one cached shard is taken for all, since only decoded videos have a reliable count.
    for feature_set in sets:
        first = sorted(feature_set.folder.glob("shard-*.h5"))[:1] if feature_set.name.startswith("motion/") else []
        for path in first:
            with suppress(ShardError), Shard(path) as shard:  # damaged, or of an earlier format
                rows = (shard.read_row_at(i, check=False, load=False) for i in range(len(shard.row_keys)))
                counts = [len(row.values["picture_type"]) for row in rows if not row.reject_reason]  # type: ignore[arg-type]
                if counts:
                    return round(sum(counts) / len(counts) * num_videos)
    return None
