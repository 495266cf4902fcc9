"""Which frames are chosen: by policy, and for each segment."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moclip.errors import ConfigError
from moclip.video.sampling import FRAME_POLICIES, choose_frames, choose_segment_frames


def choose(policy: str, *, num_frames: int, num_selected: int = 1, video_id: str = "a/b", **known: Any) -> list[int]:
    if policy in ("keyframes", "motion", "change") and not known:
        frames = np.arange(num_frames)
        known = {"is_keyframe": frames % 3 == 0, "amounts": np.sin(frames)}
    chosen = choose_frames(policy, num_frames=num_frames, num_selected=num_selected, video_id=video_id, **known)
    return [int(index) for index in chosen]


def choose_centres(candidates: list[int], *, num_segments: int) -> list[int]:
    return choose_segment_frames(np.array(candidates), num_segments=num_segments, rng=None).tolist()


# A shared machine may pause for longer than hypothesis' limit on one example.
relaxed = settings(deadline=None)
PINNED = [5, 6, 9, 23]
candidate_sets = st.one_of(st.sets(st.integers(0, top), min_size=1, max_size=60).map(sorted) for top in (3, 30, 500))


@pytest.mark.parametrize(("num_frames", "middle"), [(1, 0), (2, 0), (3, 1), (4, 1), (175, 87)])
def test_the_middle_frame_is_as_far_from_the_first_as_from_the_last(num_frames: int, middle: int) -> None:
    assert choose("middle", num_frames=num_frames, num_selected=5) == [middle]


def test_uniform_frames_are_the_centres_of_equal_parts() -> None:
    assert choose("uniform", num_frames=30, num_selected=3) == [4, 14, 24]
    assert choose("uniform", num_frames=9, num_selected=3) == [1, 4, 7]


@relaxed
@given(st.integers(1, 400))
def test_one_uniform_frame_is_the_middle_frame(num_frames: int) -> None:
    assert choose("uniform", num_frames=num_frames) == choose("middle", num_frames=num_frames)


@relaxed
@given(st.sampled_from(FRAME_POLICIES), st.integers(1, 400), st.integers(1, 300), st.text(max_size=8))
def test_chosen_frames_lie_in_the_video_rise_and_never_repeat(
    policy: str, num_frames: int, num_selected: int, video_id: str
) -> None:
    chosen = choose(policy, num_frames=num_frames, num_selected=num_selected, video_id=video_id)
    assert chosen == sorted(set(chosen))
    assert chosen[0] >= 0
    assert chosen[-1] < num_frames
    num_there = {"middle": 1, "keyframes": -(-num_frames // 3)}.get(policy, num_frames)
    assert len(chosen) == min(num_selected, num_there)


@relaxed
@given(st.integers(1, 200), st.integers(1, 50))
def test_uniform_frames_are_the_same_seen_from_the_end_but_for_rounding(num_frames: int, num_selected: int) -> None:
    chosen = choose("uniform", num_frames=num_frames, num_selected=num_selected)
    mirrored = [num_frames - 1 - index for index in reversed(chosen)]
    assert all(abs(a - b) <= 1 for a, b in zip(chosen, mirrored, strict=True))


def test_random_frames_are_the_same_on_every_machine() -> None:
    # Pinned: these very numbers are in every cache that was built so far.
    assert choose("random", num_frames=100, num_selected=4, video_id="Lunges/v_Lunges_g01_c01") == PINNED
    assert choose("random", num_frames=100, num_selected=4, video_id="Lunges/v_Lunges_g01_c02") != PINNED


def test_random_frames_are_spread_over_the_whole_video() -> None:
    drawn = [choose("random", num_frames=10, video_id=f"video {i}")[0] for i in range(2000)]
    counts = np.bincount(drawn, minlength=10)
    assert counts.min() > 140  # 200 expected, standard deviation 13
    assert counts.max() < 260


def test_an_unknown_policy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="random, keyframes, motion, change; found `first`"):
        choose("first", num_frames=3)


@pytest.mark.parametrize(("num_frames", "num_selected"), [(0, 1), (1, 0), (-1, 1)])
def test_a_video_without_frames_has_no_choice(num_frames: int, num_selected: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        choose("uniform", num_frames=num_frames, num_selected=num_selected)


def test_segments_give_the_frame_at_their_centre() -> None:
    assert choose_centres(list(range(9)), num_segments=3) == [1, 4, 7]
    assert choose_centres(list(range(100, 130)), num_segments=3) == [104, 114, 124]


def test_segments_are_equal_parts_of_time_and_not_of_the_candidates() -> None:
    # Ten frames of motion at the start, then one at 99: the first half of the time holds ten of eleven.
    assert choose_centres([*range(10), 99], num_segments=2) == [9, 99]


def test_fewer_candidates_than_segments_repeat_in_order() -> None:
    assert choose_centres([7], num_segments=5) == [7] * 5
    assert choose_centres([3, 4], num_segments=4) == [3, 3, 4, 4]


@relaxed
@given(candidate_sets, st.integers(1, 70), st.integers(0, 5))
def test_every_choice_is_a_candidate_in_rising_order(candidates: list[int], num_segments: int, seed: int) -> None:
    for rng in (None, np.random.default_rng(seed)):
        chosen = choose_segment_frames(np.array(candidates), num_segments=num_segments, rng=rng)
        assert chosen.shape == (num_segments,)
        assert set(chosen.tolist()) <= set(candidates)
        assert (np.diff(chosen) >= 0).all()


@relaxed
@given(candidate_sets, st.integers(1, 70), st.integers(0, 5))
def test_a_segment_with_candidates_of_its_own_takes_one_of_them(
    candidates: list[int], num_segments: int, seed: int
) -> None:
    first, span = candidates[0], candidates[-1] - candidates[0] + 1
    for rng in (None, np.random.default_rng(seed)):
        chosen = choose_segment_frames(np.array(candidates), num_segments=num_segments, rng=rng).tolist()
        for segment, frame in enumerate(chosen):
            own = [c for c in candidates if (2 * (c - first) + 1) * num_segments // (2 * span) == segment]
            assert not own or frame in own


@relaxed
@given(candidate_sets, st.integers(1, 40), st.integers(-300, 300))
def test_a_video_that_starts_later_gives_the_same_frames_later(
    candidates: list[int], num_segments: int, shift: int
) -> None:
    later = choose_centres([c + shift for c in candidates], num_segments=num_segments)
    assert later == [c + shift for c in choose_centres(candidates, num_segments=num_segments)]


def test_random_segments_reach_every_candidate_equally_and_follow_the_generator() -> None:
    candidates = np.arange(12)
    rng = np.random.default_rng(0)
    drawn = np.concatenate([choose_segment_frames(candidates, num_segments=3, rng=rng) for _ in range(3000)])
    counts = np.bincount(drawn, minlength=12)
    assert counts.min() > 640  # 750 expected, standard deviation 24
    assert counts.max() < 860
    first, second = (choose_segment_frames(candidates, num_segments=3, rng=np.random.default_rng(5)) for _ in "ab")
    assert first.tolist() == second.tolist()


def test_no_candidate_is_the_callers_fault() -> None:
    with pytest.raises(ValueError, match="at least 1 candidate"):
        choose_segment_frames(np.array([], dtype=np.int32), num_segments=3, rng=None)


def test_keyframes_are_all_taken_while_they_are_few_and_evenly_spread_when_they_are_many() -> None:
    is_keyframe = np.zeros(100, np.bool_)
    is_keyframe[::10] = True
    assert choose("keyframes", num_frames=100, num_selected=16, is_keyframe=is_keyframe) == list(range(0, 100, 10))
    assert choose("keyframes", num_frames=100, num_selected=2, is_keyframe=is_keyframe) == [20, 70]
    assert choose("keyframes", num_frames=100, num_selected=1, is_keyframe=is_keyframe) == [40]
    assert choose("keyframes", num_frames=9, num_selected=3, is_keyframe=np.zeros(9, np.bool_)) == [0]


@pytest.mark.parametrize("policy", ["motion", "change"])
def test_each_part_of_a_video_gives_the_frame_of_its_greatest_amount(policy: str) -> None:
    amounts = np.array([0, 9, 8, 7, 1, 2, 2, 1, -1, -1, -1, -1], np.float64)
    assert choose(policy, num_frames=12, num_selected=1, amounts=amounts) == [1]
    assert choose(policy, num_frames=12, num_selected=3, amounts=amounts) == [1, 5, 8]
    assert choose(policy, num_frames=12, num_selected=30, amounts=amounts) == list(range(12))


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 5))
def test_peaks_lie_in_the_video_rise_and_never_repeat(num_frames: int, num_selected: int, seed: int) -> None:
    amounts = np.random.default_rng(seed).random(num_frames)
    chosen = choose("motion", num_frames=num_frames, num_selected=num_selected, amounts=amounts)
    assert len(chosen) == min(num_frames, num_selected)
    assert chosen == sorted(set(chosen))
    assert amounts.argmax() in chosen


@pytest.mark.parametrize("policy", ["keyframes", "motion", "change"])
def test_a_policy_that_lacks_what_it_follows_from_says_so(policy: str) -> None:
    with pytest.raises(ConfigError, match=f"`{policy}` follows from what each frame holds"):
        choose_frames(policy, num_frames=9, num_selected=2, video_id="v")
