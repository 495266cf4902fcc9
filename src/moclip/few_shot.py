"""Which training videos a few-shot run sees: so many of each class, from as many groups as there are. Pure."""

from collections.abc import Mapping
from hashlib import blake2b


def draw_shots(
    classes: Mapping[str, int], *, groups: Mapping[str, str], shots: int, split: int, seed: int
) -> tuple[str, ...]:
    """Return the ids of `shots` videos of each class, sorted; all of a class that has fewer, all of all with 0.

    `classes` and `groups` map a video id to its class index and its group. Clips of one group are near-copies: a second
    one is taken from a group only when every group of the class has given one. The draw follows from the split, the
    seed and the names, not from their order, and that of fewer shots is part of that of more.
    """
    if not shots:
        return tuple(sorted(classes))
    by_class: dict[int, list[tuple[int, bytes, str]]] = {}
    turns: dict[tuple[int, str], int] = {}
    for video_id in sorted(classes, key=lambda video_id: _rank(video_id, split=split, seed=seed)):
        place = (classes[video_id], groups[video_id])
        turn = turns.get(place, 0)
        turns[place] = turn + 1
        rank = _rank(f"{place[1]}\0{turn}", split=split, seed=seed)
        by_class.setdefault(place[0], []).append((turn, rank, video_id))
    return tuple(sorted(video_id for drawn in by_class.values() for *_, video_id in sorted(drawn)[:shots]))


def _rank(name: str, *, split: int, seed: int) -> bytes:
    return blake2b(f"shots\0{split}\0{seed}\0{name}".encode(), digest_size=16).digest()
