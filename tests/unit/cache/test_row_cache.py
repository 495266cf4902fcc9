"""A row is computed once, survives a kill, and is never read damaged."""

import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from moclip.cache import row_cache
from moclip.cache.format import Field, Row, ShardHeader, build_signature
from moclip.cache.locks import read_owner, writer_lock
from moclip.cache.pool import drop_rows, pool_folder, read_noted_keys
from moclip.cache.reader import Shard
from moclip.cache.row_cache import ShardCount, Wanted, assemble_shard
from moclip.errors import ShardError, VideoError

FIELDS = (
    Field(name="vectors", kind="tensor", dtype="int16", mask_value=-32768),
    Field(name="embedding", kind="packed"),
    Field(name="codec", kind="scalar", dtype="text"),
    Field(name="width", kind="scalar", dtype="int32"),
)


def wanted_rows(*names: str) -> list[Wanted]:
    return [Wanted(video_id=f"class/{name}", row_key=f"key-{name}") for name in names]


def row_of(wanted: Wanted) -> Row:
    seed = sum(wanted.row_key.encode())
    rng = np.random.default_rng(seed)
    values = {
        "vectors": rng.integers(-9, 9, (seed % 5 * 20, 30, 40 + seed % 2, 2)).astype(np.int16),
        "embedding": rng.normal(size=(seed % 3 + 1, 8)).astype(np.float32),
        "codec": f"codec-{seed}",
        "width": seed,
    }
    return Row(video_id=wanted.video_id, row_key=wanted.row_key, values=values)


class Extractor:
    """Counts what it is asked for, and can fail after some rows."""

    def __init__(self, fail_after: int = 10**9) -> None:
        self.asked: list[str] = []
        self.fail_after = fail_after

    def __call__(self, missing: Sequence[Wanted]) -> Iterator[Row]:
        for wanted in missing:
            if len(self.asked) >= self.fail_after:
                raise KeyboardInterrupt
            self.asked.append(wanted.row_key)
            yield row_of(wanted)


Extract = Callable[[Sequence[Wanted]], Iterable[Row | None]]


def build(
    folder: Path, wanted: list[Wanted], extract: Extract, *, name: str = "shard-0", allow_rejects: bool = True
) -> ShardCount:
    keys = [(row.video_id, row.row_key) for row in wanted]
    header = ShardHeader(
        extractor="test",
        extractor_version=1,
        parameters={"a": 1},
        signature=build_signature(extractor="test", version=1, parameters={"a": 1}, rows=keys),
        provenance={},
    )
    output, pool = folder / "out" / f"{name}.h5", folder / "pool"
    with assemble_shard(output, pools=[pool], name=name, wanted=wanted, fields=FIELDS, header=header) as shard:
        for missing in shard.claim_missing():
            for row in extract(missing):
                shard.end_batch() if row is None else shard.append(row)
        return shard.publish(allow_rejects=allow_rejects)


def test_a_shard_gives_back_every_value_of_its_rows(tmp_path: Path) -> None:
    wanted = wanted_rows("b", "a", "cc")
    build(tmp_path, wanted, Extractor())
    with Shard(tmp_path / "out/shard-0.h5") as shard:
        assert shard.video_ids == ("class/a", "class/b", "class/cc")
        for one in wanted:
            expected, found = row_of(one), shard.read_row(one.video_id)
            for name in ("vectors", "embedding"):
                np.testing.assert_array_equal(found.values[name], expected.values[name])
            assert found.values["codec"] == expected.values["codec"]
            assert found.values["width"] == expected.values["width"]


def test_adding_a_video_computes_that_video_only(tmp_path: Path) -> None:
    build(tmp_path, wanted_rows("a", "b"), Extractor())
    extractor = Extractor()
    assert build(tmp_path, wanted_rows("a", "b", "c"), extractor) == ShardCount(num_reused=2, num_computed=1)
    assert extractor.asked == ["key-c"]


def test_removing_a_video_computes_nothing(tmp_path: Path) -> None:
    build(tmp_path, wanted_rows("a", "b"), Extractor())
    assert build(tmp_path, wanted_rows("b"), Extractor(0)).num_computed == 0
    with Shard(tmp_path / "out/shard-0.h5") as shard:
        assert shard.video_ids == ("class/b",)


def test_a_deleted_output_costs_nothing(tmp_path: Path) -> None:
    build(tmp_path, wanted_rows("a", "b"), Extractor())
    before = (tmp_path / "out/shard-0.h5").read_bytes()
    (tmp_path / "out/shard-0.h5").unlink()
    build(tmp_path, wanted_rows("a", "b"), Extractor(0))
    assert (tmp_path / "out/shard-0.h5").read_bytes() == before


