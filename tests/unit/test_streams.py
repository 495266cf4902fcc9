"""The embeddings that a run reads are those of the videos it asks for, in the order it asks for them."""

from pathlib import Path

import numpy as np

from moclip.streams import Stream, load_stream, shared_videos
from tests.unit.test_features import build, build_extractor, videos_of


def test_frames_of_a_video_are_averaged_and_rows_follow_the_order_asked_for(tmp_path: Path) -> None:
    index = build(tmp_path, build_extractor(), shards=[videos_of(1, 3), videos_of(2)])
    stream = load_stream(index)
    np.testing.assert_array_equal(stream.select(["v2", "v1"])[:, 0], [2, 1])
    assert stream.values.shape == (3, 3)


def test_only_videos_with_every_stream_are_shared() -> None:
    one = Stream(rows={"a": 0, "b": 1}, values=np.zeros((2, 1), np.float32), rejected={})
    other = Stream(rows={"b": 0, "c": 1}, values=np.zeros((2, 1), np.float32), rejected={"a": "unreadable"})
    assert shared_videos(["c", "b", "a"], streams=[one, other]) == ["b"]
