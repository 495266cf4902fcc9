"""Files of a run, a bundle and a dataset with one flipped byte: refused by name, or the same answer."""

import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from moclip.cli.main import main
from moclip.errors import MoclipError
from moclip.inference import run as run_parts
from moclip.inference.feature_store import FeatureStore
from moclip.inference.run import CALIBRATION_NAME
from tests.workflow.conftest import Project

pytestmark = pytest.mark.workflow

RUN = "results/toy/experiments/fusion/split-1/seed-0"
VIDEO = "videos/MovingDown/v0.mp4"
# FAULTS=all tries more places of each file.
FLIPS = 12 if os.environ.get("FAULTS") == "all" else 2
# Files below `results` that Python opens, by the audit hook, which cannot be removed again.
OPENED: set[Path] = set()
HOOKED: list[bool] = []


@pytest.fixture(scope="module")
def used(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return finished.copy(tmp_path_factory.mktemp("tampered") / "project")


@pytest.fixture(autouse=True)
def in_project(used: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(used.folder)
    monkeypatch.setattr(run_parts, "MIN_VIDEOS", 2)  # so that temperatures are fitted


def ask(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = 0
    try:
        main(arguments)
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str) and arguments[1] in ("r", "rb", None):
        OPENED.add(Path(arguments[0]).absolute())


def list_read(arguments: list[str], *, below: Path, capsys: pytest.CaptureFixture[str]) -> list[Path]:
    """Return the files below a folder that a command reads, with shards, which Python does not open itself."""
    if not HOOKED:
        HOOKED.append(True)
        sys.addaudithook(watch)
    OPENED.clear()
    assert ask(arguments, capsys)[0] == 0
    found = {path for path in OPENED if path.is_relative_to(below.absolute()) and path.is_file()}
    indexes = [path for path in found if path.name == "index.json"]
    return sorted(found | {shard for index in indexes for shard in index.parent.glob("shard-*.h5")})


@contextmanager
def flipped(path: Path, *, seed: int) -> Iterator[None]:
    """Flip one bit of a file, and restore it with the records in its folder."""
    kept = {file: file.read_bytes() for file in [path, *path.parent.glob(".*.made")]}
    data, rng = bytearray(kept[path]), random.Random(f"{path.name} {seed}")  # noqa: S311
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    try:
        yield
    finally:
        for file, content in kept.items():
            file.write_bytes(content)


def check_flips(
    files: list[Path], arguments: list[str], *, remedy: str, capsys: pytest.CaptureFixture[str]
) -> dict[str, int]:
    """Return how many flips of each file were refused, after comparing the answers of the others."""
    expected = ask(arguments, capsys)[1]
    refused: dict[str, int] = {}
    for path in files:
        for seed in range(FLIPS):
            with flipped(path, seed=seed):
                code, out, err = ask(arguments, capsys)
            place = f"{path.name}, flip {seed}: {err}"
            if code == 0:
                assert out == expected, place
                continue
            assert code == 2, place
            assert len(err.splitlines()) == 1, place
            assert remedy in err, place
            assert path.name in err, place
            refused[path.name] = refused.get(path.name, 0) + 1
    return refused


def test_a_flipped_byte_in_any_file_that_predict_reads_is_refused_or_changes_nothing(
    used: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["predict", RUN, VIDEO, "--tsv"]
    assert ask(arguments, capsys)[0] == 0
    assert (Path(RUN) / CALIBRATION_NAME).is_file()
    files = list_read(arguments, below=used.results(), capsys=capsys)
    names = {path.name for path in files}
    assert {"run.yaml", "metrics.json", "heads.safetensors", "model.safetensors", "manifest.tsv"} <= names
    assert {"class_embeddings.safetensors", "index.json", "shard-0.h5", CALIBRATION_NAME} <= names
    assert {".predictions.tsv.made", ".heads.safetensors.made"} <= names
    refused = check_flips(files, arguments, remedy="run ", capsys=capsys)
    for name in ("run.yaml", "metrics.json", "heads.safetensors", "manifest.tsv", "class_embeddings.safetensors"):
        assert refused[name] == FLIPS, "a flip that changes nothing is refused as well"
    assert refused["index.json"] % FLIPS == 0
    # It is fitted again.
    assert CALIBRATION_NAME not in refused


def test_a_flipped_byte_in_any_file_of_a_bundle_is_refused(used: Project, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = used.folder / "bundle"
    assert ask(["export", RUN, str(bundle)], capsys)[0] == 0
    arguments = ["predict", str(bundle), VIDEO, "--tsv"]
    files = list_read(arguments, below=bundle, capsys=capsys)
    assert {"bundle.json", "head.safetensors", "motion_network.safetensors", "labels.txt"} <= {p.name for p in files}
    refused = check_flips(files, arguments, remedy="export", capsys=capsys)
    assert refused == dict.fromkeys({path.name for path in files}, FLIPS)


def test_a_flipped_byte_in_any_file_that_search_reads_is_refused_or_changes_nothing(
    used: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["search", "results/toy", "--video", VIDEO, "--tsv"]
    assert ask(arguments, capsys)[0] == 0
    files = list_read(arguments, below=used.folder / "results", capsys=capsys)
    files += [path for path in (used.folder / "results/.cache/search").rglob("vectors.f32") if path not in files]
    assert {"index.json", "run.yaml", "vectors.f32", "table.npz"} <= {path.name for path in files}
    refused = check_flips(files, arguments, remedy="run ", capsys=capsys)
    assert refused["run.yaml"] == refused["index.json"] == FLIPS
    assert not refused.keys() & {"vectors.f32", "table.npz", "digests.json"}, "these are built again"


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("appearance/clip/index.json", lambda store: store.matrix("appearance/clip")),
        ("motion/original/index.json", lambda store: store.video_ids("motion/original")),
        ("manifest.tsv", lambda store: store.labels(split=1)),
    ],
)
def test_a_flipped_byte_in_an_index_or_the_manifest_is_refused_by_the_feature_store(
    used: Project, name: str, read: Callable[[FeatureStore], object]
) -> None:
    for seed in range(3 * FLIPS):
        with (
            flipped(used.results() / name, seed=seed),
            FeatureStore(used.results()) as store,
            pytest.raises(MoclipError, match=f"{Path(name).name}: edited or damaged.*run the workflow again"),
        ):
            read(store)
    with FeatureStore(used.results()) as store:
        assert np.isfinite(store.matrix("appearance/clip")[1]).all()


def test_a_settings_file_edited_by_hand_is_refused_with_what_makes_it_again(
    used: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    path = used.folder / RUN / "run.yaml"
    before = path.read_bytes()
    path.write_bytes(before + b"\n")
    try:
        code, _, err = ask(["predict", RUN, VIDEO], capsys)
    finally:
        path.write_bytes(before)
    assert code == 2
    assert f"{RUN}/run.yaml: edited or damaged: expected the SHA-256 " in err
    assert "run the workflow again, which makes it again" in err


def test_a_run_without_its_records_is_refused_and_says_how_to_copy_it(
    used: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    record = used.folder / RUN / ".predictions.tsv.made"
    content = record.read_bytes()
    record.unlink()
    try:
        code, _, err = ask(["predict", RUN, VIDEO], capsys)
    finally:
        record.write_bytes(content)
    assert code == 2
    assert "copy results with their hidden files" in err
