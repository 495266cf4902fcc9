"""Properties of container and codec, read from cached motion vectors. None of them is a feature."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moclip.motion.vectors import NO_VECTOR, MotionVectors

_NO_PAIR = np.array([NO_VECTOR, NO_VECTOR], np.int16).view(np.int32)[0]

_KEY_TYPES = np.frombuffer(b"Ii", np.uint8)

_RECIPE = re.compile(r"transcode:(\w+),(\d+)x(\d+),gop=(\d+),max_b_frames=(\d+),quantizer=(\d+),bitexact")

_CODECS = {"mpeg4": "MPEG-4 part 2", "h264": "H.264"}


@dataclass(frozen=True, kw_only=True)
class VectorCounts:
    """How far the vectors of one direction cover the cells of 8 x 8 px of a video.

    Attributes:
        fields: Frames that have any.
        cells: Cells of those frames.
        vectors: Cells that have a vector.
        moving: Cells whose vector is not zero.
    """

    fields: int
    cells: int
    vectors: int
    moving: int


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """The facts of one video.

    Attributes:
        codec_name: FFmpeg's name of the codec of the file.
        source: Where the vectors come from, as in `MotionVectors`.
        frame_rate: Frames a second, nan where unknown.
        width_px: Width of the picture that the vectors belong to, before rotation.
        height_px: Its height.
        rotation_degrees: Clockwise turn that shows it upright.
        num_frames: Counted by decoding.
        duration_seconds: From the first frame to the end of the last, nan where unknown.
        gop_lengths: Frames from each keyframe or I-frame to the next; what follows the last one is not measured.
        picture_types: Number of frames of each type, by its letter: I, P, B, S.
        past: The vectors into the past.
        future: The vectors into the future.
    """

    codec_name: str
    source: str
    frame_rate: float
    width_px: int
    height_px: int
    rotation_degrees: int
    num_frames: int
    duration_seconds: float
    gop_lengths: tuple[int, ...]
    picture_types: Mapping[str, int]
    past: VectorCounts
    future: VectorCounts

    @property
    def size(self) -> str:
        """Width and height of the picture, px."""
        return f"{self.width_px}\N{MULTIPLICATION SIGN}{self.height_px}"

    @property
    def gop_length(self) -> float:
        """The longest distance between keyframes, nan where there is one keyframe only."""
        return float(max(self.gop_lengths, default=float("nan")))

    @property
    def b_share(self) -> float:
        """Share of the frames that are B-frames."""
        return self.picture_types.get("B", 0) / self.num_frames


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A fact that may differ between videos; `missing` says what nan means."""

    name: str
    label: str
    value: Callable[[VideoFacts], float | str]
    missing: str = "unknown"


# What must not tell the class. Rounded, so that what one encoder setting gives has one value.
FACTS = (
    Fact(name="codec", label="Codec", value=lambda facts: facts.codec_name),
    Fact(name="frame_rate", label="Frame rate", value=lambda facts: round(facts.frame_rate, 2)),
    Fact(name="size", label="Picture size", value=lambda facts: facts.size),
    Fact(name="rotation", label="Rotation", value=lambda facts: float(facts.rotation_degrees)),
    Fact(name="gop_length", label="GOP length", value=lambda facts: facts.gop_length, missing="one keyframe"),
    Fact(name="b_share", label="Share of B-frames", value=lambda facts: round(facts.b_share, 1)),
    Fact(name="num_frames", label="Number of frames", value=lambda facts: float(facts.num_frames)),
    Fact(name="duration", label="Duration", value=lambda facts: round(facts.duration_seconds, 2)),
    Fact(name="source", label="Source of the vectors", value=lambda facts: facts.source.partition(":")[0]),
)


def measure_video(motion: MotionVectors) -> VideoFacts:
    """Return the facts of a video with vectors."""
    keyframes = np.flatnonzero(motion.is_keyframe | np.isin(motion.picture_type, _KEY_TYPES))
    types = Counter(chr(code).upper() for code in motion.picture_type.tolist())
    return VideoFacts(
        codec_name=motion.codec_name,
        source=motion.source,
        frame_rate=motion.frame_rate,
        width_px=motion.width_px,
        height_px=motion.height_px,
        rotation_degrees=motion.rotation_degrees,
        num_frames=motion.num_frames,
        duration_seconds=_measure_duration(motion),
        gop_lengths=tuple(np.diff(keyframes).tolist()),
        picture_types=dict(sorted(types.items())),
        past=_count_vectors(motion.past),
        future=_count_vectors(motion.future),
    )


def spell_source(source: str) -> str:
    """Return in words where vectors come from."""
    if source == "original":
        return "the vectors of the file's own stream"
    found = _RECIPE.fullmatch(source)
    if not found:
        return source
    codec, width, height, gop, b_frames, quantizer = found.groups()
    return (
        f"every frame decoded, scaled to {width}\N{MULTIPLICATION SIGN}{height} px and encoded again as "
        f"{_CODECS.get(codec, codec)} with a keyframe every {gop} frames, "
        f"{'no' if b_frames == '0' else f'at most {b_frames}'} B-frames and the quantizer {quantizer}; "
        "the vectors of that stream"
    )


def _measure_duration(motion: MotionVectors) -> float:
    times = motion.time_seconds[np.isfinite(motion.time_seconds)]
    if len(times) == motion.num_frames and len(times) > 1:
        # The last frame lasts as long as frames usually do.
        return float(np.ptp(times) + np.median(np.diff(np.sort(times))))
    return motion.num_frames / motion.frame_rate if motion.frame_rate > 0 else float("nan")


def _count_vectors(fields: NDArray[np.int16]) -> VectorCounts:
    # Both components as one number, which halves the work.
    pairs = np.ascontiguousarray(fields).view(np.int32)
    vectors = int(np.count_nonzero(pairs != _NO_PAIR))
    still = int(np.count_nonzero(pairs == 0))
    return VectorCounts(fields=len(fields), cells=pairs.size, vectors=vectors, moving=vectors - still)
