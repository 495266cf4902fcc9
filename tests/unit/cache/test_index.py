"""What stands behind an index is what was extracted, or an error."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from moclip.cache.format import Field, Row
from moclip.cache.index import list_rejects, load_table, locate_videos, read_index, write_index
from moclip.errors import ShardError, VideoError
from moclip.extraction.extractor import Extractor, ShardJob, Video, expected_signature, extract_shard, shard_file

FIELDS = (Field(name="embedding", kind="packed"),)


def build_extractor(offset: float = 0.0, bad: Sequence[str] = ()) -> Extractor:
    def extract(videos: Sequence[Video]) -> Iterator[Row]:
        for video in videos:
            if video.video_id in bad:
                yield Row(
                    video_id=video.video_id,
                    row_key=video.fingerprint,
                    values={},
                    reject_reason="unreadable",
                    reject_detail="cut short",
                )
                continue
            value = np.full((2, 3), float(video.fingerprint) + offset, np.float32)
            yield Row(video_id=video.video_id, row_key=video.fingerprint, values={"embedding": value})

    return Extractor(
        name="test",
        version=1,
        parameters={"offset": offset, "bad": list(bad)},
        fields=FIELDS,
        row_key=lambda video: video.fingerprint,
        extract=extract,
        reads_videos=False,
    )


def videos_of(*numbers: int) -> list[Video]:
    return [Video(video_id=f"v{n}", path=Path(f"v{n}.avi"), fingerprint=str(n)) for n in numbers]


def build(
    folder: Path,
    extractor: Extractor,
    *,
    shards: Sequence[list[Video]],
    on_bad_video: str = "skip",
    subsets: Mapping[str, Collection[str]] | None = None,
) -> Path:
    for number, videos in enumerate(shards):
        job = ShardJob(
            dataset="toy",
            root=Path("unused"),
            shard=number,
            num_shards=len(shards),
            output=folder / shard_file(number),
            cache_dir=folder / "cache",
            on_bad_video=on_bad_video,
        )
        extract_shard(extractor, videos=videos, job=job)
    signatures = {shard_file(n): expected_signature(extractor, videos) for n, videos in enumerate(shards)}
    write_index(folder / "index.json", signatures=signatures, subsets=subsets)
    return folder / "index.json"


def test_the_table_holds_every_row_of_every_shard(tmp_path: Path) -> None:
    index = build(tmp_path, build_extractor(), shards=[videos_of(1, 3), videos_of(2)])
    table = load_table(index, field="embedding")
    assert table.video_ids == ("v1", "v3", "v2")
    np.testing.assert_array_equal(table.offsets, [0, 2, 4, 6])
    np.testing.assert_array_equal(table.values[:, 0], [1, 1, 3, 3, 2, 2])


def test_a_shard_without_videos_is_no_fault(tmp_path: Path) -> None:
    index = build(tmp_path, build_extractor(), shards=[videos_of(1), []])
    assert load_table(index, field="embedding").video_ids == ("v1",)


def test_equal_content_gives_an_equal_index_whatever_the_history(tmp_path: Path) -> None:
    fresh = build(tmp_path / "a", build_extractor(), shards=[videos_of(1, 2)])
    build(tmp_path / "b", build_extractor(), shards=[videos_of(1)])
    grown = build(tmp_path / "b", build_extractor(), shards=[videos_of(1, 2)])
    assert fresh.read_bytes() == grown.read_bytes()


def test_an_index_over_shards_of_other_parameters_is_refused(tmp_path: Path) -> None:
    build(tmp_path, build_extractor(), shards=[videos_of(1)])
    other = expected_signature(build_extractor(offset=1.0), videos_of(1))
    with pytest.raises(ShardError, match="stale: expected the signature"):
        write_index(tmp_path / "index.json", signatures={"shard-0.h5": other})


def test_a_shard_that_changed_behind_its_index_is_refused(tmp_path: Path) -> None:
    index = build(tmp_path, build_extractor(), shards=[videos_of(1)])
    kept = index.read_bytes()
    build(tmp_path, build_extractor(offset=1.0), shards=[videos_of(1)])
    index.write_bytes(kept)
    with pytest.raises(ShardError, match="stale: expected content"):
        load_table(index, field="embedding")


def test_rejected_videos_are_listed_with_their_reason_and_located_nowhere(tmp_path: Path) -> None:
    index = build(tmp_path, build_extractor(bad=["v2"]), shards=[videos_of(1, 2)])
    assert list_rejects(index) == [("v2", "unreadable", "cut short")]
    assert list(locate_videos(index, video_ids=["v2", "v1"])) == ["v1"]
    assert load_table(index, field="embedding").rejected == {"v2": "unreadable"}
    assert read_index(index).shards[0].num_rejected == 1


def test_a_bad_video_stops_the_job_where_that_is_asked_for_and_nothing_is_computed_twice(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="video v2: unreadable"):
        build(tmp_path, build_extractor(bad=["v2"]), shards=[videos_of(1, 2)], on_bad_video="fail")
    assert not (tmp_path / "shard-0.h5").exists()
    extractor = build_extractor(bad=["v2"])
    asked: list[str] = []

    def spy(videos: Sequence[Video]) -> Iterator[Row]:
        asked.extend(video.video_id for video in videos)
        yield from extractor.extract(videos)

    kept = Extractor(**{**extractor.__dict__, "extract": spy})
    build(tmp_path, kept, shards=[videos_of(1, 2)], on_bad_video="skip")
    assert asked == []


def test_features_of_no_video_at_all_are_an_error(tmp_path: Path) -> None:
    index = build(tmp_path, build_extractor(bad=["v1"]), shards=[videos_of(1)])
    with pytest.raises(ShardError, match=r"every video was rejected; see rejects\.tsv"):
        load_table(index, field="embedding")


def test_a_damaged_index_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(ShardError, match="expected an index of shards"):
        read_index(tmp_path / "index.json")


def test_the_digest_of_all_rows_is_the_same_for_any_number_of_shards(tmp_path: Path) -> None:
    one = read_index(build(tmp_path / "a", build_extractor(), shards=[videos_of(1, 2, 3)]))
    two = read_index(build(tmp_path / "b", build_extractor(), shards=[videos_of(3), videos_of(1, 2)]))
    other = read_index(build(tmp_path / "c", build_extractor(), shards=[videos_of(1, 2)]))
    assert one.content == two.content != other.content


def test_the_digest_of_a_subset_changes_with_its_rows_alone(tmp_path: Path) -> None:
    subsets = {"split_1/train": {"v1"}, "split_1/val": {"v3"}, "split_1/test": {"v2"}}
    before = read_index(build(tmp_path / "a", build_extractor(), shards=[videos_of(1, 3)], subsets=subsets))
    after = read_index(
        build(tmp_path / "b", build_extractor(), shards=[videos_of(1), videos_of(2, 3)], subsets=subsets)
    )
    other = read_index(build(tmp_path / "c", build_extractor(offset=1.0), shards=[videos_of(1, 3)], subsets=subsets))
    learned = [index.content_of(split=1, subsets=["train", "val"]) for index in (before, after, other)]
    assert learned[0] == learned[1] != learned[2]
    assert before.content_of(split=1, subsets=["test"]) != after.content_of(split=1, subsets=["test"])


def test_a_video_that_changes_its_subset_changes_both_digests(tmp_path: Path) -> None:
    before = {"split_1/train": {"v1", "v2"}, "split_1/test": {"v3"}}
    after = {"split_1/train": {"v1"}, "split_1/test": {"v2", "v3"}}
    one, other = (
        read_index(build(tmp_path / name, build_extractor(), shards=[videos_of(1, 2, 3)], subsets=subsets))
        for name, subsets in (("a", before), ("b", after))
    )
    assert one.content == other.content
    assert all(one.subsets[name] != other.subsets[name] for name in before)


def test_a_split_that_the_index_does_not_know_is_a_named_error(tmp_path: Path) -> None:
    index = read_index(build(tmp_path, build_extractor(), shards=[videos_of(1)], subsets={"split_1/train": {"v1"}}))
    with pytest.raises(ShardError, match=r"expected split 2, found \['split_1/train'\]; run again"):
        index.content_of(split=2, subsets=["train"])
