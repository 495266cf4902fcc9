"""Damaged and hostile files of our own: the value that was written, or one line that says what is wrong. Nothing else.

`make fuzz` tries thousands of each kind; the seed of a case is its number, so that one that fails comes again.
"""

import faulthandler
import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from moclip.cache.format import Field, Row
from moclip.cache.index import load_table
from moclip.cache.reader import Shard
from moclip.config.dataset_settings import Dataset
from moclip.config.experiments import list_network_runs, list_runs, list_used
from moclip.config.settings import Settings
from moclip.config.validation import check_config
from moclip.core.tensors import DIGEST_KEY, digest_tensors
from moclip.dataset.lists import check_video_path
from moclip.dataset.manifest import build_manifest, read_manifest, write_manifest
from moclip.dataset.manifest_table import list_class_names
from moclip.encoders.network_notes import Seen
from moclip.errors import MoclipError, ShardError
from moclip.extraction.text import read_class_embeddings
from moclip.training.head_files import (
    HeadConfig,
    HeadFile,
    TrainedHead,
    load_heads,
    read_seed_digests,
    save_heads,
    save_seeds,
)
from moclip.training.head_inputs import Layout
from tests.fuzz.mutations import damage_bytes, damage_document, damage_lines, flip_bytes
from tests.shards import write_indexed_shard

REPOSITORY = Path(__file__).resolve().parents[2]
NUM_CASES = int(os.environ.get("FUZZ_CASES", "60"))
FIRST_CASE = int(os.environ.get("FUZZ_SEED", "0"))
HANG_SECONDS = 20