def test_another_number_of_shards_moves_rows_without_computing(tmp_path: Path) -> None:
    build(tmp_path, wanted_rows("a", "b", "c"), Extractor())
    assert build(tmp_path, wanted_rows("a", "c"), Extractor(0), name="other-0").num_reused == 2


def test_a_stopped_job_keeps_the_rows_it_computed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, wanted_rows("a", "b", "c"), Extractor(2))
    assert not (tmp_path / "out/shard-0.h5").exists()
    extractor = Extractor()
    build(tmp_path, wanted_rows("a", "b", "c"), extractor)
    assert extractor.asked == ["key-c"]
    assert sorted(path.name for path in (tmp_path / "pool").glob("*.h5")) == ["shard-0.h5"]


def test_rows_reused_or_computed_give_the_same_bytes(tmp_path: Path) -> None:
    build(tmp_path / "fresh", wanted_rows("a", "b", "c"), Extractor())
    build(tmp_path / "grown", wanted_rows("b"), Extractor())
    build(tmp_path / "grown", wanted_rows("c", "b", "a"), Extractor())
    fresh, grown = (tmp_path / side / "out/shard-0.h5" for side in ("fresh", "grown"))
    assert fresh.read_bytes() == grown.read_bytes()


def test_a_rejected_video_is_remembered_with_its_reason(tmp_path: Path) -> None:
    def reject(missing: Sequence[Wanted]) -> Iterator[Row]:
        for wanted in missing:
            if wanted.video_id == "class/b":
                yield Row(
                    video_id="class/b",
                    row_key="key-b",
                    values={},
                    reject_reason="unreadable",
                    reject_detail="cut short",
                )
            else:
                yield row_of(wanted)

    for computed in (2, 0):
        assert build(tmp_path, wanted_rows("a", "b"), reject).num_computed == computed
    with Shard(tmp_path / "out/shard-0.h5") as shard:
        row = shard.read_row("class/b")
        assert (row.reject_reason, row.reject_detail, dict(row.values)) == ("unreadable", "cut short", {})
    (tmp_path / "out/shard-0.h5").unlink()
    with pytest.raises(VideoError, match="video class/b: unreadable"):
        build(tmp_path, wanted_rows("a", "b"), reject, allow_rejects=False)
    assert not (tmp_path / "out/shard-0.h5").exists()


def test_a_damaged_row_is_refused_by_readers_and_computed_again(tmp_path: Path) -> None:
    build(tmp_path, wanted_rows("a", "b"), Extractor())
    with h5py.File(tmp_path / "pool/shard-0.h5", "r+") as file:
        file["packed/embedding"][0, 0] += 1
    with Shard(tmp_path / "out/shard-0.h5") as shard, pytest.raises(ShardError, match="class/a is damaged"):
        shard.read_row("class/a")
    extractor = Extractor()
    build(tmp_path, wanted_rows("a", "b"), extractor)
    assert extractor.asked == ["key-a"]


def test_a_damaged_byte_of_an_output_costs_its_row_alone(tmp_path: Path) -> None:
    build(tmp_path, wanted_rows("a", "b", "c"), Extractor())
    output = tmp_path / "out/shard-0.h5"
    with h5py.File(output, "r+") as file:  # a hard link: the pool's file is damaged with it
        _, high, wide, _ = file["shapes/vectors"][1]
        file[f"tensor/vectors/{high}x{wide}x2"][int(file["starts/vectors"][1]), 0, 0, 0] ^= 1
    extractor = Extractor()
    assert build(tmp_path, wanted_rows("a", "b", "c"), extractor) == ShardCount(num_reused=2, num_computed=1)
    assert extractor.asked == ["key-b"]
    with Shard(output) as shard:
        assert [shard.read_row(name).row_key for name in shard.video_ids] == ["key-a", "key-b", "key-c"]


def test_videos_of_equal_bytes_in_one_shard_are_computed_once(tmp_path: Path) -> None:
    wanted = [Wanted(video_id=f"class/{name}", row_key="key-a") for name in ("x", "y", "z")]
    extractor = Extractor()
    assert build(tmp_path, wanted, extractor) == ShardCount(num_reused=2, num_computed=1)
    assert extractor.asked == ["key-a"]
    with Shard(tmp_path / "out/shard-0.h5") as shard:
        assert shard.video_ids == ("class/x", "class/y", "class/z")
        assert len(set(shard.digests)) == 1


