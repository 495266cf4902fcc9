"""Find near-duplicates: videos so similar in their cached features that they may show one scene.

Two measures find them: the cosine of mean appearance embeddings, and that of descriptions of motion. From both the mean
of all videos is subtracted first, since embeddings of any two videos are similar without it. Sets are transitive: a
video similar to one member of a set is in the set.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moclip.cache.index import read_index
from moclip.cache.reader import Shard
from moclip.core.files import write_tsv
from moclip.core.numerics import unit
from moclip.dataset.groups import NEAR_COLUMNS, is_doubtful
from moclip.dataset.manifest_table import read_table
from moclip.motion.description import describe_motion
from moclip.motion.vectors import motion_from_row

_log = logging.getLogger(__name__)

Floats = NDArray[np.float32]

# Videos compared with all others at once. Memory holds a block of similarities of this height.
_BLOCK = 512


@dataclass(frozen=True, kw_only=True)
class Descriptions:
    """One vector per video, (N, D), by which `measure` compares videos."""

    measure: str
    video_ids: Sequence[str]
    values: Floats


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """The most similar other video of a video, and the measure that finds it."""

    video_id: str
    similarity: float
    measure: str


# Similar videos by the id of a video.
Found = dict[str, list[Nearest]]


def write_near_duplicates(
    output: Path, *, manifest: Path, features: Mapping[str, Sequence[Path]], similarity: Mapping[str, float]
) -> None:
    """Write a row for each video that has a near-duplicate: its set, its most similar video, and their similarity.

    A measure that joins most videos cannot tell scenes apart: of its sets only such a doubtful one is written.

    Args:
        output: The table.
        manifest: The list of videos. Those with equal fingerprints are near-duplicates.
        features: An index, or the shards, of `appearance` and `motion`; either may be absent.
        similarity: Smallest similarity of near-duplicates, by `appearance` and `motion`.

    Raises:
        ShardError: A shard is missing or damaged.
    """
    copies: dict[str, list[str]] = {}
    table = read_table(manifest)
    for video_id, fingerprint in table.rows("video_id", "fingerprint"):
        copies.setdefault(fingerprint, []).append(video_id)
    described = [_describe(measure, shards=list_shards(paths)) for measure, paths in features.items()]
    usable = find_near_duplicates([], copies=copies.values(), similarity=1.0)
    sets: list[tuple[list[str], Found]] = []
    for one in described:
        found = find_near_duplicates([one], similarity=similarity[one.measure])
        doubtful = [members for members in _join(found) if is_doubtful(len(members), num_videos=len(table))]
        sets += [(members, found) for members in doubtful]
        for video_id, others in () if doubtful else found.items():
            usable.setdefault(video_id, []).extend(others)
    sets = [*((members, usable) for members in _join(usable)), *sets]
    rows = []
    for number, (members, found) in enumerate(sets, start=1):
        for video_id in members:
            best = max(found[video_id], key=lambda other: (other.similarity, other.measure == "bytes"))
            rows.append((number, video_id, best.video_id, best.similarity, best.measure))
    _log.info("%d sets of near-duplicates with %d videos", len(sets), len(rows))
    write_tsv(output, header=NEAR_COLUMNS, rows=rows, num_digits=3)


def _join(found: Found) -> list[list[str]]:
    return join_sets([(video_id, other.video_id) for video_id, others in found.items() for other in others])


def list_shards(paths: Iterable[Path]) -> list[Path]:
    """Return shards, in the place of an index those that it lists."""
    found: list[Path] = []
    for path in paths:
        is_index = path.suffix == ".json"
        found += [path.with_name(shard.file) for shard in read_index(path).shards] if is_index else [path]
    return found


def _describe(measure: str, *, shards: Sequence[Path]) -> Descriptions:
    ids: list[str] = []
    values: list[Floats] = []
    for path in shards:
        with Shard(path) as shard:
            for place, reason in enumerate(shard.reject_reasons):
                if not reason:
                    row = shard.read_row_at(place).values
                    ids.append(shard.video_ids[place])
                    values.append(_describe_row(row, measure=measure))
        _log.info("%s: %d videos described so far", path.name, len(ids))
    # In the order of ids: the result must not depend on how videos are distributed over shards.
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return Descriptions(
        measure=measure,
        video_ids=[ids[place] for place in order],
        values=np.array([values[place] for place in order], np.float32),
    )


def _describe_row(row: Mapping[str, Any], *, measure: str) -> Floats:
    if measure == "motion":
        return describe_motion(motion_from_row(row))
    mean: Floats = np.mean(row["embedding"], axis=0, dtype=np.float32)
    return mean


def find_near_duplicates(
    described: Iterable[Descriptions], *, copies: Iterable[Sequence[str]] = (), similarity: float
) -> Found:
    """Return similar videos of every video that has one: enough pairs to join all sets, the most similar among them.

    `copies` are sets of videos with equal bytes.
    """
    found: Found = {}

    def note(first: str, second: str, similarity: float, measure: str) -> None:
        # In both directions: a matrix product may round the two differently.
        for one, other in ((first, second), (second, first)):
            found.setdefault(one, []).append(Nearest(video_id=other, similarity=similarity, measure=measure))

    for members in copies:
        for video_id in members[1:]:
            note(members[0], video_id, 1.0, "bytes")
    for one in described:
        for first, second, value in _find_pairs(one.values, similarity=similarity):
            note(one.video_ids[first], one.video_ids[second], value, one.measure)
    return found


def _find_pairs(values: Floats, *, similarity: float) -> Iterator[tuple[int, int, float]]:
    # Of each video the most similar one, and one of each set that its similar videos are in so far.
    if len(values) < 2:
        return
    units = unit(values - values.mean(axis=0, dtype=np.float64)).astype(np.float32)
    label = np.arange(len(units))
    for start in range(0, len(units), _BLOCK):
        block = units[start : start + _BLOCK] @ units.T
        rows = np.arange(len(block))
        block[rows, start + rows] = -1
        for row in np.flatnonzero(block.max(axis=1) >= similarity).tolist():
            similar = np.flatnonzero(block[row] >= similarity)
            nearest = int(block[row].argmax())
            labels, places = np.unique(label[similar], return_index=True)
            for other in dict.fromkeys([nearest, *similar[places].tolist()]):
                yield start + row, other, min(1.0, float(block[row, other]))
            label[np.isin(label, [*labels, label[start + row]])] = min(labels[0], label[start + row])


def join_sets(pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the sets of names that pairs connect, each sorted, in the order of their first names."""
    set_of: dict[str, set[str]] = {}
    for first, second in pairs:
        small, large = sorted((set_of.setdefault(name, {name}) for name in (first, second)), key=len)
        if small is not large:
            large |= small
            set_of |= dict.fromkeys(small, large)
    distinct = {id(members): members for members in set_of.values()}
    return sorted(sorted(members) for members in distinct.values())