@contextmanager
def in_time(seconds: int = HANG_SECONDS) -> Iterator[None]:
    """Fail the block when it takes longer."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"a hang: more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    faulthandler.dump_traceback_later(3 * seconds, exit=True)  # where the loop is one inside a library, no signal helps
    try:
        yield
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def try_cases(attempt: Callable[[random.Random], Any], *, check: Callable[[Any], None]) -> None:
    """Run an attempt with each seed: it returns a value, which is checked, or raises an error of ours, of one line."""
    values = errors = 0
    for seed in range(FIRST_CASE, FIRST_CASE + NUM_CASES):
        try:
            with in_time():
                value = attempt(random.Random(seed))  # noqa: S311 (damage, no secret)
        except MoclipError as error:
            errors += 1
            lines = str(error).split("\n")
            several = all(line.startswith("config: ") for line in lines)
            is_fair = len(lines) == 1 or several
            assert is_fair, f"seed {seed}: expected one line, found {lines}"
            continue
        except Exception as error:
            raise AssertionError(f"seed {seed}: expected a value or an error of ours, found {error!r}") from error
        values += 1
        try:
            check(value)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: a wrong value: {error}") from error
    print(f"{NUM_CASES} cases: {values} values as they must be, {errors} named errors")  # noqa: T201 (`make fuzz`)
    assert values + errors == NUM_CASES
    assert errors, "no case was damaged enough to be seen"


# The configuration.


def check_checked(settings: Settings) -> None:
    for run in list_runs(settings):
        assert isinstance(run.split, int)
        assert 1 <= run.split <= 3
        assert isinstance(run.seed, int)
        assert 0 <= run.seed < 2**32
    list_network_runs(settings)
    for section in ("motion", "appearance", "text", "motion_network"):
        for name in list_used(settings, section):
            assert name.isascii()
            assert not set(name) & set("/\\\n\0 ")
    assert isinstance(settings.dataset.num_shards, int)
    assert isinstance(settings.dataset.validation_seed, int)
    for number in _numbers(settings.canonical()):
        assert np.isfinite(float(number)), "a number that is not finite passed"


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for below in value.values():
            yield from _numbers(below)
    elif isinstance(value, list):
        for below in value:
            yield from _numbers(below)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


@pytest.mark.parametrize("name", ["config.yaml", "ucf101_5.yaml"])
def test_a_damaged_configuration(name: str) -> None:
    sound = yaml.safe_load((REPOSITORY / "config" / name).read_text(encoding="utf-8"))
    try_cases(lambda rng: check_config(damage_document(sound, rng)), check=check_checked)


# The manifest and the lists.
def small_dataset(folder: Path, *, layout: str) -> Dataset:
    section = {
        "name": "small", "layout": layout, "root": str(folder / "videos"), "lists": str(folder / "lists"),
        "classes": [], "validation_fraction": 0.3, "validation_seed": 0, "test_fraction": 0.3, "num_shards": 3,
        "fingerprint": "content",
    }  # fmt: skip
    return Dataset.model_validate(section)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    for class_name in ("Jump", "Run"):
        for number in range(1, 5):
            path = folder / "videos" / class_name / f"v_{class_name}_g{number:02d}_c01.avi"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{class_name} {number}")
    return folder


def check_manifest(frame: pd.DataFrame) -> None:
    assert frame["video_id"].is_unique
    assert (frame[["class_index", "shard"]] >= 0).all(axis=None)
    for path in frame["path"]:
        assert check_video_path(path, place="") == path
    assert not frame["fingerprint"].str.fullmatch("[0-9A-Za-z]{1,64}").eq(False).any()


def test_a_damaged_manifest(videos: Path) -> None:
    path = videos / "manifest.tsv"
    write_manifest(build_manifest(small_dataset(videos, layout="folders")), path)
    sound, damaged = path.read_bytes(), videos / "damaged.tsv"

    def attempt(rng: random.Random) -> pd.DataFrame:
        by_line = damage_lines(sound.decode(), rng).encode("utf-8", "surrogatepass")
        damaged.write_bytes(damage_bytes(sound, rng) if rng.random() < 0.5 else by_line)
        frame = read_manifest(damaged)
        list_class_names(frame)
        return frame

    try_cases(attempt, check=check_manifest)


def _ucf_lists(folder: Path) -> dict[str, str]:
    paths = sorted(path.relative_to(folder / "videos").as_posix() for path in (folder / "videos").glob("*/*.avi"))
    test = [path for path in paths if "_g01_" in path]
    return {
        "classInd.txt": "1 Jump\n2 Run\n",
        "testlist01.txt": "".join(f"{path}\n" for path in test),
        "trainlist01.txt": "".join(f"{path} {1 + ('Run' in path)}\n" for path in paths if path not in test),
    }


def _table(folder: Path) -> dict[str, str]:
    rows = ["video,class,group,split"]
    for path in sorted((folder / "videos").glob("*/*.avi")):
        subset = "test" if "_g01_" in path.name else "train"
        rows.append(f"{path.parent.name}/{path.name},{path.parent.name},{path.stem},{subset}")
    return {"": "\n".join(rows) + "\n"}


def _hmdb_lists(folder: Path) -> dict[str, str]:
    return {
        f"{name}_test_split1.txt": "".join(f"v_{name}_g0{n}_c01.avi {2 if n == 1 else 1}\n" for n in range(1, 5))
        for name in ("Jump", "Run")
    }


@pytest.mark.parametrize(("layout", "build"), [("ucf101", _ucf_lists), ("hmdb51", _hmdb_lists), ("table", _table)])
def test_damaged_lists(videos: Path, tmp_path: Path, layout: str, build: Callable[[Path], dict[str, str]]) -> None:
    texts = build(videos)
    dataset = small_dataset(videos, layout=layout).model_copy(update={"lists": str(tmp_path / "lists")})

    def attempt(rng: random.Random) -> pd.DataFrame:
        chosen = rng.choice(sorted(texts))
        for name, text in texts.items():
            path = tmp_path / "lists" / name if name else tmp_path / "lists"
            path.parent.mkdir(exist_ok=True)
            by_line = damage_lines(text, rng).encode("utf-8", "surrogatepass")
            damaged = damage_bytes(text.encode(), rng) if rng.random() < 0.5 else by_line
            path.write_bytes(damaged if name == chosen else text.encode())
        return build_manifest(dataset)

    try_cases(attempt, check=check_manifest)


# Shards and their index.
FIELDS = (
    Field(name="embedding", kind="packed"),
    Field(name="count", kind="scalar", dtype="int32"),
    Field(name="codec", kind="scalar", dtype="text"),
    Field(name="past", kind="tensor", dtype="int16", mask_value=-32768),
)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    rng = np.random.default_rng(0)
    rows = [
        Row(
            video_id=f"Jump/v{number}",
            row_key=f"key{number}",
            values={
                "embedding": rng.normal(size=(2, 16)).astype(np.float32),
                "count": number,
                "codec": "h264",
                "past": rng.integers(-20, 20, (5 + number, 30, 40, 2)).astype(np.int16),
            },
        )
        for number in range(6)
    ]
    rejected = Row(video_id="Jump/w", row_key="w", values={}, reject_reason="no_frames", reject_detail="none")
    write_indexed_shard(folder, [*rows, rejected], fields=FIELDS, parameters={"a": 1})
    return folder


def _read_all(folder: Path) -> tuple[Any, ...]:
    table = load_table(folder / "index.json", field="embedding")
    with Shard(folder / "shard-0.h5") as shard:
        rows = [shard.read_row(video_id) for video_id in shard.video_ids]
    return table, [{name: np.asarray(value).tolist() for name, value in row.values.items()} for row in rows]


@pytest.fixture
def damaged_features(features: Path, tmp_path: Path) -> tuple[Path, Callable[[Any], None]]:
    """A copy to damage, and the check that what was read of it is what was written."""
    for path in features.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    whole, rows = _read_all(features)

    def check(found: tuple[Any, ...]) -> None:
        table, values = found
        assert table.video_ids == whole.video_ids, "other videos"
        assert table.rejected == whole.rejected, "other rejects"
        assert np.array_equal(table.values, whole.values), "other features"
        assert table.values.shape == whole.values.shape, "another shape"
        assert values == rows, "other values"

    return tmp_path, check


def test_a_damaged_shard(features: Path, damaged_features: tuple[Path, Callable[[Any], None]]) -> None:
    folder, check = damaged_features
    sound = (features / "shard-0.h5").read_bytes()

    def attempt(rng: random.Random) -> Any:
        (folder / "shard-0.h5").write_bytes((damage_bytes if rng.random() < 0.5 else flip_bytes)(sound, rng))
        return _read_all(folder)

    try_cases(attempt, check=check)


def _swap(file: h5py.File, rng: random.Random) -> None:
    # What no flipped byte makes: datasets, sound by themselves, that are not the ones that were written.
    names: list[str] = []
    file.visititems(lambda name, found: names.append(name) if isinstance(found, h5py.Dataset) else None)
    name = rng.choice(names)
    old = file[name]
    kind, length = rng.randrange(6), len(old)
    del file[name]
    if kind == 0:
        file.create_group(name)
    elif kind == 1:
        file[name] = np.zeros((length, 2, 3), rng.choice([np.float16, np.int8, np.complex64]))
    elif kind == 2:
        file[name] = np.float64(rng.random())
    elif kind == 3:
        file[name] = np.array([b"\xff\xfe"] * length)
    elif kind == 4:
        file[name] = h5py.ExternalLink("/etc/passwd", "/x")
    other = rng.choice(["content", "fields", "parameters", "format_version", "signature"])
    if rng.random() < 0.5:
        junk = rng.choice(["[]", "{", '[["embedding", "packed", "float32"]]', "", 7, 2.5, np.zeros(3), '{"a": 1}'])
        file.attrs[other] = junk


def test_a_shard_with_other_datasets(features: Path, damaged_features: tuple[Path, Callable[[Any], None]]) -> None:
    folder, check = damaged_features
    sound = (features / "shard-0.h5").read_bytes()

    def attempt(rng: random.Random) -> Any:
        (folder / "shard-0.h5").write_bytes(sound)
        with h5py.File(folder / "shard-0.h5", "r+") as file:
            _swap(file, rng)
        return _read_all(folder)

    try_cases(attempt, check=check)


def test_a_foreign_hdf5_file_is_no_shard(damaged_features: tuple[Path, Callable[[Any], None]]) -> None:
    folder, _ = damaged_features
    with h5py.File(folder / "shard-0.h5", "w") as file:
        file["other"] = np.zeros(3)
    with pytest.raises(ShardError, match=r"shard-0\.h5: expected a shard, found a damaged file .*run again"):
        _read_all(folder)


def test_a_damaged_index(features: Path, damaged_features: tuple[Path, Callable[[Any], None]]) -> None:
    folder, check = damaged_features
    sound = (features / "index.json").read_bytes()

    def attempt(rng: random.Random) -> Any:
        changed = damage_document(json.loads(sound), rng)
        text = json.dumps(changed, default=str).encode("utf-8", "surrogatepass")
        (folder / "index.json").write_bytes(damage_bytes(sound, rng) if rng.random() < 0.5 else text)
        return _read_all(folder)

    try_cases(attempt, check=check)


# Weights.
def _head_file(seed: int = 0) -> HeadFile:
    rng = np.random.default_rng(seed)
    state = {"weight": rng.normal(size=(3, 8)).astype(np.float32), "bias": np.zeros(3, np.float32)}
    head = TrainedHead(
        state=state,
        selection_state=state,
        history=(),
        best_epoch=0,
        config=HeadConfig(kind="linear"),
        layout=Layout(appearance=8),
    )
    seen = Seen(split=1, video_ids=("a",), groups=("g",))
    return HeadFile(heads={"appearance": head}, mixes={}, seen=seen, provenance={})


def _head(path: Path) -> None:
    save_heads(path, heads=_head_file().heads, seen=_head_file().seen)


def _seeds(path: Path) -> None:
    save_seeds(path, {seed: _head_file(seed) for seed in (0, 1)})


def _load_seeds(path: Path) -> None:
    for seed in (0, 1):
        load_heads(path, seed=seed)
    assert read_seed_digests(path).keys() == {0, 1}


def _classes(path: Path) -> None:
    tensors = {"embeddings": np.eye(3, 8, dtype=np.float32)}
    about = {"class_names": ["a", "b", "c"], "prompts": {}, "state": "trained", DIGEST_KEY: digest_tensors(tensors)}
    save_file(tensors, path, metadata={"moclip": json.dumps(about)})


def _hostile_header(data: bytes, rng: random.Random) -> bytes:
    # The first 8 bytes count those of the header: told to be huge, short, or off by one.
    length = int.from_bytes(data[:8], "little")
    other = rng.choice([2**63, 2**40, 10**8, 0, 1, length - 1, length + 1, len(data), rng.randrange(2 * length)])
    return other.to_bytes(8, "little") + data[8:]


@pytest.mark.parametrize(
    ("write", "read"), [(_head, load_heads), (_seeds, _load_seeds), (_classes, read_class_embeddings)]
)
def test_damaged_weights(tmp_path: Path, write: Callable[[Path], None], read: Callable[[Path], Any]) -> None:
    path = tmp_path / "sound.safetensors"
    write(path)
    sound, tensors = path.read_bytes(), load_file(path)
    damaged = tmp_path / "damaged.safetensors"

    def attempt(rng: random.Random) -> Any:
        damaged.write_bytes((_hostile_header if rng.random() < 0.3 else damage_bytes)(sound, rng))
        read(damaged)
        return load_file(damaged)

    def check(found: dict[str, Any]) -> None:
        assert found.keys() == tensors.keys()
        for name, value in tensors.items():
            assert np.array_equal(found[name], value), f"`{name}` is not what was written"

    try_cases(attempt, check=check)