_JOB = """
import sys, time
from pathlib import Path
from moclip.cache.row_cache import Wanted, assemble_shard
from moclip.cache.format import Field, Row, ShardHeader
import numpy as np
folder, name, started = Path(sys.argv[1]), sys.argv[2], time.monotonic()
def extract(missing):
    for wanted in missing:
        print(wanted.row_key, flush=True)
        time.sleep(0.2)
        yield Row(video_id=wanted.video_id, row_key=wanted.row_key, values={"embedding": np.ones((1, 2), np.float32)})
keys = sys.argv[3].split(",")
(folder / f"{name}.ready").touch()
while len(list(folder.glob("*.ready"))) < 3:
    time.sleep(0.01)
with assemble_shard(
    folder / f"out/{name}.h5", pools=[folder / "pool"], name=name,
    wanted=[Wanted(video_id=f"class/{name}-{key}", row_key=key) for key in keys],
    fields=(Field(name="embedding", kind="packed"),),
    header=ShardHeader(extractor="t", extractor_version=1, parameters={}, signature=name, provenance={}),
) as shard:
    for missing in shard.claim_missing():
        for row in extract(missing):
            shard.append(row)
    shard.publish()
"""


def test_jobs_that_start_together_compute_a_common_row_once(tmp_path: Path) -> None:
    # In opposite orders, and each with rows that no other job wants.
    wants = {"one": "a,b,c,own-1", "two": "c,b,a,own-2", "three": "b,own-3,c"}
    jobs = [
        subprocess.Popen([sys.executable, "-c", _JOB, str(tmp_path), *job], stdout=subprocess.PIPE, text=True)
        for job in wants.items()
    ]
    computed = [key for job in jobs for key in job.communicate(timeout=60)[0].split()]
    assert [job.returncode for job in jobs] == [0, 0, 0]
    assert sorted(computed) == ["a", "b", "c", "own-1", "own-2", "own-3"]
    for name, keys in wants.items():
        with Shard(tmp_path / f"out/{name}.h5") as shard:
            assert sorted(shard.row_keys) == sorted(keys.split(","))
            assert all(shard.read_row(video_id).values["embedding"].shape == (1, 2) for video_id in shard.video_ids)


def test_a_row_whose_job_was_killed_is_computed_by_the_job_that_waits(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from moclip.cache.locks import KeyLocks\n"
        "locks = KeyLocks(Path(sys.argv[1])); locks.take_free({'key-a'}); print('held', flush=True)\n"
        "sys.stdin.readline(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (tmp_path / "pool").mkdir()
    command = [sys.executable, "-c", script, str(tmp_path / "pool")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        release = threading.Timer(0.3, holder.stdin.close)
        release.start()
        extractor = Extractor()
        build(tmp_path, wanted_rows("a", "b"), extractor)
        release.join()
    assert extractor.asked == ["key-b", "key-a"]


def test_a_truncated_shard_is_a_named_error_and_costs_its_rows(tmp_path: Path) -> None:
    build(tmp_path, wanted_rows("a"), Extractor())
    path = tmp_path / "pool/shard-0.h5"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(ShardError, match="damaged file"):
        Shard(tmp_path / "out/shard-0.h5")
    assert build(tmp_path, wanted_rows("a"), Extractor()).num_computed == 1


def test_an_extractor_that_leaves_out_a_video_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="class/a: expected a row"):
        build(tmp_path, wanted_rows("a"), lambda missing: ())


def count_rows_of_parts(folder: Path) -> list[int]:
    counts = []
    for path in (folder / "pool").glob("shard-0.part-*.h5"):
        with Shard(path) as shard:
            counts.append(len(shard.row_keys))
    return sorted(counts)


def test_rows_reach_the_pool_in_parts_of_a_bounded_size_while_others_are_computed(tmp_path: Path) -> None:
    seen: list[list[int]] = []

    def extract(missing: Sequence[Wanted]) -> Iterator[Row]:
        for wanted in missing:
            seen.append(count_rows_of_parts(tmp_path))
            yield row_of(wanted)

    build(tmp_path, wanted_rows(*(f"v{number:03d}" for number in range(130))), extract)
    assert (seen[63], seen[64], seen[128]) == ([], [64], [64, 64])
    assert count_rows_of_parts(tmp_path) == []


@pytest.mark.parametrize(("limit", "parts"), [("FLUSH_SECONDS", [1, 1]), ("FLUSH_BATCH_SECONDS", [2])])
def test_rows_that_took_long_reach_the_pool_at_once_or_with_their_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, parts: list[int]
) -> None:
    monkeypatch.setattr(row_cache, limit, 0.0)
    found: list[list[int]] = []

    def extract(missing: Sequence[Wanted]) -> Iterator[Row | None]:
        yield from (row_of(wanted) for wanted in missing[:2])
        yield None
        found.append(count_rows_of_parts(tmp_path))
        yield from (row_of(wanted) for wanted in missing[2:])

    build(tmp_path, wanted_rows("a", "b", "c"), extract)
    assert found == [parts]


