"""An artifact is kept whole, by content, and copied out; a damaged one is dropped."""

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from moclip.cache import artifacts as artifact_cache
from moclip.cache.artifacts import artifact_lock, keep, list_artifacts, read_artifact, write_files
from moclip.cache.uses import note_use
from moclip.config.settings import Settings
from moclip.workflow.feature_sets import list_outputs
from moclip.workflow.usage import format_parts, list_parts, remove_unused
from tests.unit.workflow.test_plan import wide_config

REPOSITORY = Path(__file__).resolve().parents[3]
FILES = {"model.safetensors": b"weights", "history.tsv": b""}


def outputs_in(folder: Path) -> dict[str, Path]:
    return {name: folder / f"out-{name}" for name in FILES}


def put(folder: Path, key: str = "a") -> Path:
    keep(folder / "cache", kind="networks", key=key, files=FILES)
    return folder / "cache/networks" / key


def take(folder: Path, key: str = "a") -> bool:
    found = read_artifact(folder / "cache", kind="networks", key=key)
    if found is not None:
        write_files(found, outputs=outputs_in(folder))
    return found is not None


def test_an_artifact_comes_back_as_copies_that_may_be_edited(tmp_path: Path) -> None:
    assert not take(tmp_path)
    put(tmp_path)
    for _ in range(2):
        assert take(tmp_path)
        for name, output in outputs_in(tmp_path).items():
            assert output.read_bytes() == FILES[name]
            output.write_bytes(b"edited by hand")
    assert sorted(path.name for path in (tmp_path / "cache/networks").iterdir()) == ["a"]


@pytest.mark.parametrize("damage", ["flip", "truncate", "unlink", "note", "no note", "another note"])
def test_a_damaged_artifact_is_named_dropped_and_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    entry = put(tmp_path)
    model, note = entry / "model.safetensors", entry / "artifact.json"
    changes: dict[str, Any] = {
        "flip": lambda: model.write_bytes(b"Weights"),
        "truncate": lambda: model.write_bytes(b"weigh"),
        "unlink": model.unlink,
        "note": lambda: note.write_text("{"),
        "no note": note.unlink,
        "another note": lambda: note.write_text('["files"]'),
    }
    changes[damage]()
    assert not take(tmp_path)
    assert f"{entry}: a damaged entry of the cache" in caplog.text
    assert not any(output.exists() for output in outputs_in(tmp_path).values())
    put(tmp_path)
    assert take(tmp_path)


def test_the_second_writer_of_an_artifact_changes_nothing(tmp_path: Path) -> None:
    before = put(tmp_path).stat().st_ino
    assert put(tmp_path).stat().st_ino == before
    assert take(tmp_path)


def test_a_full_disk_is_an_error_that_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(artifact_cache.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        put(tmp_path)
    assert list((tmp_path / "cache/networks").iterdir()) == []


def test_of_two_jobs_one_makes_the_artifact_and_the_other_waits(tmp_path: Path) -> None:
    made: list[int] = []
    start = threading.Barrier(2)

    def job(number: int) -> None:
        start.wait()
        with artifact_lock(tmp_path / "cache", kind="networks", key="a"):
            if read_artifact(tmp_path / "cache", kind="networks", key="a") is None:
                made.append(number)
                put(tmp_path)

    threads = [threading.Thread(target=job, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def config(name: str) -> Settings:
    wide = wide_config()
    for variant in wide["appearance"].values():
        variant["model"] = f"local-dir:{REPOSITORY / 'resources/demo-clip'}"
    return Settings.model_validate(wide | {"dataset": wide["dataset"] | {"name": name}})


def _networks(config: Settings) -> list[Path]:
    return [path for path in list_outputs(config) if path.name == "model.safetensors"]


def test_artifacts_that_no_configuration_uses_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cache, (first, second, *_) = Path("cache"), _networks(config("mine"))
    for key in ("old", "new", "theirs"):
        put(tmp_path, key)
    (cache / "heads").mkdir()
    (cache / "heads/h.safetensors").write_bytes(b"head")
    note_use(cache, output=first, kind="networks", keys=["old"])
    note_use(cache, output=first, kind="networks", keys=["new"])
    note_use(cache, output=second, kind="networks", keys=["new"])
    note_use(cache, output=_networks(config("theirs"))[0], kind="networks", keys=["theirs"])
    parts = list_parts(cache, configs=[config("mine"), config("theirs")])
    found = [(part.kind, part.path.name.partition(".")[0], len(part.used_by)) for part in parts if part.kind != "uses"]
    assert found == [("networks", "new", 2), ("networks", "theirs", 1), ("heads", "h", 0), ("networks", "old", 0)]
    assert "heads: 1, of which 1 unused" in format_parts(parts)
    assert len(remove_unused(list_parts(cache, configs=[config("mine")]))) == 3
    assert [artifact.key for artifact in list_artifacts(cache)] == ["new"]


def test_the_sizes_of_a_cache_sum_to_its_files_and_count_a_hard_link_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache = Path("cache")
    put(tmp_path, "a")
    for name in (
        "heads/h.safetensors",
        "motion/p/a.h5",
        "search/s/vectors.f32",
        "training/t.safetensors",
        "code/c.json",
    ):
        (cache / name).parent.mkdir(parents=True)
        (cache / name).write_bytes(bytes(1000))
    os.link(cache / "motion/p/a.h5", cache / "motion/p/b.h5")
    parts = list_parts(cache, configs=[])
    files = {path.stat().st_ino: path.stat().st_size for path in cache.rglob("*") if path.is_file()}
    assert sum(part.num_bytes for part in parts) == sum(files.values())
    assert {part.kind: part.num_bytes for part in parts}["motion"] == 1000
    assert sorted(part.kind for part in parts if not part.used_by) == ["heads", "motion", "networks", "search"]
    assert len(remove_unused(parts)) == 4
    assert sorted(path.name for path in cache.iterdir() if any(path.iterdir())) == ["code", "training"]
