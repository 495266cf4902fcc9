"""Measure a dataset for its data card, in one pass over the cached motion vectors."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moclip.cache.index import list_rejects, open_indexed, read_index
from moclip.core.files import replace_atomically
from moclip.dataset.groups import describe_groups
from moclip.dataset.manifest import read_manifest
from moclip.evaluation.leakage import LeakCheck, check_leak
from moclip.motion.container_info import FACTS, VideoFacts, measure_video
from moclip.motion.vectors import motion_from_row
from moclip.report.datacard_page import CardFact, CardVariant, build_card, render_card
from moclip.report.near_duplicates import describe_near_duplicates
from moclip.report.pages import list_splits
from moclip.workflow.paths import locate

if TYPE_CHECKING:
    from moclip.config.dataset_settings import Dataset

_log = logging.getLogger(__name__)

# A card of videos that leak nothing raises an alarm this often, by each of its motion variants.
ALARM_RATE = 0.01

_SEEN = ("train", "val")


def write_datacard(
    output: Path, *, card: Path, dataset: "Dataset", manifest: Path, near_duplicates: Path, indexes: Sequence[Path]
) -> None:
    """Write the page, and its content as JSON to `card`, from near-duplicates and the indexes of motion variants.

    Raises:
        ShardError: A shard is missing, damaged or stale.
        DatasetError: The manifest is missing or is none.
    """
    rows = [{str(key): value for key, value in row.items()} for row in read_manifest(manifest).to_dict("records")]
    variants = [_read_variant(index, manifest=rows) for index in indexes]
    near = describe_near_duplicates(
        near_duplicates, manifest=rows, root=Path(dataset.root), limits=dataset.near_duplicates
    )
    groups = describe_groups(dataset, groups={row["video_id"]: row["group"] for row in rows})
    content = build_card(
        dataset.name, manifest=rows, variants=variants, alarm_rate=ALARM_RATE, groups=groups, near=near
    )
    for path, text in ((output, render_card(content)), (card, json.dumps(content, indent=1, allow_nan=False) + "\n")):
        with replace_atomically(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


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
    kept = {row["video_id"]: "with vectors" if row["video_id"] in videos else "left out" for row in manifest}
    facts = [
        CardFact(
            name=fact.name,
            label=fact.label,
            missing=fact.missing,
            values={video_id: fact.value(measured) for video_id, measured in sorted(videos.items())},
        )
        for fact in FACTS
    ]
    facts.append(CardFact(name="left_out", label="Being left out", missing="", values=kept))
    rows_of = {fact.name: [row for row in seen if row["video_id"] in fact.values] for fact in facts}
    varying = {fact.name for fact in facts if _differs(fact, rows=rows_of[fact.name])}
    share = alarm_rate / max(1, len(varying))
    return [
        replace(fact, check=_check(fact, rows=rows_of[fact.name], alarm_rate=share)) if fact.name in varying else fact
        for fact in facts
    ]


def _differs(fact: CardFact, *, rows: Sequence[Mapping[str, Any]]) -> bool:
    # By their text, in which nan equals nan.
    return len({repr(fact.values[row["video_id"]]) for row in rows}) > 1


def _check(fact: CardFact, *, rows: Sequence[Mapping[str, Any]], alarm_rate: float) -> LeakCheck:
    return check_leak(
        [fact.values[row["video_id"]] for row in rows],
        classes=[row["class_name"] for row in rows],
        groups=[row["group"] for row in rows],
        alarm_rate=alarm_rate,
    )


def _read_variant(path: Path, *, manifest: Sequence[Mapping[str, Any]]) -> CardVariant:
    variant = locate(path, "motion_index", "index")[1]["variant"]
    videos = measure_shards(path)
    rejects = [
        {"video_id": video_id, "stage": "motion", "variant": variant, "reason": reason, "detail": detail}
        for video_id, reason, detail in list_rejects(path)
    ]
    facts = check_facts(videos, manifest=manifest, alarm_rate=ALARM_RATE)
    for fact in facts:
        _log.info("%s: %s: %s", variant, fact.label, fact.check or "the same in all videos")
    return CardVariant(name=variant, videos=videos, rejects=rejects, facts=facts)
