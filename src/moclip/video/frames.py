"""Decode chosen frames of a video, from the nearest keyframe to the last of them."""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from moclip.errors import VideoError
from moclip.video.container import VideoFile, open_video, orientation_of
from moclip.video.packets import Packet, PacketIndex, read_packet_index

_TO_RGB = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND | Interpolation.BITEXACT

_TO_SMALL = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT

_SMALL_PX = 32

Choice = Callable[[int], Sequence[int]]

Kept = dict[int, tuple[NDArray[np.uint8], float]]


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Chosen frames of a video.

    Attributes:
        images: K arrays (H, W, 3) uint8 RGB, upright, in the order that they were chosen.
        frame_index: (K,) int32, counted in display order.
        time_seconds: (K,) float64, nan where unknown.
        num_frames: Number of frames of the video, counted by decoding, or by its packets where each is one picture.
    """

    images: tuple[NDArray[np.uint8], ...]
    frame_index: NDArray[np.int32]
    time_seconds: NDArray[np.float64]
    num_frames: int


@dataclass(frozen=True, kw_only=True)
class FrameFacts:
    """What a choice of frames may follow from.

    Attributes:
        is_keyframe: (T,) bool, in display order; T is the number of frames.
        change: (T,) float64, how far each frame is from the one before, empty where not asked for; 0 for the first.
    """

    is_keyframe: NDArray[np.bool_]
    change: NDArray[np.float64]


class _UnlikeIndexError(Exception):
    """What came out of the file is not what the index of its packets says."""


def read_frames(
    path: Path, *, video_id: str, choose: Choice, num_frames: int | None = None, seek: bool = True
) -> Frames:
    """Return the frames that `choose` picks, given their number.

    Where the packets of the file can be listed, decoding begins at the last keyframe that is safe before a frame and
    ends with the last frame; every packet and frame on the way is checked against the list. On other files, and
    where the check fails, frames are decoded from the first and counted: containers miscount, and a seek by time
    returns other frames on real files.

    Args:
        path: The file.
        video_id: The video's name in errors.
        choose: Called with the number of frames, once or more.
        num_frames: The number of frames where a full decode has counted them.
        seek: False to decode from the first frame to the last in any case.

    Raises:
        VideoError: The video cannot be read as far as it must, or has fewer frames than were chosen.
    """
    if seek:
        with open_video(path, video_id=video_id) as video:
            index = read_packet_index(video)
            if index is not None and num_frames in (None, len(index.times)):
                wanted = {int(frame) for frame in choose(len(index.times))}
                if wanted and min(wanted) >= 0 and max(wanted) < len(index.times):
                    try:
                        kept = _decode_chosen(video, index, wanted)
                        return _collect(kept, choose=choose, num_frames=len(index.times))
                    except _UnlikeIndexError:
                        pass  # from the first frame, then
    return _read_from_first(path, video_id=video_id, choose=choose, num_frames=num_frames)


def read_frame_facts(path: Path, *, video_id: str, with_change: bool = False) -> FrameFacts:
    """Return which frames are keyframes, without decoding where that can be; and on request how much each changes.

    The change of a frame is one minus the correlation of its brightness with that of the frame before, both shrunk to
    32 x 32 px: 0 for the same picture, 1 for one that has nothing to do with it. A flat picture is like no other.

    Raises:
        VideoError: The video cannot be read to its end.
    """
    with open_video(path, video_id=video_id) as video:
        index = None if with_change else read_packet_index(video)
        if index is not None:
            return FrameFacts(is_keyframe=index.is_keyframe, change=np.empty(0))
    with open_video(path, video_id=video_id) as video:
        keyframes: list[bool] = []
        change: list[float] = []
        before: NDArray[np.float64] | None = None
        for frame in video.decode():
            keyframes.append(bool(frame.key_frame))
            if with_change:
                now = _shrink(video, frame)
                change.append(0.0 if before is None else 1 - float((before * now).sum()))
                before = now
    return FrameFacts(is_keyframe=np.array(keyframes, np.bool_), change=np.array(change))


def _read_from_first(path: Path, *, video_id: str, choose: Choice, num_frames: int | None) -> Frames:
    num_expected = num_frames or 0
    for _ in range(2):
        with open_video(path, video_id=video_id) as video:
            wanted = {int(index) for index in choose(num_expected or video.likely_num_frames())}
            kept, num_found = _keep_frames(video, wanted, stop=num_frames is not None)
        if num_frames is not None and kept.keys() >= wanted:
            return _collect(kept, choose=choose, num_frames=num_frames)
        indices = [int(index) for index in choose(num_found)]
        if kept.keys() >= set(indices):
            return _collect(kept, choose=choose, num_frames=num_found)
        # The container's count was wrong and other frames are wanted: once more, with the true one.
        num_expected, num_frames = num_found, None
    detail = f"expected indices of its {num_found} frames, found {indices}"
    raise VideoError(reason="too_short", detail=detail, video_id=video_id)


def _collect(kept: Kept, *, choose: Choice, num_frames: int) -> Frames:
    indices = [int(index) for index in choose(num_frames)]
    return Frames(
        images=tuple(kept[index][0] for index in indices),
        frame_index=np.array(indices, np.int32),
        time_seconds=np.array([kept[index][1] for index in indices], np.float64),
        num_frames=num_frames,
    )


def _keep_frames(video: VideoFile, wanted: Set[int], *, stop: bool) -> tuple[Kept, int]:
    kept: Kept = {}
    num_frames = 0
    for frame in video.decode():
        if num_frames in wanted:
            kept[num_frames] = _keep(video, frame)
        num_frames += 1
        if stop and len(kept) == len(wanted):
            break
    return kept, num_frames


def _decode_chosen(video: VideoFile, index: PacketIndex, wanted: Set[int]) -> Kept:
    kept: Kept = {}
    frames: Iterator[tuple[int, av.VideoFrame]] = iter(())
    entry, shown = -1, -1
    for frame in sorted(wanted):
        nearest = index.entry_before(frame)
        if shown < 0 or (nearest > entry and index.first_frame(nearest) > shown):
            frames, entry = _decode_from(video, index, nearest), nearest
        for shown, picture in frames:
            if shown == frame:
                kept[frame] = _keep(video, picture)
                break
        if frame not in kept:
            raise _UnlikeIndexError
    return kept


def _decode_from(video: VideoFile, index: PacketIndex, entry: int) -> Iterator[tuple[int, av.VideoFrame]]:
    # Yields the frames from an entry on, with their index, each where the list of packets has it.
    landed, packets = _land(video, index, entry)
    expected = index.first_frame(landed)
    first_time = index.times[expected]
    for picture in _decode_packets(video, packets):
        if picture.pts is None or picture.is_corrupt:
            raise _UnlikeIndexError
        if picture.pts < first_time:
            continue  # it looks back past the entry
        if expected >= len(index.times) or picture.pts != index.times[expected]:
            raise _UnlikeIndexError
        yield expected, picture
        expected += 1


def _land(video: VideoFile, index: PacketIndex, entry: int) -> tuple[int, Iterator[Packet]]:
    # The packet found after a seek shows where it ended. Containers seek by one timestamp or the other.
    for target in (index.marks[entry][0], index.decode_times[entry]):
        try:
            video.container.seek(target, stream=video.stream, backward=True)
            packets = video.packets()
            first = next(packets)
        except (av.FFmpegError, VideoError, StopIteration):
            raise _UnlikeIndexError from None
        landed = index.position_of(first)
        if landed is not None and landed <= entry:
            return landed, _check_packets(chain([first], packets), index, landed)
    raise _UnlikeIndexError


def _check_packets(packets: Iterator[Packet], index: PacketIndex, position: int) -> Iterator[Packet]:
    for packet in packets:
        if packet.size:
            if index.position_of(packet) != position:
                raise _UnlikeIndexError
            position += 1
        yield packet


def _decode_packets(video: VideoFile, packets: Iterator[Packet]) -> Iterator[av.VideoFrame]:
    decode = video.stream.codec_context.decode
    size: tuple[int, int] | None = None
    try:
        for packet in packets:
            for picture in decode(packet):
                if size not in (None, (picture.width, picture.height)):
                    raise _UnlikeIndexError
                size = picture.width, picture.height
                yield picture
    except (av.FFmpegError, VideoError):
        raise _UnlikeIndexError from None


def _keep(video: VideoFile, frame: av.VideoFrame) -> tuple[NDArray[np.uint8], float]:
    return _to_rgb(video, frame), float(video.seconds([frame.pts])[0])


def _to_rgb(video: VideoFile, frame: av.VideoFrame) -> NDArray[np.uint8]:
    try:
        rgb = frame.reformat(format="rgb24", interpolation=_TO_RGB, threads=1)
    except av.FFmpegError as error:
        raise video.reject("decode_error", f"no way from {frame.format.name} to RGB: {error.strerror}") from None
    upright = orientation_of(frame).apply(rgb.to_ndarray())
    return np.ascontiguousarray(upright, np.uint8)


def _shrink(video: VideoFile, frame: av.VideoFrame) -> NDArray[np.float64]:
    # Brightness of 32 x 32 px with mean 0 and length 1, or all zeros where it is flat.
    try:
        small = frame.reformat(width=_SMALL_PX, height=_SMALL_PX, format="gray", interpolation=_TO_SMALL, threads=1)
    except av.FFmpegError as error:
        raise video.reject("decode_error", f"no way from {frame.format.name} to grey: {error.strerror}") from None
    grey = small.to_ndarray().astype(np.float64)
    grey -= grey.mean()
    length = np.linalg.norm(grey)
    return grey / length if length else grey
