"""Which frames are chosen: by policy, and for each segment."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moclip.errors import ConfigError
from moclip.sampling import FRAME_POLICIES, choose_frames, choose_segment_frames


def choose(policy: str, *, num_frames: int, num_selected: int = 1, video_id: str = "a/b") -> list[int]:
    return choose_frames(policy, num_frames=num_frames, num_selected=num_selected, video_id=video_id).tolist()


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
    assert len(chosen) == (1 if policy == "middle" else min(num_selected, num_frames))


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
    with pytest.raises(ConfigError, match="middle, uniform, random; found `first`"):
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
