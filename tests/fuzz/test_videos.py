"""Damaged videos: features that agree with themselves, or a reason from the table; the same both times. Nothing else.

`make fuzz` tries thousands; the seed of a case is its number, so that one that fails comes again.
"""

import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moclip.core.spool import Spool
from moclip.errors import MACHINE_REASONS, REJECT_REASONS, VideoError
from moclip.extraction.frame_choice import decode_frames, rebuild_frames
from moclip.motion.vectors import NO_VECTOR, motion_from_row
from moclip.video.isolation import Isolated, Limits
from moclip.video.motion_vectors import decode_motion
from moclip.video.writer import write_video
from tests.fuzz.mutations import damage_bytes
from tests.unit.video.test_motion_vectors import pan, render

NUM_CASES = int(os.environ.get("FUZZ_VIDEOS", "240"))
FIRST_CASE = int(os.environ.get("FUZZ_SEED", "0"))
# A case takes some 20 ms: a minute is a hang.
LIMITS = Limits(seconds=60, memory_mb=1024)
KINDS: dict[str, dict[str, Any]] = {
    "mpeg4.avi": {"codec": "mpeg4", "gop": 6},
    "mpeg4.mp4": {"codec": "mpeg4", "gop": 6},
    "mpeg4.mkv": {"codec": "mpeg4", "gop": 6},
    "h264.avi": {"codec": "h264", "gop": 6},
    "h264.mp4": {"codec": "h264", "gop": 12, "max_b_frames": 2},
    "h264.mkv": {"codec": "h264", "gop": 12, "max_b_frames": 2},
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("sources")
    frames = render(14, width=80, height=64, warp=pan(3, 1))
    for name, settings in KINDS.items():
        write_video(folder / name, frames, frame_rate=25, **settings)
    return {name: (folder / name).read_bytes() for name in KINDS}


@pytest.fixture(scope="module")
def decoders() -> Iterator[tuple[Isolated, Isolated]]:
    with Isolated(decode_motion, limits=LIMITS) as motion, Isolated(decode_frames, limits=LIMITS) as frames:
        yield motion, frames


def damage(data: bytes, rng: random.Random) -> bytes:
    """Damage a file; half of the time somewhere in its middle alone, so that it can still be opened."""
    if rng.random() < 0.5:
        return damage_bytes(data, rng)
    start, stop = len(data) // 10, len(data) * 9 // 10
    return data[:start] + damage_bytes(data[start:stop], rng) + data[stop:]


def look_at_motion(row: dict[str, Any]) -> str:
    """Check that a motion row agrees with itself, and return its digest."""
    packed = {name: value.read() if isinstance(value, Spool) else value for name, value in row.items()}
    motion = motion_from_row(packed)
    assert motion.num_frames == len(motion.time_seconds) == len(motion.is_keyframe) == len(motion.picture_type) > 0
    for fields, index in ((motion.past, motion.past_frame_index), (motion.future, motion.future_frame_index)):
        assert fields.shape[0] == len(index)
        assert (np.diff(index) > 0).all()
        assert not len(index) or 0 <= index[0] <= index[-1] < motion.num_frames
        assert fields.shape[1:] == motion.past.shape[1:]
        assert (fields != NO_VECTOR).any(axis=(1, 2, 3)).all(), "a field without a vector"
    assert len(motion.past) + len(motion.future) > 0, "no field, and no reason"
    assert motion.width_px > 0
    assert motion.height_px > 0
    return blake2b(repr(sorted((name, digest(value)) for name, value in packed.items())).encode()).hexdigest()


def look_at_frames(values: dict[str, Any]) -> str:
    """Check that chosen frames agree with themselves, and return their digest."""
    frames = rebuild_frames(values)
    assert 1 <= len(frames.images) == len(frames.frame_index) == len(frames.time_seconds) <= 3
    assert (np.diff(frames.frame_index) > 0).all()
    assert 0 <= frames.frame_index[0] <= frames.frame_index[-1] < frames.num_frames
    for image in frames.images:
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert image.size > 0
    return blake2b(repr(sorted((name, digest(value)) for name, value in values.items())).encode()).hexdigest()


def digest(value: Any) -> str:
    data = value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
    return blake2b(data, digest_size=16).hexdigest()


def tell(lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Print the figures of a campaign, which pytest would keep to itself."""
    with capsys.disabled():
        sys.stdout.write("\n".join(lines) + "\n")


def outcomes(path: Path, decoders: tuple[Isolated, Isolated]) -> tuple[tuple[str, str], ...]:
    """Return, for vectors as they are, vectors of a transcode where there are none, and frames: a word and a digest."""
    motion, frames = decoders
    found: list[tuple[str, str]] = []
    for source in ("original", "auto"):
        try:
            row = motion(video_id="v", path=str(path), source=source, spool_folder=None)
            found.append(("features", look_at_motion(row)))
        except VideoError as error:
            found.append((error.reason, error.detail))
    try:
        values = frames(video_id="v", path=str(path), policy="uniform", count=3, motion=None)
        found.append(("features", look_at_frames(values)))
    except VideoError as error:
        found.append((error.reason, error.detail))
    return tuple(found)


def test_damaged_videos_end_in_features_or_in_a_reason_the_same_both_times(
    sources: dict[str, bytes],
    decoders: tuple[Isolated, Isolated],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words: dict[str, Counter[str]] = {name: Counter() for name in ("original vectors", "auto vectors", "frames")}
    cases: Counter[str] = Counter()
    for number in range(FIRST_CASE, FIRST_CASE + NUM_CASES):
        rng = random.Random(number)  # noqa: S311 (a case is to be had again)
        name = rng.choice(sorted(sources))
        path = tmp_path / f"case.{name}"
        path.write_bytes(damage(sources[name], rng))
        first = outcomes(path, decoders)
        assert outcomes(path, decoders) == first, f"case {number}: another outcome the second time"
        for kind, (word, detail) in zip(words, first, strict=True):
            assert word == "features" or word in REJECT_REASONS, f"case {number}: {word}"
            assert word not in MACHINE_REASONS, f"case {number}: {kind}: {word}: {detail}"
            words[kind][word] += 1
        cases[name] += 1
        path.unlink()
    lines = [
        f"{kind}, {NUM_CASES} cases: " + ", ".join(f"{word} {count}" for word, count in counted.most_common())
        for kind, counted in words.items()
    ]
    files = ", ".join(f"{name} {count}" for name, count in sorted(cases.items()))
    tell(["", *lines, f"crashes 0, hangs 0, out of memory 0, outcomes that differ 0 ({files})"], capsys)
    # Were everything rejected, or nothing, the damage would be none that tests anything.
    assert 0.1 < words["frames"]["features"] / NUM_CASES < 0.95


def test_every_source_has_features_before_it_is_damaged(
    sources: dict[str, bytes], decoders: tuple[Isolated, Isolated], tmp_path: Path
) -> None:
    for name, data in sources.items():
        (tmp_path / name).write_bytes(data)
        assert [word for word, _ in outcomes(tmp_path / name, decoders)] == ["features"] * 3, name
