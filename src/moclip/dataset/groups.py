"""Groups: videos that share a source, which must not be in different subsets of a split."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from moclip.config.section import FOLDER_RULE
from moclip.core.files import read_tsv
from moclip.dataset.lists import LabelledVideo
from moclip.errors import DatasetError

if TYPE_CHECKING:
    from moclip.config.dataset_settings import Dataset

# Columns of the table of near-duplicates: a row for each video that has one.
NEAR_COLUMNS = ("set", "video_id", "nearest", "similarity", "measure")

# Smaller sets may be most of a small dataset.
_LARGE_SET = 50


def assign_groups(videos: Sequence[LabelledVideo], *, rule: str) -> list[LabelledVideo]:
    """Return the videos with the groups of `dataset.groups`: a pattern or a level of folders.

    Raises:
        DatasetError: The rule names no group for a video.
    """
    named = [(video, _find_group(video.video_id, rule=rule)) for video in videos]
    without = [video for video, group in named if not group]
    if without:
        more = f" and {len(without) - 1} more" if len(without) > 1 else ""
        problem = "has fewer folders" if FOLDER_RULE.fullmatch(rule) else "does not contain it, or an empty name"
        raise DatasetError(
            f"dataset.groups: expected a group for every video from `{rule}`; `{without[0].video_id}`{more} {problem}; "
            "correct the rule, or give groups in a table (layout: table)"
        )
    return [replace(video, group=group) for video, group in named]


def _find_group(video_id: str, *, rule: str) -> str:
    if level := FOLDER_RULE.fullmatch(rule):
        folders = video_id.split("/")[:-1]
        number = int(level[1])
        return "/".join(folders[:number]) if len(folders) >= number else ""
    found = re.search(rule, video_id)
    return (found[1] or "") if found else ""


def is_doubtful(size: int, *, num_videos: int) -> bool:
    """Return whether a set is too large to show one scene: more than 50 videos, and more than a quarter of all.

    Features that cannot tell scenes apart, such as those of a tiny encoder, join most videos through a chain.
    """
    return size > max(_LARGE_SET, num_videos / 4)


def join_groups(videos: Sequence[LabelledVideo], *, sets: Iterable[Sequence[str]]) -> list[LabelledVideo]:
    """Return the videos with the groups joined that share a set of near-duplicates, given by video ids.

    A joined group has the first of the names of its groups. Doubtful sets join nothing.
    """
    group_of = {video.video_id: video.group for video in videos}
    parent = {group: group for group in group_of.values()}
    for members in sets:
        known = [group_of[video_id] for video_id in members if video_id in group_of]
        for group in () if is_doubtful(len(known), num_videos=len(videos)) else known[1:]:
            first, second = sorted((_find_root(parent, known[0]), _find_root(parent, group)))
            parent[second] = first
    return [replace(video, group=_find_root(parent, video.group)) for video in videos]


def read_near_duplicates(path: Path) -> dict[str, list[dict[str, str]]]:
    """Return the rows of a table of near-duplicates by their set.

    Raises:
        DatasetError: The file is missing or no such table.
    """
    sets: dict[str, list[dict[str, str]]] = {}
    try:
        for row in read_tsv(path, columns=NEAR_COLUMNS):
            sets.setdefault(row["set"], []).append(row)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: expected near-duplicates ({error}); run again", damaged=path) from None
    return sets


def _find_root(parent: dict[str, str], name: str) -> str:
    while parent[name] != name:
        parent[name] = name = parent[parent[name]]
    return name


def describe_groups(dataset: "Dataset", *, groups: Mapping[str, str]) -> str:
    """Return where the groups of a dataset come from, as a clause; `groups` maps video ids to groups."""
    sizes = Counter(groups.values())
    alone = sum(video_id == group and sizes[group] == 1 for video_id, group in groups.items())
    if level := FOLDER_RULE.fullmatch(dataset.groups):
        number = "folder" if level[1] == "1" else f"{level[1]} folders"
        source = f"of the first {number} of the path"
    elif dataset.groups:
        source = f"of the pattern {dataset.groups}"
    elif alone == len(groups):
        source = "each video alone, since no source is known"
    else:
        source = "of the layout"
    joined = " and of near-duplicates" if dataset.near_duplicates.keep_together and alone < len(groups) else ""
    some = f"; {alone:,} of {len(groups):,} videos alone" if 0 < alone < len(groups) else ""
    return f"{source}{joined}{some}"
