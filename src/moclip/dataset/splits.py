"""Draw test and validation groups, folds, and few-shot subsets."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from moclip.dataset.lists import LabelledVideo


def draw_subset(
    videos: Sequence[LabelledVideo], *, split: int, taken_from: str, subset: str, fraction: float, salt: str
) -> list[LabelledVideo]:
    """Return the videos with about `fraction` of those in `taken_from` moved to `subset`, by whole groups.

    The order of the videos changes nothing. See `draw_groups` for what is drawn.
    """
    members: dict[str, Counter[str]] = {}
    for video in videos:
        if video.subsets.get(split, "") == taken_from:
            members.setdefault(video.group, Counter())[video.class_name] += 1
    drawn = draw_groups(members, fraction=fraction, salt=salt)
    return [
        replace(video, subsets={**video.subsets, split: subset})
        if video.group in drawn and video.subsets.get(split, "") == taken_from
        else video
        for video in videos
    ]


def draw_groups(members: Mapping[str, Mapping[str, int]], *, fraction: float, salt: str) -> frozenset[str]:
    """Return the groups drawn: about `fraction` of the videos of each class, in whole groups.

    `members` maps a group to its number of videos in each class. Groups are tried in the order of a hash of `salt` and
    their name, and drawn where that brings the classes they belong to nearer to their fraction. A class keeps at least
    one group; a class with two groups or more that was left with none drawn gives the one that fits best. So the draw
    follows from the set of groups alone, and a group that comes or goes changes nothing for classes that it does not
    share. With `fraction` 0 nothing is drawn.
    """
    if fraction <= 0:
        return frozenset()
    ranked = sorted(members, key=lambda group: (_rank(group, salt=salt), group))
    target: Counter[str] = Counter()
    spare: Counter[str] = Counter()
    for counts in members.values():
        for class_name, count in counts.items():
            target[class_name] += count
            spare[class_name] += 1
    state = _Draw(members=members, wanted={name: count * fraction for name, count in target.items()}, spare=spare)
    for group in ranked:
        if state.gain(group) > 0 and state.can_spare(group):
            state.draw(group)
    for class_name in sorted(target):
        if not state.given[class_name]:
            free = [group for group in ranked if class_name in members[group] and state.can_spare(group)]
            if free:
                state.draw(max(free, key=state.gain))
    return frozenset(state.drawn)


def draw_folds(videos: Sequence[LabelledVideo], *, num_folds: int, seed: int) -> list[LabelledVideo]:
    """Return the videos with splits 1 to `num_folds`: split K tests the groups of fold K and trains on all others.

    Groups are assigned whole, the largest first, each to the fold with the fewest videos of its classes. So the folds
    differ little in size and classes, and a class with as many groups as folds is tested in every split. Groups of
    equal size are taken in the order of a hash of `seed` and their name.
    """
    members: dict[str, Counter[str]] = {}
    for video in videos:
        members.setdefault(video.group, Counter())[video.class_name] += 1
    order = sorted(members, key=lambda group: (-members[group].total(), _rank(group, salt=f"folds {seed}"), group))
    folds: list[Counter[str]] = [Counter() for _ in range(num_folds)]
    fold_of: dict[str, int] = {}
    for group in order:
        counts = members[group]
        fold_of[group] = min(
            range(num_folds),
            key=lambda fold: (
                sum(folds[fold][name] * count for name, count in counts.items()),
                folds[fold].total(),
                fold,
            ),
        )
        folds[fold_of[group]] += counts
    return [
        replace(
            video,
            subsets={fold + 1: "test" if fold == fold_of[video.group] else "train" for fold in range(num_folds)},
        )
        for video in videos
    ]


def _rank(group: str, *, salt: str) -> bytes:
    return blake2b(f"{salt}\0{group}".encode(), digest_size=16).digest()


@dataclass(kw_only=True)
class _Draw:
    # What is still wanted of each class, in videos (below zero where too many were drawn), and its groups left to give.
    members: Mapping[str, Mapping[str, int]]
    wanted: dict[str, float]
    spare: Counter[str]
    given: Counter[str] = field(default_factory=Counter)
    drawn: set[str] = field(default_factory=set)

    def gain(self, group: str) -> float:
        counts = self.members[group]
        return sum(abs(self.wanted[name]) - abs(self.wanted[name] - count) for name, count in counts.items())

    def can_spare(self, group: str) -> bool:
        return group not in self.drawn and all(self.spare[name] > 1 for name in self.members[group])

    def draw(self, group: str) -> None:
        self.drawn.add(group)
        for name, count in self.members[group].items():
            self.wanted[name] -= count
            self.spare[name] -= 1
            self.given[name] += 1


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
    for video_id in sorted(classes, key=lambda video_id: _rank_shot(video_id, split=split, seed=seed)):
        place = (classes[video_id], groups[video_id])
        turn = turns.get(place, 0)
        turns[place] = turn + 1
        rank = _rank_shot(f"{place[1]}\0{turn}", split=split, seed=seed)
        by_class.setdefault(place[0], []).append((turn, rank, video_id))
    return tuple(sorted(video_id for drawn in by_class.values() for *_, video_id in sorted(drawn)[:shots]))


def _rank_shot(name: str, *, split: int, seed: int) -> bytes:
    return blake2b(f"shots\0{split}\0{seed}\0{name}".encode(), digest_size=16).digest()
