"""The data card says what is in the shards, and names the facts that tell the class."""

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moclip.config.dataset_settings import Dataset, NearDuplicates
from moclip.config.settings import MotionVariant
from moclip.core.files import write_tsv
from moclip.dataset.groups import NEAR_COLUMNS
from moclip.dataset.manifest import read_manifest
from moclip.errors import ShardError
from moclip.extraction.extractor import Video
from moclip.extraction.motion import build_motion_extractor
from moclip.motion.container_info import VectorCounts, VideoFacts
from moclip.report.datacard import ALARM_RATE, check_facts, measure_shards, write_datacard
from moclip.report.datacard_page import CardVariant, build_card, render_card
from moclip.report.near_duplicates import describe_near_duplicates
from moclip.video.transcode import RECIPE
from moclip.video.writer import write_video
from tests.unit.cache.test_index import build
from tests.unit.report.test_results import EVIL, Page

NUM_GROUPS = 8


def make_facts(**changes: Any) -> VideoFacts:
    values: dict[str, Any] = {
        "codec_name": "mpeg4",
        "source": "original",
        "frame_rate": 25.0,
        "width_px": 320,
        "height_px": 240,
        "rotation_degrees": 0,
        "num_frames": 100,
        "duration_seconds": 4.0,
        "gop_lengths": (12,) * 8,
        "picture_types": {"I": 9, "P": 91},
        "past": VectorCounts(fields=91, cells=91 * 1200, vectors=91 * 1100, moving=91 * 500),
        "future": VectorCounts(fields=0, cells=0, vectors=0, moving=0),
    }
    return VideoFacts(**values | changes)


