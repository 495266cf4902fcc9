"""A cache that users of a group share, or that a user may only read."""

import json
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tqdm  # noqa: F401 (imported before a process gives up its rights to read the packages)

from moclip.cache.artifacts import artifact_lock, keep, read_artifact
from moclip.cache.locks import KeyLocks, writer_lock
from moclip.cache.reader import Shard
from moclip.cache.uses import note_use
from moclip.core.cache_folder import OWN_CACHE, claim_folder, describe_cache, read_folders
from moclip.core.digests import FileDigests
from moclip.errors import explain_system_fault
from moclip.extraction.extractor import ShardJob, extract_shard
from tests.unit.cache.test_index import build_extractor, videos_of

FIRST, SECOND, GROUP = 61001, 61002, 62000


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user may enter, with a folder `home` for each of two users of a group."""
    if os.geteuid() != 0:
        reason = "processes of two users need root to start them"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for user in (FIRST, SECOND):
            (folder / f"home-{user}").mkdir()
            os.chown(folder / f"home-{user}", user, GROUP)
        yield folder


def act_as(user: int, folder: Path, action: Callable[[], Any], *, umask: int = 0o022) -> Any:
    """Return the result of an action, which must be JSON, in a process of another user in its home."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.chdir(folder / f"home-{user}")
            os.setgroups([GROUP])
            os.setgid(GROUP)
            os.setuid(user)
            os.umask(umask)
            found = {"result": action()}
        except BaseException as error:
            found = {"error": f"{type(error).__name__}: {error}"}
        os.write(write, json.dumps(found).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        found = json.loads(file.read())
    os.waitpid(child, 0)
    assert "error" not in found, found["error"]
    return found["result"]


def make_cache(folder: Path, *, mode: int, owner: int = FIRST) -> Path:
    cache = folder / "cache"
    cache.mkdir()
    os.chown(cache, owner, GROUP)
    cache.chmod(mode)
    return cache


def build(cache: Path, *numbers: int, dataset: str = "mine") -> int:
    """Build a shard of some videos in the working folder, and return the number of rows that were computed."""
    asked: list[str] = []
    plain = build_extractor()
    extract = plain.extract

    def counted(videos: Any) -> Any:
        asked.extend(video.video_id for video in videos)
        return extract(videos)

    object.__setattr__(plain, "extract", counted)
    job = ShardJob(dataset=dataset, root=Path(), shard=0, num_shards=1, output=Path("out/shard-0.h5"), cache_dir=cache)
    extract_shard(plain, videos=videos_of(*numbers), job=job)
    with Shard(job.output) as shard:
        assert len(shard.video_ids) == len(numbers)
    return len(asked)


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o027])
@pytest.mark.parametrize("mode", [0o2775, 0o2777, 0o3777])
def test_users_of_a_group_share_rows_artifacts_and_notes_whatever_their_umask(
    shared: Path, umask: int, mode: int
) -> None:
    cache = make_cache(shared, mode=mode)

    def use(*numbers: int, key: str) -> Callable[[], Any]:
        def action() -> Any:
            computed = build(cache, *numbers)
            with artifact_lock(cache, kind="networks", key=key):
                known = read_artifact(cache, kind="networks", key="a")
                keep(cache, kind="networks", key=key, files={"model": b"weights"})
            note_use(cache, output=Path("out/model"), kind="networks", keys=[key])
            FileDigests(cache)(Path("out/shard-0.h5"))
            return [computed, known is not None, OWN_CACHE.exists()]

        return action

    assert act_as(FIRST, shared, use(1, 2, key="a"), umask=umask) == [2, False, False]
    # The second user writes the same files of the pool as the first one.
    assert act_as(SECOND, shared, use(1, 2, 3, key="b"), umask=umask) == [1, True, False]
    assert act_as(FIRST, shared, use(2, 3, key="c"), umask=umask) == [0, True, False]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in cache.rglob("*") if path.is_dir()}
    assert modes == {mode & ~stat.S_ISVTX}


