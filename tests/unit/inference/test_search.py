"""Search: moments between valleys, exactness, the file it maps, the contact sheet, and words for classes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moclip.cache.format import Field, Row
from moclip.cli.main import main
from moclip.config.settings import AppearanceVariant
from moclip.core.records import write_record
from moclip.errors import ConfigError, ModelError, ShardError
from moclip.inference.search import FrameIndex, find_moments, open_frame_index, rank_moments, search_frames
from moclip.inference.search_page import write_contact_sheet
from moclip.inference.settings import find_appearance
from moclip.inference.zero_shot import parse_classes, read_templates
from tests.shards import write_indexed_shard
from tests.unit.report.test_draw import Page

FIELDS = (
    Field(name="embedding", kind="packed", dtype="float32"),
    Field(name="frame_index", kind="packed", dtype="int32"),
    Field(name="time_seconds", kind="packed", dtype="float64"),
)


def write_features(folder: Path, videos: dict[str, np.ndarray], *, rejected: tuple[str, ...] = ()) -> Path:
    """Write one shard and its index; frame i of a video is shown at i / 2 s."""
    rows = [
        Row(
            video_id=name,
            row_key=name,
            values={
                "embedding": values.astype(np.float32),
                "frame_index": np.arange(len(values), dtype=np.int32) * 10,
                "time_seconds": np.arange(len(values)) / 2,
            },
        )
        for name, values in videos.items()
    ]
    rows += [Row(video_id=name, row_key=name, values={}, reject_reason="no_frames") for name in rejected]
    return write_indexed_shard(folder, rows, fields=FIELDS, extractor="appearance")


def test_a_moment_goes_from_the_valley_before_its_peak_to_the_valley_after_it() -> None:
    similarity = np.array([0.1, 0.5, 0.2, 0.6, 0.9, 0.7, 0.1, 0.4, 0.8])
    first, second = find_moments(similarity, limit=2)
    assert (first.start, first.peak, first.stop) == (2, 4, 6)
    assert (second.start, second.peak, second.stop) == (7, 8, 8)


def test_noise_on_the_way_down_is_no_valley() -> None:
    similarity = np.array([0.0, 0.4, 0.38, 0.8, 1.0, 0.7, 0.72, 0.3, 0.0])
    (moment,) = find_moments(similarity, limit=1)
    assert (moment.start, moment.stop) == (0, 8)


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40), st.integers(1, 6))
def test_moments_share_no_frame_and_each_holds_its_peak(values: list[float], limit: int) -> None:
    moments = find_moments(np.array(values, np.float32), limit=limit)
    taken = [frame for moment in moments for frame in range(moment.start, moment.stop + 1)]
    assert len(taken) == len(set(taken))
    assert all(moment.start <= moment.peak <= moment.stop for moment in moments)
    assert [moment.similarity for moment in moments] == sorted((m.similarity for m in moments), reverse=True)
    assert moments[0].similarity == max(np.float32(value) for value in values)


@given(st.lists(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=8), min_size=1, max_size=12))
def test_the_best_moments_of_all_videos_are_those_of_looking_at_every_video(videos: list[list[float]]) -> None:
    offsets = np.cumsum([0, *map(len, videos)])
    similarity = np.concatenate([np.array(video, np.float32) for video in videos])
    found = [moment.similarity for _, moment in rank_moments(similarity, offsets=offsets, limit=5, per_video=2)]
    everywhere = [m.similarity for video in videos for m in find_moments(np.array(video, np.float32), limit=2)]
    assert found == sorted(everywhere, reverse=True)[:5]


def test_the_search_is_exact_and_says_when(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    videos = {f"v{number:02}": rng.standard_normal((5, 16)) * (number + 1) for number in range(20)}
    index = write_features(tmp_path / "features", videos, rejected=("bad",))
    frames = open_frame_index(index, cache_dir=tmp_path / "cache")
    query = rng.standard_normal(16).astype(np.float32)
    (hit,) = search_frames(frames, query, limit=1)
    cosines = {
        (name, at): float(row @ query / np.linalg.norm(row) / np.linalg.norm(query))
        for name, rows in videos.items()
        for at, row in enumerate(rows)
    }
    name, at = max(cosines, key=lambda key: cosines[key])
    assert (hit.video_id, hit.peak_frame, hit.peak_seconds) == (name, 10 * at, at / 2)
    assert hit.similarity == pytest.approx(cosines[name, at], abs=1e-6)


def test_the_search_file_is_built_once_for_each_content(tmp_path: Path) -> None:
    index = write_features(tmp_path / "features", {"a": np.eye(4), "b": -np.eye(4)})
    first = open_frame_index(index, cache_dir=tmp_path)
    (file,) = (tmp_path / "search").glob("*/vectors.f32")
    time = file.stat().st_mtime_ns
    open_frame_index(index, cache_dir=tmp_path)
    assert file.stat().st_mtime_ns == time
    write_features(tmp_path / "features", {"a": np.eye(4)})
    second = open_frame_index(index, cache_dir=tmp_path)
    assert (len(first.vectors), len(second.vectors)) == (8, 4)


def test_a_search_file_that_was_cut_short_is_built_again(tmp_path: Path) -> None:
    index = write_features(tmp_path / "features", {"a": np.eye(4)})
    open_frame_index(index, cache_dir=tmp_path)
    (file,) = (tmp_path / "search").glob("*/vectors.f32")
    file.write_bytes(file.read_bytes()[:-4])
    assert open_frame_index(index, cache_dir=tmp_path).similarity(np.eye(4)[2].astype(np.float32)).tolist() == [
        0,
        0,
        1,
        0,
    ]


def test_a_query_of_another_width_or_without_length_is_refused(tmp_path: Path) -> None:
    frames = open_frame_index(write_features(tmp_path, {"a": np.eye(4)}), cache_dir=tmp_path)
    for query in (np.ones(3, np.float32), np.zeros(4, np.float32), np.full(4, np.nan, np.float32)):
        with pytest.raises(ShardError, match="expected a query"):
            frames.similarity(query)


def make_frames(video_id: str) -> FrameIndex:
    return FrameIndex(
        video_ids=(video_id,),
        offsets=np.array([0, 3]),
        vectors=np.eye(3, dtype=np.float32),
        frame_index=np.array([0, 5, 9], np.int32),
        time_seconds=np.array([0.0, 0.5, 0.9]),
    )


def test_the_contact_sheet_escapes_names_and_says_why_a_frame_is_missing(tmp_path: Path) -> None:
    name = '<img src=x onerror="alert(1)">'
    hits = search_frames(make_frames(name), np.array([0, 1, 0], np.float32), limit=3)
    failed = write_contact_sheet(
        tmp_path / "page.html", query="<script>alert(1)</script>", hits=hits, videos={name: tmp_path / "gone"}, facts=()
    )
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.images == []
    assert page.links == []
    assert "default-src 'none'" in page.policy
    assert "missing" in failed[0]


def test_classes_and_templates_are_read_as_they_are(tmp_path: Path) -> None:
    assert parse_classes(" a cat,a dog ,") == ("a cat", "a dog")
    for text in ("", "a cat", "a cat, a cat"):
        with pytest.raises(ConfigError, match="--classes"):
            parse_classes(text)
    (tmp_path / "lines.txt").write_text("# a comment\na photo of {}.\n\n{} in a video\n")
    (tmp_path / "list.yaml").write_text("templates: ['{}!']\n")
    assert read_templates(tmp_path / "lines.txt") == ("a photo of {}.", "{} in a video")
    assert read_templates(tmp_path / "list.yaml") == ("{}!",)
    with pytest.raises(ConfigError, match="templates"):
        read_templates(tmp_path / "absent.txt")


def write_dataset(folder: Path, repository: Path, *, weights: str) -> Path:
    """Write a dataset of two videos whose shard claims to be of some weights, and a run that uses them."""
    features = folder / "appearance/clip"
    write_indexed_shard(features, [], fields=FIELDS, extractor="appearance", parameters={"weights": weights})
    run = folder / "experiments/one/split-1/seed-0/run.yaml"
    run.parent.mkdir(parents=True)
    variant = AppearanceVariant(model=f"local-dir:{repository / 'resources/demo-clip'}").canonical()
    experiment = {"appearance": "clip", "methods": ["appearance"], "shots": 0}
    run.write_text(json.dumps({"split": 1, "seed": 0, "config": {"appearance": variant, "experiment": experiment}}))
    write_record([str(run)], rule="evaluate", params={})
    return folder


def test_an_encoder_with_other_weights_than_the_features_is_refused(tmp_path: Path, repository: Path) -> None:
    dataset = write_dataset(tmp_path / "results/toy", repository, weights="others")
    with pytest.raises(ModelError, match="others"):
        find_appearance(dataset)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda run: run.pop("seed"), "expected the settings of a run \\('seed'\\)"),
        (lambda run: run.update(config=None), "expected the settings of a run"),
        (lambda run: run["config"]["experiment"].update(methods="fusion"), "config.experiment: .*methods"),
        (lambda run: run["config"]["appearance"].pop("threads"), "config.appearance: .*the key `threads` is missing"),
        (
            lambda run: run["config"]["appearance"]["frames"].pop("count"),
            "config.appearance: .*the key `frames.count` is missing",
        ),
        (lambda run: run["config"]["appearance"].update(colour=1), "config.appearance: .*colour"),
    ],
)
def test_a_damaged_run_file_is_refused_with_its_path(
    tmp_path: Path, repository: Path, damage: Callable[[dict[str, Any]], object], expected: str
) -> None:
    dataset = write_dataset(tmp_path / "results/toy", repository, weights="others")
    path = dataset / "experiments/one/split-1/seed-0/run.yaml"
    run = json.loads(path.read_text())
    damage(run)
    path.write_text(json.dumps(run))
    write_record([str(path)], rule="evaluate", params={})
    with pytest.raises(ConfigError, match=f"run.yaml: {expected}"):
        find_appearance(dataset)


def test_faults_of_a_search_are_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["a", "--top", "0"], [], ["a", "--video", "b.mp4"], ["a"]):
        with pytest.raises(SystemExit) as stopped:
            main(["search", str(tmp_path), *arguments])
        assert stopped.value.code == 2
        assert capsys.readouterr().err.startswith("error: ")
