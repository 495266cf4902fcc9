"""The embeddings that a run reads are those of the videos it asks for, in the order it asks for them."""

from pathlib import Path

import numpy as np

from moclip.cache.index import FeatureTable
from moclip.cache.tables import Stream, load_stream, shared_videos
from tests.unit.cache.test_index import build, build_extractor, videos_of


def stream_of(*video_ids: str, counts: tuple[int, ...] = ()) -> Stream:
    offsets = np.concatenate([[0], np.cumsum(counts or [1] * len(video_ids))]).astype(np.int64)
    values = np.arange(1, offsets[-1] + 1, dtype=np.float32)[:, None]
    table = FeatureTable(video_ids=video_ids, values=values, offsets=offsets, rejected={})
    rows = {video_id: row for row, video_id in enumerate(video_ids)}
    return Stream(rows=rows, values=values[offsets[:-1]], rejected={}, table=table)


def test_every_frame_of_a_video_is_there_and_the_mask_tells_where_it_has_fewer() -> None:
    frames, mask = stream_of("a", "b", counts=(1, 3)).select_frames(["b", "a"], num_frames=3)
    assert frames[:, :, 0].tolist() == [[2, 3, 4], [1, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_the_most_frames_are_those_of_the_videos_asked_about() -> None:
    stream = stream_of("a", "b", "c", counts=(1, 3, 2))
    assert [stream.most_frames(ids) for ids in (["a", "c"], ["b"], ["absent"])] == [2, 3, 0]


def test_frames_of_a_video_are_averaged_and_rows_follow_the_order_asked_for(tmp_path: Path) -> None:
    index = build(tmp_path, build_extractor(), shards=[videos_of(1, 3), videos_of(2)])
    stream = load_stream(index)
    np.testing.assert_array_equal(stream.select(["v2", "v1"])[:, 0], [2, 1])
    assert stream.values.shape == (3, 3)


def test_only_videos_with_every_stream_are_shared() -> None:
    one, other = stream_of("a", "b"), stream_of("b", "c")
    assert shared_videos(["c", "b", "a"], streams=[one, other]) == ["b"]
