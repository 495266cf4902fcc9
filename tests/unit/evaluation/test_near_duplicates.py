"""Near-duplicates are the transitive closure of similar pairs, in any order and for any size of the blocks."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moclip.config.settings import MotionVariant
from moclip.dataset.groups import read_near_duplicates
from moclip.evaluation import near_duplicates
from moclip.evaluation.near_duplicates import Descriptions, find_near_duplicates, join_sets, write_near_duplicates
from moclip.extraction.extractor import Video
from moclip.extraction.motion import build_motion_extractor
from moclip.video.writer import VideoCodec, write_video
from tests.unit.cache.test_index import build

LIMITS = {"appearance": 0.8, "motion": 0.9}


def describe(values: np.ndarray, measure: str = "appearance") -> Descriptions:
    return Descriptions(measure=measure, video_ids=[f"v{row:02d}" for row in range(len(values))], values=values)


def sets_of(*described: Descriptions, similarity: float = 0.8, copies=()) -> list[list[str]]:
    found = find_near_duplicates(described, copies=copies, similarity=similarity)
    sets = join_sets([(one, other.video_id) for one, others in found.items() for other in others])
    assert {name for members in sets for name in members} == found.keys()
    return sets


def closure(values: np.ndarray, similarity: float) -> list[list[str]]:
    """The sets by brute force."""
    centered = values - values.mean(axis=0)
    units = centered / np.linalg.norm(centered, axis=1, keepdims=True)
    near = units @ units.T >= similarity
    for _ in range(len(values)):
        near = near @ near
    return sorted(
        {tuple(f"v{other:02d}" for other in np.flatnonzero(row)) for row in near if row.sum() > 1},
        key=lambda one: one[0],
    )


@given(st.integers(0, 10**6), st.integers(3, 24), st.sampled_from([1, 2, 5, 512]), st.floats(0.3, 0.9))
def test_the_sets_are_the_transitive_closure_of_similar_pairs(
    seed: int, number: int, block: int, similarity: float
) -> None:
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(4, 6))
    values = (centers[rng.integers(0, 4, number)] + 0.5 * rng.normal(size=(number, 6))).astype(np.float32)
    expected = [list(members) for members in closure(values.astype(np.float64), similarity)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "_BLOCK", block)
        assert sets_of(describe(values), similarity=similarity) == expected


def test_a_chain_is_one_set_though_its_ends_differ() -> None:
    angles = np.deg2rad([0, 30, 60, 180, 270, 275])
    values = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    values -= values.mean(axis=0)  # what the search subtracts
    units = values / np.linalg.norm(values, axis=1, keepdims=True)
    chain = [["v00", "v01", "v02"], ["v04", "v05"]]
    assert units[0] @ units[2] < 0.8
    assert sets_of(describe(values)) == chain


def test_the_mean_of_all_videos_is_no_similarity() -> None:
    rng = np.random.default_rng(0)
    apart = rng.normal(size=(40, 64)).astype(np.float32)
    assert sets_of(describe(apart + 30)) == []  # any two have a cosine of 0.99


def test_either_measure_and_equal_bytes_join_videos() -> None:
    rng = np.random.default_rng(1)
    appearance, motion = rng.normal(size=(2, 12, 32)).astype(np.float32)
    appearance[1] = appearance[0] + 0.01
    motion[2] = motion[1] + 0.01
    sets = sets_of(describe(appearance), describe(motion, "motion"), copies=[["v05"], ["v06", "v09", "v11"]])
    assert sets == [["v00", "v01", "v02"], ["v06", "v09", "v11"]]


def test_a_copy_of_a_video_in_another_codec_is_found_by_its_motion(tmp_path: Path) -> None:
    def render(name: str, *, seed: int, codec: VideoCodec, size: int) -> Video:
        rng = np.random.default_rng(seed)
        path = np.cumsum(np.repeat(rng.integers(-2, 3, (8, 2)), 5, axis=0), axis=0)
        texture = np.kron(np.random.default_rng(9).integers(0, 255, (24, 24, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        frames = [np.roll(texture, shift, axis=(0, 1))[:128, :128] for shift in path]
        step = 128 // size
        write_video(tmp_path / name, [frame[::step, ::step] for frame in frames], codec=codec, frame_rate=25, gop=12)
        return Video(video_id=name[:-4], path=tmp_path / name, fingerprint=name)

    videos = [render(f"v{seed}.mp4", seed=seed, codec="mpeg4", size=128) for seed in range(5)]
    videos.append(render("copy.mp4", seed=2, codec="h264", size=64))
    index = build(tmp_path / "motion", build_motion_extractor(MotionVariant()), shards=[videos[:3], videos[3:]])
    manifest = tmp_path / "manifest.tsv"
    header = ["video_id", "path", "class_name", "class_index", "group", "fingerprint", "shard", "split_1"]
    rows = [
        [v.video_id, v.path.name, "a", "0", v.video_id, v.fingerprint.replace(".", ""), "0", "train"] for v in videos
    ]
    manifest.write_text("\n".join("\t".join(row) for row in [header, *rows]) + "\n")
    output = tmp_path / "near.tsv"
    for source in ([index], sorted(index.parent.glob("*.h5"))):
        write_near_duplicates(
            output, manifest=manifest, features={"appearance": [], "motion": source}, similarity=LIMITS
        )
        (found,) = read_near_duplicates(output).values()
        assert {(row["video_id"], row["nearest"], row["measure"]) for row in found} == {
            ("copy", "v2", "motion"),
            ("v2", "copy", "motion"),
        }


def test_a_measure_that_joins_most_videos_is_left_out_with_all_its_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    appearance, motion = rng.normal(size=(2, 120, 64)).astype(np.float32)
    appearance[:70] += 30 * rng.normal(size=64)  # no scene is as large
    appearance[80] = appearance[81] + 0.001
    motion[3] = motion[90] + 0.001
    described = {"appearance": describe(appearance), "motion": describe(motion, "motion")}
    described = {
        name: Descriptions(measure=name, video_ids=[f"v{row:03d}" for row in range(120)], values=one.values)
        for name, one in described.items()
    }
    monkeypatch.setattr(near_duplicates, "_describe", lambda measure, shards: described[measure])
    manifest, output = tmp_path / "manifest.tsv", tmp_path / "near.tsv"
    header = ["video_id", "path", "class_name", "class_index", "group", "fingerprint", "shard", "split_1"]
    rows = [[f"v{n:03d}", f"v{n:03d}.mp4", "a", "0", "g", f"f{n % 110}", "0", "train"] for n in range(120)]
    manifest.write_text("\n".join("\t".join(row) for row in [header, *rows]) + "\n")
    write_near_duplicates(output, manifest=manifest, features={"appearance": [], "motion": []}, similarity=LIMITS)
    sets = read_near_duplicates(output)
    assert [len(members) for members in sets.values()] == [2] * 3 + [3] + [2] * 6 + [70]
    assert {row["measure"] for members in list(sets.values())[:-1] for row in members} == {"bytes", "motion"}
    assert [row["video_id"] for row in sets["4"]] == ["v003", "v090", "v113"]
