"""Faults of the machine around one job, each made in earnest: what is said, that nothing is lost, and the next run."""

import faulthandler
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from moclip.cache.format import Field, Row
from moclip.cache.index import load_table
from moclip.cache.locks import writer_lock
from moclip.cache.reader import Shard
from moclip.config.settings import MotionVariant
from moclip.dataset import fingerprints
from moclip.dataset.manifest import build_manifest, write_manifest
from moclip.errors import DatasetError, ShardError
from moclip.extraction.extractor import ShardJob, extract_shard, list_videos
from moclip.extraction.motion import build_motion_extractor
from tests.faults.job import dataset_of
from tests.shards import write_indexed_shard
from tests.workflow.conftest import write_square

REPOSITORY = Path(__file__).resolve().parents[2]
NUM_VIDEOS = 6


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for number in range(NUM_VIDEOS):
        class_name, step_px = (("MovingDown", (0, 3)), ("MovingRight", (3, 0)))[number % 2]
        write_square(root / class_name / f"v{number}.avi", step_px=step_px, seed=number)
    return root


@pytest.fixture(scope="module")
def undisturbed(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of the shard that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = run_job(videos, folder, folder / "cache")
    assert done.returncode == 0, done.stderr
    return (folder / "shard-0.h5").read_bytes()


def command_of(root: Path, results: Path, cache: Path, *, seconds: float = 0) -> list[str]:
    return [sys.executable, "-m", "tests.faults.job", str(root), str(results), str(cache), str(seconds)]


def run_job(root: Path, results: Path, cache: Path) -> "subprocess.CompletedProcess[str]":
    command = command_of(root, results, cache)
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)


def num_computed(results: Path) -> int:
    return int(re.findall(r"(\d+) rows computed", (results / "job.log").read_text())[-1])


