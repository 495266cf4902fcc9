"""What is read off the vectors of a video is what its encoder was told."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moclip.motion.container_info import FACTS, measure_video, spell_source
from moclip.motion.vectors import NO_VECTOR
from moclip.video.motion_vectors import read_motion
from moclip.video.transcode import GOP, HEIGHT_PX, RECIPE, WIDTH_PX
from moclip.video.writer import VideoCodec, write_video
from tests.unit.motion.test_fields import make_motion, pan


def test_cells_without_a_vector_with_a_still_one_and_with_a_moving_one_are_told_apart() -> None:
    vectors = pan(4, 0)
    vectors[0], vectors[1] = NO_VECTOR, 0
    past = measure_video(make_motion({1: vectors, 2: pan(0, 4)}, types="IPP")).past
    assert (past.fields, past.cells, past.vectors, past.moving) == (2, 96, 88, 80)


def test_a_vector_with_one_component_of_zero_moves() -> None:
    assert measure_video(make_motion({1: pan(0, 1)}, types="IP")).past.moving == 48


def test_gops_reach_from_keyframe_to_keyframe_and_what_follows_the_last_is_not_measured() -> None:
    facts = measure_video(make_motion({}, types="IPPIPIPPPP"))
    assert facts.gop_lengths == (3, 2)
    assert facts.gop_length == 3
    assert np.isnan(measure_video(make_motion({}, types="IPPP")).gop_length)


def test_an_intra_frame_that_is_no_keyframe_ends_a_gop() -> None:
    motion = make_motion({}, types="IPIP", is_keyframe=np.array([True, False, False, False]))
    assert measure_video(motion).gop_lengths == (2,)


def test_a_video_lasts_from_its_first_frame_to_the_end_of_its_last() -> None:
    motion = make_motion({}, types="IPPP")
    assert measure_video(motion).duration_seconds == pytest.approx(4 / 25)
    unknown = replace(motion, time_seconds=np.full(4, np.nan), frame_rate=10.0)
    assert measure_video(unknown).duration_seconds == pytest.approx(0.4)
    assert np.isnan(measure_video(replace(unknown, frame_rate=float("nan"))).duration_seconds)


@pytest.mark.parametrize(("codec", "max_b_frames", "gop"), [("h264", 0, 5), ("h264", 2, 8), ("mpeg4", 0, 4)])
def test_the_facts_of_an_encoded_video_are_those_it_was_encoded_with(
    tmp_path: Path, codec: VideoCodec, max_b_frames: int, gop: int
) -> None:
    rng = np.random.default_rng(0)
    frames = np.repeat(rng.integers(0, 255, (1, 64, 80, 3), dtype=np.uint8), 24, axis=0)
    for index, frame in enumerate(frames):
        frame[24:40, 8 + index : 24 + index] = frames[0, :16, :16]
    path = tmp_path / ("a.mp4" if codec == "h264" else "a.avi")
    write_video(path, frames, codec=codec, frame_rate=30, gop=gop, max_b_frames=max_b_frames)
    facts = measure_video(read_motion(path, video_id="a"))
    values = {fact.name: fact.value(facts) for fact in FACTS}
    assert set(facts.gop_lengths) == {gop}
    assert (facts.b_share > 0) == (max_b_frames > 0)
    assert (values["codec"], values["frame_rate"], values["num_frames"]) == (codec, 30.0, 24.0)
    assert (values["size"], values["source"], values["gop_length"]) == ("80\N{MULTIPLICATION SIGN}64", "original", gop)
    assert values["duration"] == pytest.approx(0.8)
    assert sum(facts.picture_types.values()) == 24
    assert 0 < facts.past.moving < facts.past.cells


def test_the_recipe_of_transcoding_is_spelled_out() -> None:
    words = spell_source(RECIPE)
    assert "MPEG-4 part 2" in words
    assert f"{WIDTH_PX}\N{MULTIPLICATION SIGN}{HEIGHT_PX} px" in words
    assert f"every {GOP} frames, no B-frames" in words
    assert spell_source("something new") == "something new"
