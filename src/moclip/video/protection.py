"""Find encrypted samples, which FFmpeg decodes to noise without an error.

FFmpeg reports encryption of MP4 only where the header of the track announces it, and of most other containers never.
The marks are therefore read from the container itself. A partly encrypted stream counts as encrypted.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

# A flipped bit in one header of a damaged file is no encryption.
_DAMAGE_SHARE = 0.01

_CHUNK_BYTES = 1 << 22

_PIFF_SAMPLES = bytes.fromhex("a2394f525a9b4f14a2446c427c648df4")

_ASF_OBJECTS = tuple(
    bytes.fromhex(guid)
    for guid in (
        "fbb31122 23bd d211 b4b7 00a0c955fc6e",  # Content Encryption
        "14e68a29 2226 174c b935 dae07ee9289c",  # Extended Content Encryption
        "33850543 8169 e649 9b74 ad12cb86d58c",  # Advanced Content Encryption
    )
)


def is_protected(path: Path, *, container: str, track_id: int) -> bool:
    """Return whether samples of a video stream are encrypted.

    Args:
        path: The file.
        container: FFmpeg's name of its format.
        track_id: The identifier of the stream in the container: track of MP4, PID of MPEG-TS, stream id of MPEG-PS.

    Source: ISO/IEC 23001-7 (MP4), ISO/IEC 13818-1 (MPEG-TS and PS), Advanced Systems Format 1.20.03, FLV 10.1.
    """
    check = _CHECKS.get(container)
    if check is None:
        return False
    with path.open("rb") as file:
        return check(file, track_id)


@dataclass(frozen=True, kw_only=True)
class _Box:
    kind: bytes
    start: int
    end: int


def _read_boxes(file: BinaryIO, start: int, end: int) -> Iterator[_Box]:
    """Yield the boxes of an MP4 file between two positions; `start` of each is that of its content."""
    while start + 8 <= end:
        file.seek(start)
        header = file.read(16)
        size, kind, header_bytes = int.from_bytes(header[:4], "big"), header[4:8], 8
        if size == 1:
            size, header_bytes = int.from_bytes(header[8:16], "big"), 16
        size = size or end - start
        if size < header_bytes:
            return
        yield _Box(kind=kind, start=start + header_bytes, end=min(start + size, end))
        start += size


def _read_at(file: BinaryIO, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


def _read_number(file: BinaryIO, position: int) -> int:
    return int.from_bytes(_read_at(file, position, 4), "big")


def _is_mp4_protected(file: BinaryIO, track_id: int) -> bool:
    for box in _read_boxes(file, 0, file.seek(0, 2)):
        if box.kind in {b"moov", b"moof"}:
            for part in _read_boxes(file, box.start, box.end):
                if part.kind in {b"trak", b"traf"} and _is_part_protected(file, part, track_id):
                    return True
    return False


def _is_part_protected(file: BinaryIO, part: _Box, track_id: int) -> bool:
    tables: list[_Box] = [part]
    found = False
    for table in tables:
        for box in _read_boxes(file, table.start, table.end):
            if box.kind == b"tfhd" and _read_number(file, box.start + 4) != track_id:
                return False
            if box.kind == b"tkhd":
                version = _read_at(file, box.start, 1)
                if _read_number(file, box.start + (20 if version == b"\1" else 12)) != track_id:
                    return False
            if box.kind in {b"mdia", b"minf", b"stbl"}:
                tables.append(box)
            found = found or _marks_protection(file, box)
    return found


def _marks_protection(file: BinaryIO, box: _Box) -> bool:
    if box.kind == b"stsd":
        return any(entry.kind == b"encv" for entry in _read_boxes(file, box.start + 8, box.end))
    if box.kind == b"senc":
        return _read_number(file, box.start + 4) > 0
    if box.kind == b"uuid":
        return _read_at(file, box.start, 16) == _PIFF_SAMPLES
    if box.kind == b"saiz":
        # Sizes of the auxiliary data of samples: initialization vectors, unless another type is given. The number of
        # samples follows the type, if there is one, and a byte with their common size.
        has_type = _read_at(file, box.start + 3, 1) == b"\1"
        kind = _read_at(file, box.start + 4, 4) if has_type else b"cenc"
        count = _read_number(file, box.start + (13 if has_type else 5))
        return kind in {b"cenc", b"cbc1", b"cens", b"cbcs"} and count > 0
    if box.kind == b"sgpd" and _read_at(file, box.start + 4, 4) == b"seig":
        return any(entry[2:3] == b"\1" for entry in _read_groups(file, box))
    return False


def _read_groups(file: BinaryIO, box: _Box) -> Iterator[bytes]:
    """Yield the beginning of each entry of a box of sample groups."""
    has_length = _read_at(file, box.start, 1) == b"\1"
    length = _read_number(file, box.start + 8) if has_length else 20
    position = box.start + (12 if has_length else 8)
    count, position = _read_number(file, position), position + 4
    for _ in range(count):
        if position >= box.end:
            return
        own = length
        if not own:
            own, position = _read_number(file, position), position + 4
        yield _read_at(file, position, 4)
        position += own


def _is_transport_scrambled(file: BinaryIO, track_id: int) -> bool:
    head = file.read(1 << 14)
    layouts = [(size, at) for size in (188, 192, 204) for at in range(size) if set(head[at::size][:-1]) == {0x47}]
    if not layouts:
        return False
    size, first = layouts[0]
    file.seek(first)
    num_packets = num_scrambled = 0
    while data := file.read(_CHUNK_BYTES // size * size):
        packets = np.frombuffer(data, np.uint8, len(data) // size * size).reshape(-1, size)
        pid = (packets[:, 1].astype(np.int64) & 0x1F) << 8 | packets[:, 2]
        own = packets[(pid == track_id) & (packets[:, 0] == 0x47) & (packets[:, 3] & 0x10 > 0)]
        num_packets += len(own)
        num_scrambled += int((own[:, 3] & 0xC0 > 0).sum())
    return num_scrambled > _DAMAGE_SHARE * num_packets


def _is_program_scrambled(file: BinaryIO, track_id: int) -> bool:
    header = re.compile(rb"\x00\x00\x01" + re.escape(bytes([track_id & 0xFF])) + rb"..([\x80-\xbf])", re.DOTALL)
    num_packets = num_scrambled = 0
    while data := file.read(_CHUNK_BYTES):
        flags = [found[1][0] & 0x30 for found in header.finditer(data)]
        num_packets += len(flags)
        num_scrambled += sum(map(bool, flags))
    return num_scrambled > _DAMAGE_SHARE * num_packets


def _is_asf_protected(file: BinaryIO, track_id: int) -> bool:
    head = file.read(1 << 16)
    return any(guid in head for guid in _ASF_OBJECTS)


def _is_flv_protected(file: BinaryIO, track_id: int) -> bool:
    # Bit 5 of the type of a tag: it was filtered, that is encrypted. 9 is video.
    position = int.from_bytes(_read_at(file, 5, 4), "big") + 4
    while len(tag := _read_at(file, position, 4)) == 4:
        if tag[0] & 0x3F == 0x29:
            return True
        position += 15 + int.from_bytes(tag[1:], "big")
    return False


_CHECKS: dict[str, Callable[[BinaryIO, int], bool]] = {
    "mov,mp4,m4a,3gp,3g2,mj2": _is_mp4_protected,
    "mpegts": _is_transport_scrambled,
    "mpeg": _is_program_scrambled,
    "asf": _is_asf_protected,
    "flv": _is_flv_protected,
}
