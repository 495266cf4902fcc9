"""The data card: what the videos of a dataset are made of, read from the cached motion vectors in one pass."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moclip.container_facts import FACTS, VideoFacts, measure_video
from moclip.datacard_page import CardFact, CardVariant, build_datacard
from moclip.features import list_rejects, open_indexed, read_index
from moclip.files import replace_atomically
from moclip.leaks import check_leak
from moclip.manifest import read_manifest
from moclip.motion import motion_from_row
from moclip.page import list_splits

_log = logging.getLogger(__name__)

# A card of videos that leak nothing raises an alarm this often, by each of its motion variants.
ALARM_RATE = 0.01
_SEEN = ("train", "val")


def write_datacard(output: Path, *, dataset_name: str, manifest: Path, indexes: Sequence[Path]) -> None:
    """Write the page; an index lies at `.../motion/{variant}/index.json`.

    Raises:
        ShardError: A shard is missing, damaged or stale.
        DatasetError: The manifest is missing or is none.
    """
    rows = [{str(key): value for key, value in row.items()} for row in read_manifest(manifest).to_dict("records")]
    variants = [_read_variant(index, manifest=rows) for index in indexes]
    page = build_datacard(dataset_name, manifest=rows, variants=variants, alarm_rate=ALARM_RATE)
    with replace_atomically(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def measure_shards(path: Path) -> dict[str, VideoFacts]:
    """Return the facts of every video that has vectors behind the index at `path`.

    Videos are read one by one, so that memory holds the vectors of one.
    """
    index = read_index(path)
    videos: dict[str, VideoFacts] = {}
    for indexed in index.shards:
        with open_indexed(index, indexed) as shard:
            for place, reason in enumerate(shard.reject_reasons):
                if not reason:
                    row = shard.read_row_at(place)
                    videos[row.video_id] = measure_video(motion_from_row(row.values))
        _log.info("%s: %d videos measured so far", indexed.file, len(videos))
    return videos


def check_facts(
    videos: Mapping[str, VideoFacts], *, manifest: Sequence[Mapping[str, Any]], alarm_rate: float
) -> list[CardFact]:
    """Return every fact with its values, and how well those of the train and validation videos tell the class.

    The test videos of the first split take no part. Facts that are the same in all videos are not checked; the others
    share the alarm rate.
    """
    split = list_splits(manifest)[0]
    seen = [row for row in manifest if row[split] in _SEEN]
    measured = [row for row in seen if row["video_id"] in videos]
    kept = {row["video_id"]: "with vectors" if row["video_id"] in videos else "left out" for row in manifest}
    columns = [
        (fact.name, fact.label, {name: fact.value(facts) for name, facts in sorted(videos.items())}, fact.missing)
        for fact in FACTS
    ]
    asked = [(*column, measured) for column in columns] + [("left_out", "Being left out", kept, "", seen)]
    varying = [len({repr(values[row["video_id"]]) for row in rows}) > 1 for *_, values, _, rows in asked]
    share = alarm_rate / max(1, sum(varying))
    return [
        CardFact(
            name=name,
            label=label,
            missing=missing,
            values=values,
            check=check_leak(
                [values[row["video_id"]] for row in rows],
                classes=[row["class_name"] for row in rows],
                groups=[row["group"] for row in rows],
                alarm_rate=share,
            )
            if varies
            else None,
        )
        for (name, label, values, missing, rows), varies in zip(asked, varying, strict=True)
    ]


def _read_variant(path: Path, *, manifest: Sequence[Mapping[str, Any]]) -> CardVariant:
    variant = path.parts[-2]
    videos = measure_shards(path)
    rejects = [
        {"video_id": video_id, "stage": "motion", "variant": variant, "reason": reason, "detail": detail}
        for video_id, reason, detail in list_rejects(path)
    ]
    facts = check_facts(videos, manifest=manifest, alarm_rate=ALARM_RATE)
    for fact in facts:
        _log.info("%s: %s: %s", variant, fact.label, fact.check or "the same in all videos")
    return CardVariant(name=variant, videos=videos, rejects=rejects, facts=facts)
