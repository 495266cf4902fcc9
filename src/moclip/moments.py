"""Where in a video something happens: peaks of a similarity over its frames, with the valleys around them. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

# A rise by less than this share of the video's whole range is noise, not the next peak.
_NOISE_SHARE = 0.15


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A stretch of embedded frames of one video: first, best and last one (0-based, inclusive), and the best value."""

    start: int
    peak: int
    stop: int
    similarity: float


def find_moments(similarity: Floats, *, limit: int) -> list[Moment]:
    """Return up to `limit` moments of a video, best first, from the similarity of each of its frames, (K,).

    A moment goes from its peak down to the lowest frame on either side before the similarity rises again by more than
    noise, or to the moment beside it. Moments share no frame.

    >>> [(moment.start, moment.peak, moment.stop) for moment in find_moments(np.array([1, 3, 9, 2, 8, 0]), limit=2)]
    [(0, 2, 3), (4, 4, 5)]
    """
    noise = _NOISE_SHARE * float(np.ptp(similarity)) if len(similarity) else 0.0
    free = np.ones(len(similarity), dtype=bool)
    moments: list[Moment] = []
    while len(moments) < limit and free.any():
        peak = int(np.where(free, similarity, -np.inf).argmax())
        start = peak - _walk(similarity[peak::-1], free=free[peak::-1], noise=noise)
        stop = peak + _walk(similarity[peak:], free=free[peak:], noise=noise)
        moments.append(Moment(start=start, peak=peak, stop=stop, similarity=float(similarity[peak])))
        free[start : stop + 1] = False
    return moments


def _walk(similarity: Floats, *, free: NDArray[np.bool_], noise: float) -> int:
    # How many frames from a peak to its valley, along frames that no other moment has.
    taken = np.flatnonzero(~free)
    values = similarity[: taken[0]] if len(taken) else similarity
    lowest = np.minimum.accumulate(values)
    risen = np.flatnonzero(values - lowest > noise)
    return int(values[: risen[0] if len(risen) else len(values)].argmin())


def rank_moments(
    similarity: Floats, *, offsets: NDArray[np.integer], limit: int, per_video: int = 1
) -> list[tuple[int, Moment]]:
    """Return the best moments over all videos as (number of the video, moment), best first.

    `similarity` is (N,) over the frames of all videos; those of video i are `similarity[offsets[i]:offsets[i + 1]]`.
    Of equals the earlier video comes first.
    """
    best = np.maximum.reduceat(similarity, offsets[:-1])
    # A moment among the best ones lies in one of the best videos: each of these has one as good as its best frame.
    videos = np.argsort(-best, kind="stable")[:limit]
    found = [
        (int(video), moment)
        for video in sorted(videos.tolist())
        for moment in find_moments(similarity[offsets[video] : offsets[video + 1]], limit=per_video)
    ]
    return sorted(found, key=lambda entry: -entry[1].similarity)[:limit]
