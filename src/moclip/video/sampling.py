"""Choose frames by a named policy, or one frame in each segment."""

from hashlib import shake_128
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from moclip.errors import ConfigError

Indices = npt.NDArray[np.int64]

FRAME_POLICIES = ("middle", "uniform", "random", "keyframes", "motion", "change")


def choose_frames(
    policy: str,
    *,
    num_frames: int,
    num_selected: int,
    video_id: str,
    is_keyframe: npt.NDArray[np.bool_] | None = None,
    amounts: npt.NDArray[np.float64] | None = None,
) -> Indices:
    """Return the indices of the chosen frames: shape (K,), int64, 0-based, rising, none twice.

    `middle` takes the one frame in the middle (the earlier of two), for any `num_selected`. `uniform` takes the
    frame at the centre of each of `num_selected` equal parts (again the earlier of two). `random` takes `num_selected`
    frames that follow from `video_id` alone, the same on every machine. `keyframes` takes the keyframes, the first
    frame where there is none; of more than `num_selected` those at the centres of equal parts of their list.
    `motion` and `change` take the frame of the greatest amount, the earlier of two, in each of `num_selected` equal
    parts of the video. A video with fewer frames than that gives all it has, so K is at most `num_frames`.

    Args:
        policy: One of `FRAME_POLICIES`.
        num_frames: T.
        num_selected: Frames to choose, at most.
        video_id: The seed of `random`.
        is_keyframe: (T,), for `keyframes`.
        amounts: (T,), for `motion` and `change`: how much moves in, or changes with, each frame.

    Raises:
        ConfigError: The policy is unknown, or lacks what it follows from.
        ValueError: `num_frames` or `num_selected` is below 1.
    """
    if num_frames < 1 or num_selected < 1:
        raise ValueError(f"expected at least 1 frame and 1 selected, found {num_frames} and {num_selected}")
    if policy == "middle":
        return np.array([(num_frames - 1) // 2], dtype=np.int64)
    if policy == "uniform":
        return _spread(np.arange(num_frames), num_selected=num_selected)
    if policy == "random":
        chosen = np.argsort(_ranks(video_id, num_frames=num_frames), kind="stable")[:num_selected]
        return np.sort(chosen).astype(np.int64)
    if policy == "keyframes" and is_keyframe is not None:
        return _spread(np.flatnonzero(is_keyframe[:num_frames]), num_selected=num_selected)
    if policy in ("motion", "change") and amounts is not None:
        return _peaks(amounts, num_frames=num_frames, num_parts=min(num_selected, num_frames))
    if policy in FRAME_POLICIES:
        raise ConfigError(f"frames.policy: `{policy}` follows from what each frame holds, which is not known here")
    raise ConfigError(f"frames.policy: expected one of {', '.join(FRAME_POLICIES)}; found `{policy}`")


def choose_segment_frames(
    candidates: npt.NDArray[np.integer], *, num_segments: int, rng: np.random.Generator | None
) -> Indices:
    """Return one of the candidates for each segment: shape (S,), int64, rising.

    `candidates` are frame indices, rising, none twice. The time from the first to the last of them is cut into S equal
    parts; a candidate is in the part that holds the middle of its frame. Each part gives one of its own candidates: the
    one nearest to its centre where `rng` is None, a random one otherwise. A part without a candidate takes the one
    nearest to its centre, so that frames repeat where there are fewer candidates than segments.

    Raises:
        ValueError: There is no candidate, or `num_segments` is below 1.

    Source:
        Wang et al. 2016, "Temporal Segment Networks", section 3.1 (one random snippet in each equal segment).
    """
    if candidates.size < 1 or num_segments < 1:
        raise ValueError(f"expected at least 1 candidate and 1 segment, found {candidates.size} and {num_segments}")
    frames = candidates.astype(np.int64)
    centred = _nearest_to_centres(frames, num_segments=num_segments)
    if rng is None:
        return frames[centred]
    starts = np.searchsorted(_segment_of(frames, num_segments=num_segments), np.arange(num_segments + 1))
    num_own = np.diff(starts)
    drawn = starts[:-1] + (rng.random(num_segments) * num_own).astype(np.int64)
    return frames[np.where(num_own > 0, drawn, centred)]


def _spread(frames: npt.NDArray[np.integer], *, num_selected: int) -> Indices:
    if not len(frames):
        return np.zeros(1, np.int64)
    middles = (2 * np.arange(num_selected, dtype=np.int64) + 1) * len(frames)
    return frames[np.unique((middles - 1) // (2 * num_selected))].astype(np.int64)


def _peaks(amounts: npt.NDArray[np.float64], *, num_frames: int, num_parts: int) -> Indices:
    # Parts and not the greatest of all, which are often neighbors and show the same.
    known = np.full(num_frames, -np.inf)
    known[: len(amounts)] = amounts[:num_frames]
    starts = np.arange(num_parts + 1) * num_frames // num_parts
    return np.array([start + known[start:stop].argmax() for start, stop in pairwise(starts)], dtype=np.int64)


def _ranks(video_id: str, *, num_frames: int) -> npt.NDArray[np.uint64]:
    # A hash and not a generator: numpy does not promise the same numbers from one version to the next.
    stream = shake_128(video_id.encode("utf-8", "surrogateescape")).digest(8 * num_frames)
    return np.frombuffer(stream, dtype="<u8").astype(np.uint64)


def _doubled_middles(frames: Indices) -> tuple[Indices, int]:
    # Frame i lasts from i to i + 1. Twice its middle, and twice the time of all frames, are whole numbers.
    return 2 * (frames - frames[0]) + 1, 2 * int(frames[-1] - frames[0] + 1)


def _segment_of(frames: Indices, *, num_segments: int) -> Indices:
    middles, span = _doubled_middles(frames)
    segments: Indices = middles * num_segments // span
    return segments


def _nearest_to_centres(frames: Indices, *, num_segments: int) -> Indices:
    # Times 2 S, so that the comparison is exact. A frame of the segment's own is never farther than a foreign one.
    middles, span = _doubled_middles(frames)
    centres = (2 * np.arange(num_segments, dtype=np.int64) + 1) * span
    distances = np.abs(2 * num_segments * middles[None, :] - centres[:, None])
    nearest: Indices = distances.argmin(axis=1).astype(np.int64)
    return nearest
