"""List the packets of a video without decoding: frame order and safe places to begin.

A list is returned only for files in which it is reliable: containers with one picture per packet and a timestamp for
each. Decoded frames are checked against it, packet by packet (`moclip.video.frames`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import av
import numpy as np
from numpy.typing import NDArray

from moclip.errors import VideoError
from moclip.video.container import VideoFile

Packet: TypeAlias = "av.Packet[av.VideoStream]"

Check: TypeAlias = "Callable[[Packet], bool]"

Mark = tuple[int, int, int]  # pts, size in bytes, position in the file

_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv", "avi"}

_VOP_START = b"\x00\x00\x01\xb6"

# FFmpeg's own bound: a packet of MPEG-4 that is no longer says only that its frame is the one before.
_LONGEST_EMPTY_VOP = 19

_IDR = 5

_SLICES = {1, 2, _IDR}


@dataclass(frozen=True, kw_only=True)
class PacketIndex:
    """The packets of a stream in the order of the file.

    Attributes:
        marks: What distinguishes each packet from the others: pts, size in bytes, position in the file.
        decode_times: Their dts, or the pts where there is none. Some demuxers make it up, another one after a seek.
        times: (T,) int64, the timestamps in display order.
        is_keyframe: (T,) bool, in display order.
        entries: (E,) positions in `marks`, rising, where decoding may begin: no picture from there on, nor any with a
            later timestamp, depends on an earlier one. The first is 0.
    """

    marks: tuple[Mark, ...]
    decode_times: tuple[int, ...]
    times: NDArray[np.int64]
    is_keyframe: NDArray[np.bool_]
    entries: NDArray[np.int64]

    def entry_before(self, frame: int) -> int:
        """Return the last entry whose picture is shown no later than a frame, counted in display order."""
        shown = [position for position in self.entries if self.first_frame(int(position)) <= frame]
        return int(shown[-1])

    def first_frame(self, entry: int) -> int:
        """Return the first frame that is whole when decoding begins at an entry."""
        return self.frame_of(entry) if entry else 0

    def position_of(self, packet: Packet) -> int | None:
        """Return the position in `marks` of a packet read again, or None for a packet that is not there."""
        mark = _mark_of(packet)
        return None if mark is None else self._positions.get(mark)

    @cached_property
    def _positions(self) -> dict[Mark, int]:
        return {mark: position for position, mark in enumerate(self.marks)}

    def frame_of(self, position: int) -> int:
        """Return the index in display order of the picture of a packet."""
        return int(np.searchsorted(self.times, self.marks[position][0]))


def _mark_of(packet: Packet) -> Mark | None:
    if packet.pts is None:
        return None
    return packet.pts, packet.size, -1 if packet.pos is None else packet.pos


def read_packet_index(video: VideoFile) -> PacketIndex | None:
    """Return the packets of an open video, or None if only decoding can distinguish frames.

    The file is read to its end.
    """
    if video.container.format.name not in _FORMATS:
        return None
    is_sound, is_entry = _checks(video)
    marks: list[Mark] = []
    decode_times: list[int] = []
    keyframes: list[bool] = []
    entries: list[int] = []
    try:
        for packet in video.packets():
            if not packet.size:
                continue
            mark = _mark_of(packet)
            if mark is None or packet.is_corrupt or packet.is_discard or not is_sound(packet):
                return None
            if not marks or (packet.is_keyframe and is_entry(packet)):
                entries.append(len(marks))
            marks.append(mark)
            decode_times.append(mark[0] if packet.dts is None else packet.dts)
            keyframes.append(packet.is_keyframe)
    except VideoError:
        return None  # decoding reports the error
    times = np.array([mark[0] for mark in marks], np.int64)
    if not marks or len(np.unique(times)) != len(times):
        return None
    order = np.argsort(times)
    if not keyframes[0] or order[0] != 0:
        # Cut inside a group of pictures: a decoder drops the pictures that need one from before the cut.
        return None
    return PacketIndex(
        marks=tuple(marks),
        decode_times=tuple(decode_times),
        times=times[order],
        is_keyframe=np.array(keyframes, np.bool_)[order],
        entries=np.array(entries, np.int64),
    )


def _checks(video: VideoFile) -> tuple[Check, Check]:
    # Whether a packet holds one picture, and whether a keyframe is one that no later picture looks past.
    codec = video.codec_name
    if codec == "mpeg4":
        return _holds_one_vop, lambda packet: True
    if codec in {"mpeg1video", "mpeg2video", "h263", "flv1", "mjpeg", "vp8", "vp9", "av1"}:
        return lambda packet: True, lambda packet: True
    if codec == "h264":
        extradata = bytes(video.stream.codec_context.extradata or b"")
        length_bytes = (extradata[4] & 3) + 1 if len(extradata) > 6 and extradata[0] == 1 else 0

        def types(packet: Packet) -> set[int]:
            return _nal_types(bytes(packet), length_bytes=length_bytes)

        return lambda packet: bool(types(packet) & _SLICES), lambda packet: _IDR in types(packet)
    # Of other codecs nothing is known: decoding begins at the first packet, and ends where it may.
    return lambda packet: True, lambda packet: False


def _holds_one_vop(packet: Packet) -> bool:
    # Xvid and DivX put two pictures into a packet and an empty one after it; a start code stands nowhere else.
    return packet.size > _LONGEST_EMPTY_VOP and bytes(packet).count(_VOP_START) == 1


def _nal_types(data: bytes, *, length_bytes: int) -> set[int]:
    # The kinds of units in a packet of H.264, none at all where their lengths do not add up to it, as in damaged files.
    if not length_bytes:
        return {part[0] & 31 for part in data.split(b"\x00\x00\x01")[1:] if part}
    types: set[int] = set()
    at = 0
    while at + length_bytes < len(data):
        length = int.from_bytes(data[at : at + length_bytes], "big")
        header = data[at + length_bytes]
        at += length_bytes + length
        if not length or header & 128:
            return set()
        types.add(header & 31)
    return types if at == len(data) else set()
