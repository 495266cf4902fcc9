"""A shard of frame embeddings: which frames, equal bytes whoever decodes, and little lost by a kill."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from moclip.cache.format import Row
from moclip.cache.index import write_index
from moclip.cache.reader import Shard
from moclip.config.settings import AppearanceVariant, MotionVariant
from moclip.config.validation import check_config
from moclip.errors import ConfigError
from moclip.extraction.appearance import build_appearance_extractor
from moclip.extraction.extractor import ShardJob, Video, extract_shard
from moclip.extraction.frame_choice import MotionRows, list_motion_rows
from moclip.extraction.motion import build_motion_extractor
from moclip.motion.fields import UNKNOWN, motion_amounts
from moclip.motion.vectors import NO_VECTOR, MotionVectors
from moclip.video.frames import read_frames
from moclip.video.motion_vectors import read_motion
from tests.unit.encoders.test_clip import write_model
from tests.unit.video.test_motion_vectors import encode, pan, render

NUM_VIDEOS = 7


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Video]:
    """Six pans of other speeds and lengths, and a file that is no video."""
    folder = tmp_path_factory.mktemp("videos")
    found = []
    for number in range(NUM_VIDEOS - 1):
        images = render(14 + number, width=64, height=48, warp=pan(number, 1))
        path = encode(folder / f"v{number}.mp4", images, codec="h264" if number % 2 else "mpeg4", gop=5)
        found.append(Video(video_id=f"a/v{number}", path=path, fingerprint=f"{number:032x}"))
    broken = folder / "broken.mp4"
    broken.write_bytes(b"no video at all")
    return [*found, Video(video_id="a/v9", path=broken, fingerprint="9" * 32)]


def variant_of(model: Path, **changes: Any) -> AppearanceVariant:
    frames = {"policy": "uniform", "count": 3} | changes.pop("frames", {})
    return AppearanceVariant(**{"model": f"local-dir:{model}", "batch_size": 4, **changes, "frames": frames})


def extract(
    videos: list[Video], folder: Path, *, variant: AppearanceVariant, motion: MotionRows | None = None, workers: int = 1
) -> Path:
    job = ShardJob(
        dataset="d", root=folder, shard=0, num_shards=1, output=folder / "shard-0.h5", cache_dir=folder / "cache"
    )
    extract_shard(build_appearance_extractor(variant, motion=motion, num_threads=workers), videos=videos, job=job)
    return job.output


def rows_of(path: Path) -> dict[str, Row]:
    with Shard(path) as shard:
        return {video_id: shard.read_row(video_id) for video_id in shard.video_ids}


def test_extracting_again_gives_the_same_bytes_whoever_decodes_and_in_whatever_order(
    model: Path, videos: list[Video], tmp_path: Path
) -> None:
    variant = variant_of(model)
    first = extract(videos, tmp_path / "a", variant=variant)
    again = extract(videos[::-1], tmp_path / "b", variant=variant, workers=3)
    assert first.read_bytes() == again.read_bytes()
    extract(videos[:3], tmp_path / "c", variant=variant)
    in_two_steps = extract(videos, tmp_path / "c", variant=variant)
    assert in_two_steps.read_bytes() == first.read_bytes()


def test_a_row_holds_the_embedding_of_each_chosen_frame(model: Path, videos: list[Video], tmp_path: Path) -> None:
    from moclip.encoders.clip import load_encoder  # noqa: PLC0415
    from tests.unit.encoders.test_clip import local  # noqa: PLC0415

    rows = rows_of(extract(videos, tmp_path, variant=variant_of(model)))
    frames = read_frames(videos[1].path, video_id="v", choose=lambda number: [2, 7, 12])
    row = rows["a/v1"]
    assert np.asarray(row.values["frame_index"]).tolist() == [2, 7, 12]
    assert row.values["num_frames"] == 15
    expected = load_encoder(local(model)).encode_images(frames.images, batch_size=4)
    np.testing.assert_array_equal(row.values["embedding"], expected)
    assert rows["a/v9"].reject_reason == "unreadable"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"backend": "eager"}, False),
        ({"precision": "bf16"}, False),
        ({"device": "auto"}, False),
        ({"threads": 2}, False),
        ({"batch_size": 8}, False),
        ({"frames": {"policy": "change"}}, False),
        ({}, True),
    ],
)
def test_backend_precision_and_policy_are_part_of_the_key(model: Path, change: dict[str, Any], same: bool) -> None:
    one = build_appearance_extractor(variant_of(model))
    other = build_appearance_extractor(variant_of(model, **change))
    assert (one.parameters == other.parameters) is same


def test_keyframes_and_changes_are_those_of_the_file(model: Path, videos: list[Video], tmp_path: Path) -> None:
    keyframes = variant_of(model, frames={"policy": "keyframes", "count": 8})
    rows = rows_of(extract(videos, tmp_path / "k", variant=keyframes))
    for video in videos[:-1]:
        found = np.asarray(rows[video.video_id].values["frame_index"])
        np.testing.assert_array_equal(found, np.flatnonzero(read_motion(video.path, video_id="v").is_keyframe))
    images = render(1, width=64, height=48, warp=pan(0, 0))
    cut = [*images * 9, *[np.ascontiguousarray(np.rot90(images[0], 2))] * 9]
    path = encode(tmp_path / "cut.mp4", cut)
    video = replace(videos[0], path=path)
    change = variant_of(model, frames={"policy": "change", "count": 1})
    row = rows_of(extract([video], tmp_path / "c", variant=change))["a/v0"]
    assert np.asarray(row.values["frame_index"]).tolist() == [9]


@pytest.fixture(scope="module")
def motion_index(videos: list[Video], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("motion")
    extractor = build_motion_extractor(MotionVariant())
    job = ShardJob(
        dataset="d", root=folder, shard=0, num_shards=1, output=folder / "shard-0.h5", cache_dir=folder / "cache"
    )
    extract_shard(extractor, videos=videos, job=job)
    with Shard(job.output) as shard:
        signature = shard.signature
    write_index(folder / "index.json", signatures={"shard-0.h5": signature})
    return folder / "index.json"


def test_motion_picks_the_frames_that_move_most_by_the_cached_vectors(
    model: Path, videos: list[Video], motion_index: Path, tmp_path: Path
) -> None:
    variant = variant_of(model, frames={"policy": "motion", "count": 2})
    motion = list_motion_rows(motion_index, file="shard-0.h5")
    rows = rows_of(extract(videos, tmp_path, variant=variant, motion=motion))
    for video in videos[:-1]:
        amounts = motion_amounts(read_motion(video.path, video_id="v"))
        middle = len(amounts) // 2
        expected = [int(amounts[:middle].argmax()), middle + int(amounts[middle:].argmax())]
        assert np.asarray(rows[video.video_id].values["frame_index"]).tolist() == expected
    assert rows["a/v9"].reject_reason == "unreadable"
    key = build_appearance_extractor(variant, motion=motion).row_key
    changed = replace(motion, digests={**motion.digests, "a/v0": "0" * 32})
    other = build_appearance_extractor(variant, motion=changed).row_key
    assert key(videos[0]) != other(videos[0])
    assert key(videos[1]) == other(videos[1])


def test_the_amount_of_motion_is_the_mean_length_in_pixels() -> None:
    past = np.full((3, 4, 4, 2), NO_VECTOR, np.int16)
    past[0] = (6, 8)  # 5 px in half pixels, everywhere
    past[1, :2] = (-6, -8)
    motion = MotionVectors(
        past=past,
        past_frame_index=np.array([1, 2, 3], np.int32),
        future=np.empty((0, 4, 4, 2), np.int16),
        future_frame_index=np.empty(0, np.int32),
        picture_type=np.frombuffer(b"IPPBP", np.uint8),
        is_keyframe=np.array([True, False, False, False, False]),
        time_seconds=np.arange(5) / 25,
        motion_scale=2,
        width_px=32,
        height_px=32,
        rotation_degrees=0,
        is_mirrored=False,
        codec_name="mpeg4",
        frame_rate=25.0,
        source="original",
    )
    np.testing.assert_allclose(motion_amounts(motion), [UNKNOWN, 5, 2.5, UNKNOWN, UNKNOWN])


@pytest.mark.parametrize(
    ("policy", "motion", "expected"),
    [
        ("motion", "", "expected the motion that the frames follow, found none; name a variant"),
        ("middle", "original", "expected no motion, which no frame follows here, found `original`; drop it"),
        ("motion", "orignal", "expected a variant of `motion`, found `orignal`; the nearest one is `original`"),
    ],
)
def test_the_policy_and_the_motion_it_follows_are_named_together(
    repository: Path, policy: str, motion: str, expected: str
) -> None:
    config = yaml.safe_load((repository / "config/config.yaml").read_text())
    config["appearance"]["demo-clip"] |= {"frames": {"policy": policy}, "motion": motion}
    with pytest.raises(ConfigError) as caught:
        check_config(config)
    assert expected in str(caught.value)


KILLED = """
import json, os, signal, sys, time
from pathlib import Path
from moclip.config.settings import AppearanceVariant
from tests.unit.extraction import test_appearance as t
from moclip.encoders.clip import Encoder
from moclip.extraction.extractor import Video