@contextmanager
def small_disk(folder: Path, *, size: str) -> Iterator[Callable[[str], None]]:
    """Mount a disk of some size on a folder, and yield what mounts it anew with other options."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        message = f"cannot mount a small disk ({done.stderr.strip()}): expected the rights of root"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)

    try:
        yield remount
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def list_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_full_disk_is_one_line_and_the_next_run_is_right(videos: Path, undisturbed: bytes, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    room = len(undisturbed) // 1024 + 16  # kB: for the first rows, not for all of them and the shard
    with small_disk(disk, size=f"{room}k") as remount:
        done = run_job(videos, disk, disk / "cache")
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert re.search(r"error: .*the disk is full; free some space there.* run again", done.stderr)
        left = list_files(disk)
        assert "shard-0.h5" not in left
        assert not [name for name in left if name.endswith(".tmp")], "something half written was left behind"
        parts = [name for name in left if ".part-" in name]
        assert parts, "the videos before the fault were not kept"
        remount("size=50m")
        done = run_job(videos, disk, disk / "cache")
        assert done.returncode == 0, done.stderr
        assert num_computed(disk) == NUM_VIDEOS - len(parts)
        assert (disk / "shard-0.h5").read_bytes() == undisturbed


def test_a_disk_that_can_only_be_read_is_one_line_and_nothing_on_it_changes(
    videos: Path, undisturbed: bytes, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, size="50m") as remount:
        assert run_job(videos, disk, disk / "cache").returncode == 0
        (disk / "shard-0.h5").unlink()
        before = list_files(disk)
        remount("ro")
        done = run_job(videos, disk, disk / "cache")
        assert done.returncode == 2
        assert re.fullmatch(r"error: \S*job\.log: that disk can only be read; make it writable.*\n", done.stderr)
        assert list_files(disk) == before
        remount("rw")
        assert run_job(videos, disk, disk / "cache").returncode == 0
        assert num_computed(disk) == 0
        assert (disk / "shard-0.h5").read_bytes() == undisturbed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_job_that_is_stopped_keeps_what_it_computed_and_the_next_one_goes_on(
    videos: Path, undisturbed: bytes, tmp_path: Path, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        command_of(videos, tmp_path, tmp_path / "cache", seconds=0.4),
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 60
    while len(list(tmp_path.glob("cache/motion/*/*.part-*.h5"))) < 2:
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    code = process.wait(timeout=60)
    assert code == {signal.SIGTERM: 143}.get(number, -number), process.stderr
    assert not (tmp_path / "shard-0.h5").exists()
    assert run_job(videos, tmp_path, tmp_path / "cache").returncode == 0
    assert 0 < num_computed(tmp_path) <= NUM_VIDEOS - 2
    assert (tmp_path / "shard-0.h5").read_bytes() == undisturbed


def test_two_jobs_for_one_shard_take_turns_and_compute_each_video_once(
    videos: Path, undisturbed: bytes, tmp_path: Path
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    processes = [
        subprocess.Popen(command_of(videos, folder, tmp_path / "cache", seconds=0.1), cwd=REPOSITORY)
        for folder in folders
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert sorted(num_computed(folder) for folder in folders) == [0, NUM_VIDEOS]
    for folder in folders:
        assert (folder / "shard-0.h5").read_bytes() == undisturbed


def test_the_lock_of_a_job_that_was_killed_holds_nobody_up(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from moclip.cache.locks import writer_lock\n"
        "with writer_lock(Path(sys.argv[1]), name='a'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / ".a.lock").read_text(), "the lock's file was not left behind"
    since = time.monotonic()
    with writer_lock(tmp_path, name="a"):
        assert time.monotonic() - since < 1


# What a shard holds, beyond the bytes of its rows.
def write_two_videos(folder: Path) -> Path:
    rows = [
        Row(video_id=f"Jump/{name}", row_key=name, values={"embedding": np.full((1, 4), value, np.float32)})
        for name, value in (("a", 1.0), ("b", 2.0))
    ]
    write_indexed_shard(folder, rows, fields=[Field(name="embedding", kind="packed")])
    return folder / "shard-0.h5"


def test_a_flipped_byte_in_an_id_gives_no_video_the_features_of_another(tmp_path: Path) -> None:
    shard = write_two_videos(tmp_path)
    data = shard.read_bytes()
    assert data.count(b"Jump/a") == 1
    shard.write_bytes(data.replace(b"Jump/a", b"Jump/c"))
    with pytest.raises(ShardError, match=r"ids and digests are not those that were written.*run again"):
        load_table(tmp_path / "index.json", field="embedding")


def test_every_flipped_byte_of_a_shard_is_found_or_changes_nothing(tmp_path: Path) -> None:
    shard = write_two_videos(tmp_path)
    sound = shard.read_bytes()
    whole = load_table(tmp_path / "index.json", field="embedding")
    found = 0
    faulthandler.dump_traceback_later(100, exit=True)  # no signal ends a loop inside HDF5
    for at in range(0, len(sound), 23):
        damaged = bytearray(sound)
        damaged[at] ^= 0x55
        shard.write_bytes(damaged)
        try:
            table = load_table(tmp_path / "index.json", field="embedding")
        except ShardError:
            found += 1
            continue
        assert (table.video_ids, table.rejected) == (whole.video_ids, whole.rejected)
        assert np.array_equal(table.values, whole.values)
    faulthandler.cancel_dump_traceback_later()
    assert found > 50


def test_a_shard_cut_off_anywhere_is_a_named_error(tmp_path: Path) -> None:
    shard = write_two_videos(tmp_path)
    sound = shard.read_bytes()
    for length in range(0, len(sound) - 1, len(sound) // 40):
        shard.write_bytes(sound[:length])
        with pytest.raises(ShardError, match=r"shard-0\.h5: .*run again"):
            load_table(tmp_path / "index.json", field="embedding")


# Videos that change, and clocks.
@pytest.fixture
def own_videos(videos: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(videos, tmp_path / "videos"))


def test_a_video_that_changes_while_it_is_read_is_named_and_its_row_is_not_kept(
    own_videos: Path, undisturbed: bytes, tmp_path: Path
) -> None:
    victim = own_videos / "MovingRight/v3.avi"
    sound = victim.read_bytes()
    write_manifest(build_manifest(dataset_of(own_videos)), tmp_path / "manifest.tsv")
    listed = list_videos(tmp_path / "manifest.tsv", root=own_videos, shard=0)
    job = ShardJob(
        dataset="small",
        root=own_videos,
        shard=0,
        num_shards=1,
        output=tmp_path / "s.h5",
        cache_dir=tmp_path / "cache",
        fingerprint="content",
    )
    victim.write_bytes((own_videos / "MovingDown/v0.avi").read_bytes())
    extractor = build_motion_extractor(MotionVariant())
    with pytest.raises(DatasetError, match=r"v3\.avi: the video changed after the manifest.*; run again"):
        extract_shard(extractor, videos=listed, job=job)
    victim.unlink()
    with pytest.raises(DatasetError, match=r"v3\.avi: the video cannot be read any more: No such file"):
        extract_shard(extractor, videos=listed, job=job)
    victim.write_bytes(sound)
    extract_shard(extractor, videos=listed, job=job)
    assert (tmp_path / "s.h5").read_bytes() == undisturbed
    with Shard(tmp_path / "s.h5") as shard:
        assert not any(shard.reject_reasons)


def test_a_video_that_grows_while_its_fingerprint_is_taken_is_named(
    own_videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = own_videos / "MovingRight/v3.avi"
    whole = fingerprints.file_digest

    def read_while_it_grows(file: object, digest: object) -> object:
        found = whole(file, digest)  # type: ignore[arg-type]
        if Path(file.name) == victim:  # type: ignore[attr-defined]
            with victim.open("ab") as more:
                more.write(b"more")
        return found

    monkeypatch.setattr(fingerprints, "file_digest", read_while_it_grows)
    with pytest.raises(DatasetError, match=r"v3\.avi: the video changed while it was read; wait until it is whole"):
        build_manifest(dataset_of(own_videos))


def test_another_video_of_the_same_size_and_time_gets_another_fingerprint(own_videos: Path, tmp_path: Path) -> None:
    victim, memo = own_videos / "MovingRight/v3.avi", tmp_path / "memo.tsv"
    os.utime(victim, ns=(10**18, 10**18))
    time.sleep(0.05)
    before = build_manifest(dataset_of(own_videos), memo=memo)
    assert "v3.avi" in memo.read_text()
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)
    os.utime(victim, ns=(10**18, 10**18))  # as a clock that went back, or `cp --preserve`, leaves it
    after = build_manifest(dataset_of(own_videos), memo=memo)
    changed = after["video_id"][after["fingerprint"] != before["fingerprint"]]
    assert list(changed) == ["MovingRight/v3"]


def test_the_fingerprint_of_a_video_from_the_future_is_taken_anew(own_videos: Path, tmp_path: Path) -> None:
    victim, memo = own_videos / "MovingRight/v3.avi", tmp_path / "memo.tsv"
    future = time.time_ns() + 10**15
    os.utime(victim, ns=(future, future))
    time.sleep(0.05)
    first = build_manifest(dataset_of(own_videos), memo=memo)
    assert "v3.avi" not in memo.read_text()
    assert "v1.avi" in memo.read_text()
    assert list(build_manifest(dataset_of(own_videos), memo=memo)["fingerprint"]) == list(first["fingerprint"])
