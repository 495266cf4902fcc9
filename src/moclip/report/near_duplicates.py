"""The section of the data card about near-duplicates: sets that cross subsets of a split, with pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moclip.core.images import jpeg_uri, resize_image
from moclip.dataset.groups import is_doubtful, read_near_duplicates
from moclip.errors import VideoError
from moclip.report.pages import list_splits
from moclip.video.frames import read_frames

if TYPE_CHECKING:
    from moclip.config.dataset_settings import NearDuplicates

_MAX_SETS, _MAX_MEMBERS, _WIDTH_PX = 6, 4, 160

_LEARNED = ("train", "val")


def describe_near_duplicates(
    path: Path, *, manifest: Sequence[Mapping[str, Any]], root: Path, limits: "NearDuplicates"
) -> dict[str, Any]:
    """Return the section as plain data.

    Args:
        path: The table of near-duplicates.
        manifest: The rows of the manifest.
        root: The folder of the videos, for pictures.
        limits: The smallest similarities of near-duplicates, and whether they are kept together.
    """
    rows = {row["video_id"]: row for row in manifest}
    sets = [
        found
        for own in read_near_duplicates(path).values()
        if len(found := [r for r in own if r["video_id"] in rows]) > 1
    ]
    doubtful = [len(members) for members in sets if is_doubtful(len(members), num_videos=len(rows))]
    sets = [members for members in sets if not is_doubtful(len(members), num_videos=len(rows))]
    splits = []
    crossing: dict[int, str] = {}
    for split in list_splits(manifest):
        leaks = [place for place, members in enumerate(sets) if _crosses(members, rows=rows, split=split)]
        tested = sum(rows[member["video_id"]][split] == "test" for place in leaks for member in sets[place])
        total = sum(row[split] == "test" for row in manifest)
        if leaks:
            splits.append({"name": split.removeprefix("split_"), "sets": len(leaks), "videos": tested, "tests": total})
        crossing |= {place: split for place in leaks if place not in crossing}
    # The most similar first; where nothing crosses, those that are kept together, the most doubtful first.
    ranked = sorted(crossing, key=lambda place: (-_similarity_of(sets[place]), place))
    if limits.keep_together and not crossing:
        ranked = sorted(range(len(sets)), key=lambda place: (_similarity_of(sets[place]), place))
    first = list_splits(manifest)[0]
    return {
        "similarity": limits.similarity,
        "motion_similarity": limits.motion_similarity,
        "are_kept": limits.keep_together,
        "sets": len(sets),
        "videos": sum(map(len, sets)),
        "largest": max(map(len, sets), default=0),
        "doubtful": doubtful,
        "splits": splits,
        "shown": [
            [
                _describe_member(member, row=rows[member["video_id"]], split=crossing.get(place, first), root=root)
                for member in _choose_members(sets[place], rows=rows, split=crossing.get(place, first))
            ]
            for place in ranked[:_MAX_SETS]
        ],
    }


def _crosses(members: Sequence[Mapping[str, str]], *, rows: Mapping[str, Mapping[str, Any]], split: str) -> bool:
    subsets = {rows[member["video_id"]][split] for member in members}
    return "test" in subsets and not subsets.isdisjoint(_LEARNED)


def _similarity_of(members: Sequence[Mapping[str, str]]) -> float:
    return max(float(member["similarity"]) for member in members)


def _choose_members(
    members: Sequence[Mapping[str, str]], *, rows: Mapping[str, Mapping[str, Any]], split: str
) -> list[Mapping[str, str]]:
    # One of each subset before a second one of any.
    seen: dict[str, int] = {}
    turns = []
    for member in members:
        subset = rows[member["video_id"]][split]
        turns.append((seen.setdefault(subset, 0), member["video_id"], member))
        seen[subset] += 1
    return [member for *_, member in sorted(turns, key=lambda turn: turn[:2])[:_MAX_MEMBERS]]


def _describe_member(member: Mapping[str, str], *, row: Mapping[str, Any], split: str, root: Path) -> dict[str, Any]:
    picture, note = "", ""
    try:
        image = read_frames(root / row["path"], video_id=row["video_id"], choose=lambda count: [count // 2]).images[0]
        height_px = max(1, round(image.shape[0] * _WIDTH_PX / image.shape[1]))
        picture = jpeg_uri(resize_image(image, width_px=_WIDTH_PX, height_px=height_px))
    except VideoError as error:
        note = str(error)
    where = f"{row[split] or 'unused'} of split {split.removeprefix('split_')}"
    return {**member, "class_name": row["class_name"], "where": where, "picture": picture, "note": note}