started = []
original = Encoder.start_images

def start(self, prepared, *, batch_size):
    started.append(len(prepared))
    time.sleep(0.6)  # a batch that is worth keeping
    if len(started) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, prepared, batch_size=batch_size)

Encoder.start_images = start
videos = [Video(video_id=v, path=Path(p), fingerprint=f) for v, p, f in json.loads(sys.argv[1])]
t.extract(videos, Path(sys.argv[2]), variant=AppearanceVariant(**json.loads(sys.argv[3])))
"""


def test_a_killed_job_loses_at_most_one_batch(
    model: Path, videos: list[Video], tmp_path: Path, repository: Path
) -> None:
    import json  # noqa: PLC0415

    whole = videos[:6]
    variant = variant_of(model, batch_size=1, frames={"policy": "middle", "count": 1})
    listing = json.dumps([[video.video_id, str(video.path), video.fingerprint] for video in whole])
    command = [sys.executable, "-c", KILLED, listing, str(tmp_path), variant.model_dump_json()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(repository / "src"), str(repository)])}
    ended = subprocess.run(command, env=environment, timeout=300, cwd=repository, check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    parts = list((tmp_path / "cache").glob("appearance/*/*.part-*.h5"))
    kept = sum(len(rows_of(part)) for part in parts)
    assert kept == 3, "three batches were computed before the fourth was killed"
    command[2] = KILLED.replace("== 4", "== 0")
    subprocess.run(command, env=environment, timeout=300, cwd=repository, check=True, capture_output=True)
    assert len(rows_of(tmp_path / "shard-0.h5")) == 6