def test_parameters_and_version_each_have_a_pool_of_their_own(tmp_path: Path) -> None:
    folders = {
        pool_folder(tmp_path, extractor="motion", version=version, parameters={"source": source})
        for version in (1, 2)
        for source in ("original", "transcode")
    }
    assert len(folders) == 4


def refuse(number: int) -> Callable[..., None]:
    def fail(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_in_the_log_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse(number))
    monkeypatch.setattr(fcntl, "lockf", refuse(number))
    assert build(tmp_path, wanted_rows("a", "b"), Extractor()).num_computed == 2
    assert "this file system has no locks" in caplog.text
    with Shard(tmp_path / "out/shard-0.h5") as shard:
        assert len(shard.video_ids) == 2


def test_a_lock_that_fails_for_another_reason_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        build(tmp_path, wanted_rows("a"), Extractor())


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.ENOSYS])
def test_a_file_system_without_hard_links_gets_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", refuse(number))
    build(tmp_path, wanted_rows("a", "b"), Extractor())
    own, output = tmp_path / "pool/shard-0.h5", tmp_path / "out/shard-0.h5"
    assert output.read_bytes() == own.read_bytes()
    assert not output.samefile(own)


def test_a_row_that_the_shard_no_longer_holds_is_kept_for_the_day_it_comes_back(tmp_path: Path) -> None:
    build(tmp_path, wanted_rows("a", "b", "c"), Extractor())
    assert build(tmp_path, wanted_rows("a"), Extractor()) == ShardCount(num_reused=1, num_computed=0)
    extractor = Extractor()
    build(tmp_path, wanted_rows("a", "b"), extractor)
    build(tmp_path, wanted_rows("a", "c", "d"), extractor)
    assert extractor.asked == ["key-d"]


def test_two_datasets_of_one_name_take_turns_and_lose_nothing(tmp_path: Path) -> None:
    mine, theirs = wanted_rows("a", "b"), wanted_rows("x", "y")
    extractor = Extractor()
    for wanted in (mine, theirs, mine, theirs):
        build(tmp_path, wanted, extractor)
    assert sorted(extractor.asked) == ["key-a", "key-b", "key-x", "key-y"]


def test_removing_damaged_rows_leaves_the_others(tmp_path: Path) -> None:
    build(tmp_path, wanted_rows("a", "b", "c"), Extractor())
    own = next((tmp_path / "pool").glob("*.h5"))
    assert drop_rows(own, keys={"key-b"}) == (2, 1)
    extractor = Extractor()
    build(tmp_path, wanted_rows("a", "b", "c"), extractor)
    assert extractor.asked == ["key-b"]


def test_who_waits_for_a_shard_is_told_who_writes_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    script = (
        "import sys; from pathlib import Path; from moclip.cache.locks import writer_lock\n"
        "with writer_lock(Path(sys.argv[1]), name='one'):\n    print('held', flush=True); sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        assert f"process {holder.pid}" in read_owner(tmp_path, name="one")
        release = threading.Timer(0.5, holder.stdin.close)
        release.start()
        with writer_lock(tmp_path, name="one"):
            assert f"process {os.getpid()}" in read_owner(tmp_path, name="one")
        release.join()
    assert f"process {holder.pid}, who writes" in caplog.text
    assert read_owner(tmp_path, name="one") == ""


def test_a_lock_dies_with_its_holder(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from moclip.cache.locks import writer_lock\n"
        "with writer_lock(Path(sys.argv[1]), name='one'):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    with writer_lock(tmp_path, name="one"):
        assert f"process {os.getpid()}" in read_owner(tmp_path, name="one")


def test_a_search_for_rows_opens_no_file_that_holds_none_of_them(tmp_path: Path) -> None:
    build(tmp_path, wanted_rows("a", "b"), Extractor(), name="shard-0")
    own = tmp_path / "pool/shard-0.h5"
    assert read_noted_keys(own) == {"key-a", "key-b"}
    content = own.read_bytes()
    status = own.stat()
    own.write_bytes(bytes(len(content)))
    os.utime(own, ns=(status.st_atime_ns, status.st_mtime_ns))
    # Not opened, its damage is not met: the note says that it has nothing to offer.
    assert build(tmp_path, wanted_rows("c"), Extractor(), name="shard-1") == ShardCount(num_reused=0, num_computed=1)


def test_a_note_of_another_state_of_the_file_is_not_believed(tmp_path: Path) -> None:
    build(tmp_path, wanted_rows("a", "b"), Extractor(), name="shard-0")
    os.utime(tmp_path / "pool/shard-0.h5")
    assert read_noted_keys(tmp_path / "pool/shard-0.h5") is None
    extractor = Extractor()
    build(tmp_path, wanted_rows("b"), extractor, name="shard-1")
    assert extractor.asked == []
