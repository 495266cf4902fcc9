"""The motion extractor on a dataset with missing videos."""

from pathlib import Path

import pytest
import yaml

from moclip.cache.reader import Shard
from moclip.config.dataset_settings import Dataset
from moclip.config.settings import MotionVariant
from moclip.dataset.manifest import build_manifest, write_manifest
from moclip.errors import DatasetError, VideoError
from moclip.extraction.extractor import ShardJob, extract_shard, list_videos
from moclip.extraction.motion import build_motion_extractor
from tests.unit.video.test_motion_vectors import encode, pan, render


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two classes of three videos; one video is listed and missing."""
    rows = ["video,class"]
    for dx, name in ((-2, "Left"), (2, "Right")):
        (tmp_path / "videos" / name).mkdir(parents=True)
        for number in range(3):
            rows.append(f"{name}/{number}.mp4,{name}")
            encode(tmp_path / "videos" / name / f"{number}.mp4", render(4, width=64, height=48, warp=pan(dx, number)))
    (tmp_path / "videos/Left/1.mp4").rename(tmp_path / "kept.mp4")
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    text = "{name: d, layout: table, root: %s, lists: %s, num_shards: 1}"
    return Dataset.model_validate(yaml.safe_load(text % (tmp_path / "videos", tmp_path / "list.csv")))


def build_job(dataset: Dataset, folder: Path, *, on_bad_video: str = "skip") -> ShardJob:
    """The only shard of the dataset, whose files are in a folder."""
    return ShardJob(
        dataset="d",
        root=Path(dataset.root),
        shard=0,
        num_shards=1,
        output=folder / "shard-0.h5",
        cache_dir=folder / "cache",
        on_bad_video=on_bad_video,
        fingerprint=dataset.fingerprint,
    )


def extract(dataset: Dataset, folder: Path, *, on_bad_video: str = "skip") -> dict[str, str]:
    """Build manifest and shard, and return the reason of each video, "" if it has vectors."""
    write_manifest(build_manifest(dataset), folder / "manifest.tsv")
    job = build_job(dataset, folder, on_bad_video=on_bad_video)
    videos = list_videos(folder / "manifest.tsv", root=job.root, shard=0)
    extract_shard(build_motion_extractor(MotionVariant()), videos=videos, job=job)
    with Shard(job.output) as shard:
        return {video_id: shard.read_row(video_id).reject_reason for video_id in shard.video_ids}


@pytest.mark.parametrize("kind", ["content", "stat"])
def test_a_missing_video_is_rejected_until_it_is_there(dataset: Dataset, tmp_path: Path, kind: str) -> None:
    dataset = dataset.model_copy(update={"fingerprint": kind})
    found = extract(dataset, tmp_path)
    assert {video_id: reason for video_id, reason in found.items() if reason} == {"Left/1": "missing"}
    assert len(found) == 6
    with pytest.raises(VideoError, match="Left/1: missing"):
        extract(dataset, tmp_path, on_bad_video="fail")
    (tmp_path / "kept.mp4").rename(tmp_path / "videos/Left/1.mp4")
    assert set(extract(dataset, tmp_path).values()) == {""}


def test_a_video_that_vanishes_after_the_manifest_is_no_reject(dataset: Dataset, tmp_path: Path) -> None:
    write_manifest(build_manifest(dataset), tmp_path / "manifest.tsv")
    videos = list_videos(tmp_path / "manifest.tsv", root=Path(dataset.root), shard=0)
    (tmp_path / "videos/Right/2.mp4").unlink()
    with pytest.raises(DatasetError, match=r"2\.mp4: the video cannot be read any more"):
        extract_shard(build_motion_extractor(MotionVariant()), videos=videos, job=build_job(dataset, tmp_path))
