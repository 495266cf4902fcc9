"""A decoder that crashes, hangs or eats memory takes down its own process, and its video is rejected by name."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moclip.cache.reader import Shard
from moclip.config.settings import AppearanceVariant, FrameSettings, MotionVariant
from moclip.core.spool import Spool
from moclip.errors import ConfigError, VideoError
from moclip.extraction import appearance as appearance_extraction
from moclip.extraction import motion as motion_extraction
from moclip.extraction.appearance import build_appearance_extractor
from moclip.extraction.extractor import Extractor, ShardJob, Video, extract_shard
from moclip.extraction.motion import build_motion_extractor
from moclip.video.isolation import Isolated, Limits, WorkerLostError
from moclip.video.motion_vectors import decode_motion
from moclip.video.writer import write_video
from tests.unit.video.bad_decoders import decode_frames_or_die, decode_motion_or_die, misbehave, return_values
from tests.unit.video.test_motion_vectors import pan, render

QUICK = Limits(seconds=3, memory_mb=200)


@pytest.fixture(scope="module")
def call() -> Iterator[Isolated]:
    with Isolated(misbehave, limits=QUICK) as isolated:
        yield isolated


@pytest.mark.parametrize(
    ("video_id", "reason", "detail"),
    [
        ("crashes", "crash", "its decoder died of signal 11 (SIGSEGV)"),
        ("exits", "crash", "its decoder ended with 3"),
        ("hangs", "timeout", "not done after 3 s, see `dataset.limits.seconds`"),
        ("hangs in its answer", "timeout", "not done after 3 s"),
        ("eats", "out_of_memory", "more than 200 MB, see `dataset.limits.memory_mb`"),
        ("is rejected", "no_frames", "found none"),
    ],
)
def test_a_video_that_cannot_be_decoded_is_rejected_by_name_and_the_next_is_not(
    call: Isolated, video_id: str, reason: str, detail: str
) -> None:
    with pytest.raises(VideoError) as raised:
        call(video_id=video_id)
    assert (raised.value.video_id, raised.value.reason) == (video_id, reason)
    assert detail in raised.value.detail
    assert call(video_id="is sound")["ignores"], "a worker ends with its job, and not before it"


def test_what_a_decoder_logs_is_in_the_log_of_the_job(call: Isolated, caplog: pytest.LogCaptureFixture) -> None:
    call(video_id="is sound")
    assert ("decoder", logging.WARNING, "saw is sound") in caplog.record_tuples


def test_a_crash_that_does_not_come_again_costs_nothing(call: Isolated, tmp_path: Path) -> None:
    assert call(video_id="crashes once", folder=str(tmp_path))["process"] > 0
    assert (tmp_path / "seen").exists()


def test_a_worker_that_is_killed_from_outside_says_nothing_of_its_video(call: Isolated) -> None:
    with pytest.raises(WorkerLostError, match=r"killed \(signal 9\) by someone else, or for want of memory"):
        call(video_id="is killed")
    assert call(video_id="is sound")["process"] > 0


def test_faults_cross_as_what_they_are(call: Isolated) -> None:
    with pytest.raises(ConfigError, match="one\ntwo"):
        call(video_id="finds a fault of the user")
    with pytest.raises(OSError, match="No space left") as raised:
        call(video_id="finds the disk full")
    assert (raised.value.errno, raised.value.filename) == (28, "a file")
    with pytest.raises(RuntimeError, match=r"KeyError: 'nothing of that name'\nin a worker:\nTraceback") as ours:
        call(video_id="finds a fault of ours")
    assert "bad_decoders.py" in str(ours.value)


def test_values_cross_bit_for_bit(tmp_path: Path) -> None:
    with Isolated(return_values, spool_folder=tmp_path) as isolated:
        found = isolated(video_id="v", megabytes=40)
    expected = return_values(video_id="v", megabytes=40)
    assert list(found) == list(expected)
    assert isinstance(found["spool"], Spool)
    np.testing.assert_array_equal(found.pop("spool").read(), expected.pop("spool").read())
    for name in ("empty", "scalar_array", "turned"):
        assert (found[name].dtype, found[name].shape) == (expected[name].dtype, expected[name].shape)
        np.testing.assert_array_equal(found[name], expected[name])
        found[name][...] = 0  # its reader may write into it
    assert found["not_a_number"] != found["not_a_number"]
    assert (found["third"], found["text"], found["flag"]) == (1 / 3, "\udcff of v", True)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ground = np.kron(np.random.default_rng(0).integers(0, 255, (190, 330, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    images = [ground[t : t + 1440, 3 * t : 3 * t + 2560] for t in range(12)]
    path = tmp_path_factory.mktemp("large") / "v.mp4"
    write_video(path, images, codec="h264", frame_rate=25, gop=12, max_b_frames=2)
    return path


@pytest.mark.parametrize("memory_mb", [90, 130, 200, 260])
def test_too_little_memory_gives_no_other_features(large: Path, memory_mb: int) -> None:
    def outcome(limits: Limits) -> object:
        with Isolated(decode_motion, limits=limits) as decode:
            try:
                row = decode(video_id="v", path=str(large), source="original", spool_folder=None)
            except VideoError as error:
                return error.reason
        return row["past"].read().tobytes(), row["past_frame_index"].tolist()

    assert outcome(Limits(memory_mb=memory_mb)) in ("out_of_memory", outcome(Limits()))


def test_threads_have_a_worker_each_and_a_worker_serves_many_calls(call: Isolated) -> None:
    with ThreadPoolExecutor(3) as threads:
        processes = list(threads.map(lambda _: call(video_id="is sound")["process"], range(30)))
    assert 1 <= len(set(processes)) <= 4
    assert os.getpid() not in processes


def test_no_worker_outlives_its_job(tmp_path: Path) -> None:
    code = (
        "import threading, time\n"
        "from moclip.video.isolation import Isolated\n"
        "from tests.unit.video.bad_decoders import misbehave\n"
        "isolated = Isolated(misbehave).__enter__()\n"
        "print(isolated(video_id='is sound')['process'], flush=True)\n"
        "isolated(video_id='hangs')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    job = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, cwd=tmp_path)
    assert job.stdout is not None
    worker = int(job.stdout.readline())
    time.sleep(0.5)  # it hangs by now
    job.send_signal(signal.SIGKILL)
    job.wait()
    job.stdout.close()
    until = time.monotonic() + 20
    while _is_alive(worker) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _is_alive(worker)


def _is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def videos(tmp_path: Path) -> list[Video]:
    names = ("crashes", "eats", "hangs", "sound-1", "sound-2")
    for number, name in enumerate(names):
        frames = render(12, warp=pan(2, number))
        write_video(tmp_path / f"{name}.mp4", frames, codec="mpeg4", frame_rate=25, gop=12)
    return [
        Video(video_id=path.stem, path=path, fingerprint=blake2b(path.read_bytes(), digest_size=16).hexdigest())
        for path in sorted(tmp_path.glob("*.mp4"))
    ]


def motion_extractor(monkeypatch: pytest.MonkeyPatch, limits: Limits) -> Extractor:
    monkeypatch.setattr(motion_extraction, "decode_motion", decode_motion_or_die)
    return build_motion_extractor(MotionVariant(), limits=limits)


def appearance_extractor(monkeypatch: pytest.MonkeyPatch, limits: Limits) -> Extractor:
    monkeypatch.setattr(appearance_extraction, "decode_frames", decode_frames_or_die)
    repository = Path(__file__).resolve().parents[3]
    variant = AppearanceVariant(
        model=f"local-dir:{repository / 'resources/demo-clip'}",
        frames=FrameSettings(policy="uniform", count=2),
        batch_size=2,
    )
    return build_appearance_extractor(variant, limits=limits, num_threads=2)


@pytest.mark.parametrize("build", [motion_extractor, appearance_extractor])
def test_a_stage_rejects_what_kills_its_decoder_and_goes_on(
    build: Any, videos: list[Video], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = ShardJob(
        dataset="d", root=tmp_path, shard=0, num_shards=1, output=tmp_path / "shard-0.h5", cache_dir=tmp_path / "cache"
    )
    extract_shard(build(monkeypatch, QUICK), videos=videos, job=job)
    expected = {"crashes": "crash", "eats": "out_of_memory", "hangs": "timeout", "sound-1": "", "sound-2": ""}
    assert read_reasons(job.output) == expected
    # What a machine could not do it tries again when the shard is next made; all else is taken from the cache.
    (tmp_path / "mended").touch()
    computed = count_computed(build(monkeypatch, QUICK), videos=videos, job=job)
    assert computed == 3
    assert set(read_reasons(job.output).values()) == {""}
    assert count_computed(build(monkeypatch, QUICK), videos=videos, job=job) == 0


def read_reasons(path: Path) -> dict[str, str]:
    with Shard(path) as shard:
        return {video_id: shard.read_row(video_id).reject_reason for video_id in shard.video_ids}


def count_computed(extractor: Extractor, *, videos: list[Video], job: ShardJob) -> int:
    seen: list[str] = []

    def extract(chosen: Any) -> Iterator[Any]:
        seen.extend(video.video_id for video in chosen)
        yield from extractor.extract(chosen)

    extract_shard(replace(extractor, extract=extract), videos=videos, job=job)
    return len(seen)