@pytest.mark.parametrize("mode", [0o755, 0o2750, 0o2777])
def test_a_cache_that_can_only_be_read_serves_and_new_files_stay_in_the_project(
    shared: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make_cache(shared, mode=0o755)
    act_as(FIRST, shared, lambda: build(cache, 1, 2))
    act_as(FIRST, shared, lambda: keep(cache, kind="networks", key="a", files={"model": b"weights"}))
    cache.chmod(mode)  # 2777: folders that were made before their cache was opened to the group

    def use() -> Any:
        logging.getLogger("moclip").addHandler(handler := logging.StreamHandler(open("log", "w")))  # noqa: SIM115, PTH123
        computed = build(cache, 1, 2, 3)
        handler.flush()
        keep(cache, kind="networks", key="b", files={"model": b"others"})
        found = [read_artifact(cache, kind="networks", key=key) is not None for key in "ab"]
        note_use(cache, output=Path("out/model"), kind="networks", keys=["a"])
        again = build(cache, 2, 3, dataset="another")
        return [computed, again, found, Path("log").read_text().count("can only be read"), describe_cache(cache)]

    computed, again, found, warnings, notes = act_as(SECOND, shared, use)
    assert (computed, again, found, warnings) == (1, 0, [True, True], 1)
    assert len(notes) == 1
    assert f"new rows and models are kept in {OWN_CACHE}" in notes[0]
    assert "chmod -R g+rwX" in notes[0]
    assert (shared / f"home-{SECOND}" / OWN_CACHE / "test").is_dir()
    owners = {path.stat().st_uid for path in (cache / "test").rglob("*")}
    assert owners == {FIRST}


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_lock_file_of_another_user_neither_blocks_nor_stops_anyone(shared: Path, mode: int) -> None:
    cache = make_cache(shared, mode=0o2777)
    pool = cache / "pool"

    def lock() -> None:
        claim_folder(cache, "pool")
        with writer_lock(pool, name="a"), KeyLocks(pool) as locks:
            locks.take_free(["x"])
        for path in pool.glob(".*.lock"):
            path.chmod(mode)

    act_as(FIRST, shared, lock)

    def use() -> Any:
        with writer_lock(pool, name="a"), KeyLocks(pool) as locks:
            free = locks.take_free(["x"])
            locks.wait_for("x")
            locks.release(["x"])
            return sorted(free)

    assert act_as(SECOND, shared, use) == ["x"]


def test_rows_and_artifacts_that_cannot_be_read_are_made_again_and_left_alone(shared: Path) -> None:
    cache = make_cache(shared, mode=0o2777)

    def fill() -> None:
        build(cache, 1)
        keep(cache, kind="networks", key="a", files={"model": b"weights"})

    act_as(FIRST, shared, fill, umask=0o077)
    assert act_as(SECOND, shared, lambda: build(cache, 1, dataset="another")) == 1
    assert act_as(SECOND, shared, lambda: read_artifact(cache, kind="networks", key="a")) is None
    assert (cache / "networks/a/model").read_bytes() == b"weights", "the artifact of another user was removed"


def test_a_folder_that_nobody_may_write_to_is_told_as_such(shared: Path) -> None:
    cache = make_cache(shared, mode=0o755)

    def use() -> str:
        Path("results").write_text("no folder")
        try:
            claim_folder(cache, "motion")
        except OSError as error:
            return str(explain_system_fault(error))
        return "no error"

    assert "results" in act_as(SECOND, shared, use)


def test_a_private_cache_keeps_the_mode_that_the_umask_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o027)
    try:
        folder = claim_folder(Path("results/.cache"), "motion", "a")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent, folder.parent.parent)} == {0o750}
    assert read_folders(Path("results/.cache"), "motion", "a") == [folder]
    assert describe_cache(Path("results/.cache")) == []