def make_manifest(num_classes: int, *, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Three videos in each of the groups of each class; one group in four is test."""
    return [
        {
            "video_id": f"c{number}/g{group}-{clip}",
            "class_name": names[number] if names else f"Class{number}",
            "class_index": number,
            "group": f"c{number}/g{group}",
            "split_1": ("test", "train", "train", "val")[group % 4],
        }
        for number in range(num_classes)
        for group in range(NUM_GROUPS)
        for clip in range(3)
    ]


def make_card(manifest: Sequence[Mapping[str, Any]], videos: Mapping[str, VideoFacts], **changes: Any) -> str:
    facts = check_facts(videos, manifest=manifest, alarm_rate=ALARM_RATE)
    variant = CardVariant(name="original", videos=videos, rejects=changes.pop("rejects", ()), facts=facts)
    request = {"manifest": manifest, "variants": [variant], "alarm_rate": ALARM_RATE}
    card = build_card(changes.pop("name", "toy"), **{**request, **changes})
    return render_card(json.loads(json.dumps(card, allow_nan=False)))


@pytest.fixture(scope="module")
def leaking() -> str:
    """A card of videos whose class 1 has a frame rate of its own."""
    manifest = make_manifest(4)
    return make_card(
        manifest,
        {row["video_id"]: make_facts(frame_rate=30000 / 1001 if row["class_index"] == 1 else 25.0) for row in manifest},
    )


def test_a_leak_stands_in_a_red_box_with_its_figure_and_that_of_a_guess(leaking: str) -> None:
    page = Page(leaking)
    boxes = [attributes for tag, attributes in page.tags if tag == "div" and attributes.get("class") == "alarm"]
    assert len(boxes) == 1
    assert "Frame rate alone predicts the class of 50.0\N{NO-BREAK SPACE}% of the videos" in page.text
    assert "a guess is right for 25.0\N{NO-BREAK SPACE}% (2.0 times as good)" in page.text
    assert "Classes and frame rate" in page.text
    assert "Classes and picture size" not in page.text


def test_without_a_leak_the_card_says_so(leaking: str) -> None:
    manifest = make_manifest(4)
    rng = np.random.default_rng(1)
    rate = {row["group"]: float(rng.choice((25, 30))) for row in manifest}
    page = Page(make_card(manifest, {row["video_id"]: make_facts(frame_rate=rate[row["group"]]) for row in manifest}))
    assert "No fact of the container predicts the class" in page.text
    assert "1 fact that differs" in page.text
    assert not [attributes for _, attributes in page.tags if attributes.get("class") == "alarm"]


def test_facts_that_are_the_same_in_all_videos_can_tell_nothing() -> None:
    manifest = make_manifest(4)
    page = Page(make_card(manifest, {row["video_id"]: make_facts() for row in manifest}))
    assert "every fact of the container is the same in all videos" in page.text


def test_the_test_videos_take_no_part_in_the_check() -> None:
    manifest = make_manifest(4)
    plain = {row["video_id"]: make_facts(num_frames=1 + int(row["video_id"][-1])) for row in manifest}
    marked = {
        row["video_id"]: make_facts(
            num_frames=1000 + row["class_index"] if row["split_1"] == "test" else 1 + int(row["video_id"][-1])
        )
        for row in manifest
    }
    checks = [
        [fact.check for fact in check_facts(videos, manifest=manifest, alarm_rate=0.01)] for videos in (plain, marked)
    ]
    assert checks[0] == checks[1]


def test_being_left_out_is_a_fact_that_may_tell_the_class() -> None:
    manifest = make_manifest(4)
    videos = {row["video_id"]: make_facts() for row in manifest if row["class_index"]}
    rejects = [
        {
            "video_id": row["video_id"],
            "stage": "motion",
            "variant": "original",
            "reason": "no_motion_vectors",
            "detail": "vp9 exports none",
        }
        for row in manifest
        if not row["class_index"]
    ]
    page = Page(make_card(manifest, videos, rejects=rejects))
    assert "Being left out alone predicts the class of 50.0" in page.text
    assert "the codec wrote none, or none is exported for it" in page.text


def test_too_few_groups_are_said_to_leave_it_open() -> None:
    manifest = [row for row in make_manifest(2) if row["group"][-1] in "13"]
    page = Page(
        make_card(manifest, {row["video_id"]: make_facts(num_frames=1 + int(row["video_id"][-1])) for row in manifest})
    )
    assert "Not known: 4 groups are too few" in page.text


def test_vectors_are_counted_over_all_frames_by_codec() -> None:
    manifest = make_manifest(2)
    half = VectorCounts(fields=50, cells=50 * 1200, vectors=50 * 300, moving=0)
    videos = {
        row["video_id"]: make_facts(codec_name="h264", past=half, future=half) if row["class_index"] else make_facts()
        for row in manifest
    }
    html = make_card(manifest, videos)
    line = html[html.index('<th scope="row">h264</th>') :].split("</tr>")[0]
    numbers = re.findall(r"<td[^>]*>([^<]*)</td>", line)
    assert numbers == ["24", "2,400", "9.0", "91.0", "0.0", "0.0", "50.0", "25.0", "0.0", "50.0", "300"]


def test_every_source_is_spelled_out_with_its_number_of_videos() -> None:
    manifest = make_manifest(2)
    videos = {row["video_id"]: make_facts(source=RECIPE if row["class_index"] else "original") for row in manifest}
    page = Page(make_card(manifest, videos))
    assert page.text.count("24 videos") >= 2
    assert "a keyframe every 12 frames, no B-frames and the quantizer 2" in page.text


def test_nothing_is_fetched_and_links_lead_somewhere(leaking: str) -> None:
    page = Page(leaking)
    targets = {attributes.get("id") for _, attributes in page.tags}
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert "url(" not in (attributes.get("style") or "")
        if tag == "a":
            link = str(attributes["href"])
            assert link == "report.html" or link[1:] in targets


def test_names_with_markup_are_shown_and_not_obeyed() -> None:
    manifest = make_manifest(4, names=EVIL[:4])
    videos = {row["video_id"]: make_facts(codec_name=EVIL[row["class_index"]], source=EVIL[0]) for row in manifest}
    page = Page(make_card(manifest, videos, name=EVIL[0]))
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [attributes for _, attributes in page.tags if "onload" in attributes]
    assert all(name in page.text for name in EVIL[:4])


def test_unknown_values_and_no_video_at_all_still_make_a_page() -> None:
    manifest = make_manifest(2)
    odd = make_facts(frame_rate=math.nan, duration_seconds=math.nan, gop_lengths=(), past=make_facts().future)
    assert "nan" not in Page(make_card(manifest, {row["video_id"]: odd for row in manifest})).text
    assert "No video has vectors" in Page(make_card(manifest, {})).text
    assert "no experiment reads motion" in Page(make_card(manifest, {}, variants=[])).text


def test_a_hundred_and_one_classes_stay_small() -> None:
    manifest = make_manifest(101)
    rng = np.random.default_rng(0)
    videos = {
        row["video_id"]: make_facts(
            num_frames=int(rng.integers(30, 900)), duration_seconds=float(rng.uniform(1, 30)), frame_rate=rate
        )
        for row, rate in zip(manifest, rng.choice([25.0, 29.97, 30.0], len(manifest)).tolist(), strict=True)
    }
    html = make_card(manifest, videos)
    Page(html)
    assert len(html.encode()) < 500_000


def write_dataset(folder: Path, *, rates: Mapping[str, Sequence[int]]) -> tuple[Path, Path]:
    """Encode a video for each class and frame rate; return the manifest and the index over their motion."""
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (48, 80, 3), dtype=np.uint8)
    videos, rows = [], []
    for class_index, (name, own) in enumerate(rates.items()):
        for number, rate in enumerate(own):
            video = Video(
                video_id=f"{name}{number:02d}", path=folder / f"{name}{number:02d}.avi", fingerprint=f"{name}{number}"
            )
            frames = [ground[:, step : step + 64] for step in range(6)]
            write_video(video.path, frames, codec="mpeg4", frame_rate=rate, gop=3)
            videos.append(video)
            rows.append(
                [video.video_id, video.path.name, name, class_index, video.video_id, video.fingerprint, 0, "train"]
            )
    broken = Video(video_id="broken", path=folder / "broken.avi", fingerprint="x")
    broken.path.write_bytes(b"no video")
    rows.append(["broken", "broken.avi", "A", 0, "broken", "x", 0, "test"])
    manifest = folder / "manifest.tsv"
    with manifest.open("w", newline="") as file:
        table = csv.writer(file, dialect="excel-tab", lineterminator="\n")
        table.writerow(["video_id", "path", "class_name", "class_index", "group", "fingerprint", "shard", "split_1"])
        table.writerows(rows)
    extractor = build_motion_extractor(MotionVariant())
    index = build(folder / "motion" / "original", extractor, shards=[videos[::2], [*videos[1::2], broken]])
    return manifest, index


@pytest.mark.parametrize(
    ("rates", "leaks"),
    [({"A": [25] * 9, "B": [30] * 9}, True), ({"A": [25, 30, 25] * 3, "B": [30, 25, 30] * 3}, False)],
    ids=["each class its own", "mixed"],
)
def test_videos_on_the_disk_are_called_leaking_where_their_frame_rate_is_that_of_the_class(
    tmp_path: Path, rates: Mapping[str, Sequence[int]], leaks: bool
) -> None:
    manifest, index = write_dataset(tmp_path, rates=rates)
    card = tmp_path / "datacard.html"
    near = tmp_path / "near_duplicates.tsv"
    write_tsv(near, header=NEAR_COLUMNS, rows=[])
    dataset = Dataset(name="toy", layout="folders", root=str(tmp_path))
    write_datacard(
        card,
        card=tmp_path / "datacard.json",
        dataset=dataset,
        manifest=manifest,
        near_duplicates=near,
        indexes=[index],
    )
    page = Page(card.read_text(encoding="utf-8"))
    assert ("Frame rate alone predicts the class of 100.0" in page.text) == leaks
    assert ("No fact of the container predicts the class" in page.text) != leaks
    assert "FFmpeg cannot open the file" in page.text
    assert "No near-duplicates are in train or val and in test" in page.text
    facts = measure_shards(index)
    assert len(facts) == 18
    assert {entry.gop_lengths for entry in facts.values()} == {(3,)}


def test_near_duplicates_in_training_and_test_raise_an_alarm_with_pictures(tmp_path: Path) -> None:
    manifest, _ = write_dataset(tmp_path, rates={"A": [25] * 4, "B": [25] * 4})
    rows = [{str(key): value for key, value in row.items()} for row in read_manifest(manifest).to_dict("records")]
    tested, *trained = ("A00", "A01", "B00")
    rows = [{**row, "split_1": "test" if row["video_id"] == tested else row["split_1"]} for row in rows]
    near = tmp_path / "near_duplicates.tsv"
    found = [(1, tested, trained[0], 0.91, "appearance"), (1, trained[0], tested, 0.91, "appearance")]
    alike = [(2, trained[1], trained[0], 0.85, "motion"), (2, trained[0], trained[1], 0.85, "motion")]

    def describe(*sets: tuple[object, ...], are_kept: bool = False) -> dict[str, Any]:
        write_tsv(near, header=NEAR_COLUMNS, rows=sets)
        return describe_near_duplicates(
            near, manifest=rows, root=tmp_path, limits=NearDuplicates(keep_together=are_kept)
        )

    section = describe(*found, *alike[:1], (2, "broken", trained[1], 0.85, "motion"))
    assert [(split["sets"], split["videos"]) for split in section["splits"]] == [(2, 2)]
    pictures = [[bool(one["picture"]) for one in members] for members in section["shown"]]
    assert pictures == [[True, True], [True, False]]  # the most similar set first; a broken file has no picture
    card = build_card("toy", manifest=rows, variants=[], alarm_rate=ALARM_RATE, near=section)
    page = Page(render_card(json.loads(json.dumps(card))))
    assert "Yes: near-duplicates are in training and in test." in page.text
    assert f"test of split 1: {tested} (" in page.text
    assert (describe(*alike)["splits"], describe(*alike)["shown"]) == ([], [])
    assert len(describe(*alike, are_kept=True)["shown"]) == 1


def test_a_shard_that_changed_behind_the_index_is_refused(tmp_path: Path) -> None:
    _, index = write_dataset(tmp_path, rates={"A": [25, 25], "B": [25, 25]})
    (index.parent / "shard-0.h5").write_bytes((index.parent / "shard-1.h5").read_bytes())
    with pytest.raises(ShardError, match="stale"):
        measure_shards(index)
